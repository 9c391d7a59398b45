//! Everything below a shim, since a descendant may have left the server's group and session.

pub(super) use platform::{adopt_orphans, below, die_with_parent};

use crate::host::Process;

/// One process below a shim.
pub(super) struct Descendant {
    pub(super) process: Process,
    /// Its process group.
    pub(super) group: i32,
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{collections::BTreeMap, ffi::OsStr, io};

    use rustix::process::{Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal};

    use super::Descendant;
    use crate::host::{Process, Stat, pids};

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
        let mut children: BTreeMap<u32, Vec<(u32, Stat)>> = BTreeMap::new();
        for pid in pids() {
            if let Some(stat) = Stat::read(pid) {
                children.entry(stat.parent).or_default().push((pid, stat));
            }
        }
        let mut found = Vec::new();
        let mut open = vec![std::process::id()];
        while let Some(parent) = open.pop() {
            for (pid, stat) in children.remove(&parent).unwrap_or_default() {
                open.push(pid);
                if !stat.is_zombie() {
                    let process = Process { pid, started: stat.started };
                    found.push(Descendant { process, group: stat.group });
                }
            }
        }
        found
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_child_is_found_below_us_until_it_is_reaped() {
            let mut child = std::process::Command::new("/bin/sleep").arg("20").spawn().unwrap();
            assert!(below().iter().any(|d| d.process.pid == child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(below().iter().all(|d| d.process.pid != child.id()));
        }
    }
}

/// macOS and the BSDs: the process group is all there is.
#[cfg(not(target_os = "linux"))]
mod platform {
    use std::{ffi::OsStr, io};

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
}
