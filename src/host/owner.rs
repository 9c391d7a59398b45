//! Which gateway a process or a container belongs to, written so that a later gateway can tell for certain whether that
//! one is dead.

use std::{fmt, fs, str::FromStr};

use super::{Process, boot_id};

/// `BOOT:NAMESPACE:PID:START` of a gateway; a part that this system does not tell is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    boot: String,
    /// Two gateways in two containers are both process 1.
    namespace: String,
    pid: u32,
    started: Option<u64>,
}

impl Owner {
    /// This process.
    pub fn ours() -> Self {
        Self::of(std::process::id())
    }

    fn of(pid: u32) -> Self {
        let started = Process::of(pid).map(|process| process.started);
        Self { boot: boot_id().unwrap_or_default(), namespace: namespace(), pid, started }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// It is this process, perhaps before it became the program that it is now.
    pub fn is_this_process(&self) -> bool {
        self.started.is_some() && *self == Self::ours()
    }

    /// What it has left may go: it is dead, or it was this process in an earlier life.
    pub fn is_gone(&self) -> bool {
        self.is_dead() || self.is_this_process()
    }

    /// It certainly lives, and is not this process.
    pub fn is_alive(&self) -> bool {
        let here = self.boot_is_ours() && self.namespace == namespace() && !self.is_this_process();
        here && self.started.is_some() && Process::of(self.pid).map(|process| process.started) == self.started
    }

    fn boot_is_ours(&self) -> bool {
        !self.boot.is_empty() && boot_id().as_ref() == Some(&self.boot)
    }

    /// It is certainly gone. In doubt it lives: another pid namespace cannot be looked into from here, and another boot may
    /// be another machine's (a boot of this one has ended its processes and containers anyway).
    pub fn is_dead(&self) -> bool {
        let Some(started) = self.started else { return false };
        if !self.boot_is_ours() || self.namespace != namespace() {
            return false;
        }
        Process::of(self.pid).map(|process| process.started) != Some(started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, namespace, pid, started } = self;
        write!(f, "{boot}:{namespace}:{pid}:")?;
        started.map_or(Ok(()), |started| write!(f, "{started}"))
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        let [boot, namespace, pid, started] = parts[..] else { return Err(()) };
        let pid = pid.parse().map_err(|_| ())?;
        let started = if started.is_empty() { None } else { Some(started.parse().map_err(|_| ())?) };
        Ok(Self { boot: boot.to_owned(), namespace: namespace.to_owned(), pid, started })
    }
}

/// `pid[4026531836]` without the word.
fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    link.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_running_gateway_is_never_taken_for_dead() {
        let written = Owner::ours().to_string();
        let read: Owner = written.parse().unwrap();
        assert_eq!(read, Owner::ours());
        assert!(read.is_this_process() && !read.is_dead());
    }

    #[test]
    fn one_that_ended_is_dead_and_so_is_one_whose_number_was_given_to_another() {
        // Lives until its stdin is closed: one that ends by itself may be gone before it is looked at.
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let owner = Owner::of(child.id());
        assert!(!owner.is_dead() && !owner.is_this_process() && owner.is_alive());
        // Closes its stdin first.
        child.wait().unwrap();
        assert!(owner.is_dead() && !owner.is_alive());
        let recycled = Owner { started: Some(1), ..Owner::ours() };
        assert!(recycled.is_dead() && !recycled.is_this_process());
    }

    #[test]
    fn what_cannot_be_looked_into_is_left_alone() {
        let gone = Owner { pid: 999_999_999, started: Some(1), ..Owner::ours() };
        assert!(gone.is_dead());
        let elsewhere = [
            Owner { boot: "other-boot".into(), ..gone.clone() },
            Owner { boot: String::new(), ..gone.clone() },
            Owner { namespace: "1".into(), ..gone.clone() },
            Owner { started: None, ..gone },
        ];
        assert!(elsewhere.iter().all(|owner| !owner.is_dead() && !owner.is_this_process() && !owner.is_alive()));
        for text in ["", "a:b", ":::", "a:b:c:1", "a:b:1:x", "a:b:1:2:3", "a:b:-1:2"] {
            assert_eq!(text.parse::<Owner>(), Err(()), "{text:?}");
        }
    }
}
