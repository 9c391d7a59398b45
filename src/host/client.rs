//! Whether a stdio server's client is still there: who started it, and whether anybody can still write to its stdin.

use super::Process;

/// What can be told about one process's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Some other process can still write to it.
    Open,
    /// Nobody can.
    Ended,
    /// It is no pipe, or cannot be looked at.
    Unknown,
}

/// Of another process of this user. `of_its_own`: processes that belong to it; what they hold is no client.
///
/// Only a pipe tells: a socket's other end is not to be found from outside.
pub fn stdin_of(process: Process, of_its_own: &[u32]) -> Stdin {
    platform::stdin_of(process, of_its_own)
}

/// Of this process. A terminal, and what cannot be asked, counts as open.
pub fn own_stdin() -> Stdin {
    platform::own_stdin()
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{
        ffi::OsStr,
        fs,
        io::stdin,
        os::{fd::AsFd, unix::fs::MetadataExt},
        path::Path,
    };

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        fs::{Mode, OFlags},
    };

    use super::Stdin;
    use crate::host::{Process, pids};

    pub(super) fn stdin_of(process: Process, of_its_own: &[u32]) -> Stdin {
        let path = format!("/proc/{}/fd/0", process.pid);
        let Some(pipe) = fs::read_link(&path).ok().filter(|link| link.to_string_lossy().starts_with("pipe:[")) else {
            return Stdin::Unknown;
        };
        // One more reader of the same pipe for a moment: it hangs up when the last writer is gone.
        let Ok(reader) = rustix::fs::open(&*path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        else {
            return Stdin::Unknown;
        };
        let Some(ended) = hung_up(&reader, PollFlags::HUP) else { return Stdin::Unknown };
        drop(reader);
        if !process.lives() {
            return Stdin::Unknown;
        }
        if ended || only_its_own_write(process.pid, pipe.as_os_str(), of_its_own) { Stdin::Ended } else { Stdin::Open }
    }

    /// Every process could be looked at, and none beside these can write to the pipe.
    fn only_its_own_write(pid: u32, pipe: &OsStr, of_its_own: &[u32]) -> bool {
        let others = pids().into_iter().filter(|other| *other != pid && !of_its_own.contains(other));
        let mut others = others.map(|other| writes(other, pipe));
        others.all(|writes| writes == Some(false))
    }

    /// `None`: it is another user's.
    fn writes(pid: u32, pipe: &OsStr) -> Option<bool> {
        let directory = format!("/proc/{pid}/fd");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // It has ended meanwhile.
            Err(_) if !Path::new(&directory).exists() => return Some(false),
            Err(_) => return None,
        };
        Some(entries.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|link| link == pipe)
                // The link's own mode says how the descriptor was opened.
                && fs::symlink_metadata(entry.path()).is_ok_and(|link| link.mode() & 0o200 != 0)
        }))
    }

    pub(super) fn own_stdin() -> Stdin {
        match hung_up(&stdin(), PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL) {
            Some(true) => Stdin::Ended,
            Some(false) | None => Stdin::Open,
        }
    }

    fn hung_up(fd: &impl AsFd, flags: PollFlags) -> Option<bool> {
        let mut fds = [PollFd::new(fd, flags)];
        poll(&mut fds, Some(&Timespec::default())).ok()?;
        let [fd] = fds;
        Some(fd.revents().intersects(flags))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::Stdin;
    use crate::host::Process;

    pub(super) fn stdin_of(_process: Process, _of_its_own: &[u32]) -> Stdin {
        Stdin::Unknown
    }

    pub(super) fn own_stdin() -> Stdin {
        Stdin::Open
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn of(child: &Child, own: &[u32]) -> Stdin {
        stdin_of(Process::of(child.id()).unwrap(), own)
    }

    fn stopped(stdin: Stdio) -> Child {
        // Never reads, so that it does not end with its stdin.
        Command::new("/bin/sleep").arg("20").stdin(stdin).spawn().unwrap()
    }

    #[test]
    fn a_pipe_is_open_as_long_as_somebody_else_can_write_to_it() {
        let mut child = stopped(Stdio::piped());
        let writer = child.stdin.take();
        assert_eq!(of(&child, &[]), Stdin::Open);
        assert_eq!(of(&child, &[std::process::id()]), Stdin::Ended, "what its own hold does not count");
        drop(writer);
        assert_eq!(of(&child, &[]), Stdin::Ended);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_file_and_a_socket_do_not_tell() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        for stdin in [Stdio::null(), Stdio::from(std::os::fd::OwnedFd::from(theirs))] {
            let mut child = stopped(stdin);
            assert_eq!(of(&child, &[]), Stdin::Unknown);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        drop(ours);
    }
}
