//! Everything below a shim: found in `/proc`, since a descendant may have left the server's group and session.

pub(in crate::transport) use platform::marked;
pub(super) use platform::{adopt_orphans, below, die_with_parent};

use rustix::process::{Pid, Signal};

/// One process below a shim, or once below one.
pub(in crate::transport) struct Descendant {
    pub(super) pid: Pid,
    /// Its process group.
    pub(super) group: i32,
    /// In clock ticks since boot; with the pid it names one process, not the next one of that number.
    started: u64,
}

impl Descendant {
    pub(in crate::transport) fn signal(&self, signal: Signal) {
        platform::signal(self, signal);
    }

    /// It is a shim, which ends everything below it before it goes.
    pub(in crate::transport) fn is_shim(&self) -> bool {
        platform::second_argument(self.pid).as_deref() == Some(super::COMMAND.as_bytes())
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{collections::BTreeMap, ffi::OsStr, fs, io};

    use rustix::process::{
        Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, pidfd_send_signal, set_child_subreaper,
        set_parent_process_death_signal,
    };

    use super::Descendant;

    /// From now on an orphan below us becomes our child.
    pub(in super::super) fn adopt_orphans() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// This process gets SIGKILL when the shim dies. False: the shim is dead already.
    pub(in super::super) fn die_with_parent(shim: &OsStr) -> bool {
        let parent = || getppid().map(|p| p.as_raw_nonzero().to_string());
        set_parent_process_death_signal(Some(Signal::KILL)).is_ok() && parent().as_deref().map(OsStr::new) == Some(shim)
    }

    /// All processes below this one, zombies left out.
    pub(in super::super) fn below() -> Vec<Descendant> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let mut children: BTreeMap<i32, Vec<(i32, Stat)>> = BTreeMap::new();
        for pid in entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
            if let Some(stat) = Stat::read(pid) {
                children.entry(stat.parent).or_default().push((pid, stat));
            }
        }
        let mut found = Vec::new();
        let mut open = vec![getpid().as_raw_nonzero().get()];
        while let Some(parent) = open.pop() {
            for (pid, stat) in children.remove(&parent).unwrap_or_default() {
                open.push(pid);
                if let (false, Some(pid)) = (stat.zombie, Pid::from_raw(pid)) {
                    found.push(Descendant { pid, group: stat.group, started: stat.started });
                }
            }
        }
        found
    }

    /// All processes of ours whose first environment satisfies `test`, as `NAME=VALUE` entries.
    pub(in crate::transport) fn marked(test: impl Fn(&[&[u8]]) -> bool) -> Vec<Descendant> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let own = getpid().as_raw_nonzero().get();
        let carries = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            test(&environment.split(|b| *b == 0).collect::<Vec<_>>())
        };
        pids.filter(|pid| *pid != own)
            .filter_map(|pid| {
                // The start time first: if the number is reused in between, the signal is not sent.
                let stat = Stat::read(pid).filter(|s| !s.zombie)?;
                let found = Descendant { pid: Pid::from_raw(pid)?, group: stat.group, started: stat.started };
                carries(&pid).then_some(found)
            })
            .collect()
    }

    pub(super) fn second_argument(pid: Pid) -> Option<Vec<u8>> {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        line.split(|b| *b == 0).nth(1).map(<[u8]>::to_vec)
    }

    /// Open, then check, then signal: the number may have been reused since [`below`] looked.
    pub(super) fn signal(target: &Descendant, signal: Signal) {
        let pidfd = pidfd_open(target.pid, PidfdFlags::empty());
        let same = Stat::read(target.pid.as_raw_nonzero().get()).is_some_and(|s| s.started == target.started);
        match pidfd {
            Ok(pidfd) if same => drop(pidfd_send_signal(pidfd, signal)),
            // A kernel before 5.3.
            Err(rustix::io::Errno::NOSYS) if same => drop(kill_process(target.pid, signal)),
            _ => {}
        }
    }

    /// The fields of `/proc/PID/stat` that are needed here.
    struct Stat {
        zombie: bool,
        parent: i32,
        group: i32,
        started: u64,
    }

    impl Stat {
        fn read(pid: i32) -> Option<Self> {
            Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
        }

        /// `PID (NAME) STATE PPID PGRP ... STARTTIME ...`; the name may hold spaces and brackets.
        fn parse(text: &[u8]) -> Option<Self> {
            let after_name = text.iter().rposition(|b| *b == b')')? + 1;
            let mut fields = std::str::from_utf8(text.get(after_name..)?).ok()?.split_ascii_whitespace();
            let zombie = matches!(fields.next()?, "Z" | "X");
            let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            // Field 22 of the manual page; three of the rest are read.
            Some(Self { zombie, parent, group, started: fields.nth(16)?.parse().ok()? })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn stat_of_a_process_with_brackets_in_its_name_is_read() {
            let text = b"42 (a) b (c) S 7 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11\n";
            let stat = Stat::parse(text).unwrap();
            assert_eq!((stat.zombie, stat.parent, stat.group, stat.started), (false, 7, 40, 987_654));
        }

        #[test]
        fn a_child_is_found_below_us_until_it_is_reaped() {
            let mut child = std::process::Command::new("/bin/sleep").arg("20").spawn().unwrap();
            let found = below();
            assert!(found.iter().any(|d| d.pid.as_raw_nonzero().get().unsigned_abs() == child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(below().iter().all(|d| d.pid.as_raw_nonzero().get().unsigned_abs() != child.id()));
        }
    }
}

/// macOS and the BSDs: the process group is all there is.
#[cfg(not(target_os = "linux"))]
mod platform {
    use std::{ffi::OsStr, io};

    use rustix::process::Signal;

    use super::Descendant;

    pub(in super::super) fn adopt_orphans() -> io::Result<()> {
        Ok(())
    }

    pub(in super::super) fn die_with_parent(_shim: &OsStr) -> bool {
        true
    }

    pub(in super::super) fn below() -> Vec<Descendant> {
        Vec::new()
    }

    pub(in crate::transport) fn marked(_test: impl Fn(&[&[u8]]) -> bool) -> Vec<Descendant> {
        Vec::new()
    }

    pub(super) fn second_argument(_pid: rustix::process::Pid) -> Option<Vec<u8>> {
        None
    }

    pub(super) fn signal(target: &Descendant, signal: Signal) {
        let _ = (target.started, rustix::process::kill_process(target.pid, signal));
    }
}
