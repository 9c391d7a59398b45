//! One process, told from every later one of the same number, and signals that reach it or nobody.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::Stat;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub pid: u32,
    /// In clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The running process of this number; a zombie runs no more.
    #[cfg(target_os = "linux")]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::read(pid).filter(|stat| !stat.is_zombie())?;
        Some(Self { pid, started: stat.started })
    }

    /// The process of this number; the next one of that number cannot be told from it.
    #[cfg(not(target_os = "linux"))]
    pub fn of(pid: u32) -> Option<Self> {
        rustix::process::test_kill_process(Pid::from_raw(i32::try_from(pid).ok()?)?).ok()?;
        Some(Self { pid, started: 0 })
    }

    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Waits until it has ended, for `within` at most. False: it lives on.
    pub fn wait(self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.lives() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            platform::await_end(self.pid, left);
        }
        true
    }

    /// Open, then check, then signal: the number may have been given away meanwhile. False: nobody got it.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        platform::signal(pid, signal, || Stat::read(self.pid).is_some_and(|stat| stat.started == self.started))
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::time::Duration;

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
    };

    /// Of a kernel that gives no descriptor for a process.
    const LOOK: Duration = Duration::from_millis(20);

    /// Returns at its end, or when the time is over, or a little later for no reason.
    pub(super) fn await_end(pid: u32, within: Duration) {
        let pidfd = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match (pidfd, Timespec::try_from(within)) {
            (Some(Ok(pidfd)), Ok(within)) => {
                let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&within));
                // One that waits to be reaped is over, too: `lives` says so.
            }
            _ => std::thread::sleep(LOOK.min(within)),
        }
    }

    pub(super) fn signal(pid: Pid, signal: Signal, is_it: impl Fn() -> bool) -> bool {
        let pidfd = pidfd_open(pid, PidfdFlags::empty());
        let same = is_it();
        match pidfd {
            Ok(pidfd) if same => pidfd_send_signal(pidfd, signal).is_ok(),
            // A kernel before 5.3.
            Err(rustix::io::Errno::NOSYS) if same => kill_process(pid, signal).is_ok(),
            _ => false,
        }
    }
}

/// There is nothing to check it by.
#[cfg(not(target_os = "linux"))]
mod platform {
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process};

    pub(super) fn await_end(_pid: u32, within: Duration) {
        std::thread::sleep(Duration::from_millis(20).min(within));
    }

    pub(super) fn signal(pid: Pid, signal: Signal, _is_it: impl Fn() -> bool) -> bool {
        kill_process(pid, signal).is_ok()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_signal_reaches_the_process_that_was_meant_and_no_other() {
        let mut child = std::process::Command::new("/bin/sleep").arg("20").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.lives());
        let recycled = Process { started: process.started + 1, ..process };
        assert!(!recycled.lives() && !recycled.signal(Signal::KILL) && process.lives());
        assert!(process.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!process.lives() && !process.signal(Signal::KILL) && Process::of(child.id()).is_none());
    }
}
