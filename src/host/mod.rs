//! What this machine says about processes: who runs, since when, below whom, with which environment.
//!
//! Linux tells it in `/proc`; elsewhere nothing is told, and everything here answers that it does not know.

mod client;
mod owner;
mod process;
mod stat;
mod tree;

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

pub use client::{Stdin, own_stdin, stdin_of};
pub use owner::Owner;
pub use process::Process;
pub use stat::Stat;
pub use tree::{Tree, Usage};

/// Numbers of all processes that can be seen from here.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Differs from boot to boot and from machine to machine.
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Time since the boot, on the clock that the start times of processes are on.
pub fn since_boot() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_ascii_whitespace().next()?.parse().ok()?).ok()
}

/// Whose process it is, by its effective user id.
pub fn uid(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|about| about.uid())
}

/// `None`: there is no such process, or it is somebody else's.
pub fn environ(pid: u32) -> Option<Environ> {
    fs::read(format!("/proc/{pid}/environ")).ok().map(Environ)
}

/// The arguments of a process, the program's name first. `None` also for one that is just becoming another program.
pub fn arguments(pid: u32) -> Option<Vec<Vec<u8>>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    (!line.is_empty()).then(|| line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

/// The environment that a process was started with.
pub struct Environ(Vec<u8>);

impl Environ {
    /// `None` also for a value that is no UTF-8: it is none of ours.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entries = self.0.split(|byte| *byte == 0);
        let value = entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()?;
        std::str::from_utf8(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    #[cfg(target_os = "linux")]
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_is_seen_with_its_arguments_and_its_environment() {
        let mut child = std::process::Command::new("/bin/cat")
            .args(["-", ""])
            .env("HANGAR_TEST_A", "one=1")
            .env("HANGAR_TEST", "two")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        // `spawn` may return before the new program's arguments are in place; what answers is in place.
        let mut byte = [0];
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        assert!(pids().contains(&pid));
        assert_eq!(arguments(pid).unwrap(), [&b"/bin/cat"[..], b"-", b""]);
        let found = environ(pid).unwrap();
        assert_eq!((found.get("HANGAR_TEST_A"), found.get("HANGAR_TEST")), (Some("one=1"), Some("two")));
        assert_eq!(found.get("HANGAR_TES"), None);
        child.wait().unwrap();
        assert!(environ(pid).is_none() && arguments(pid).is_none());
    }
}
