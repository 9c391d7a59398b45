//! What the gateway and a shim say to each other on the control socket, which is the shim's standard input.
//!
//! Gateway: first one byte that carries the server's three pipe ends, later [`TERM_NOW`] or [`KILL_NOW`].
//! Shim: one line per [`Report`]. Either side's end is the end of the other's interest.

use std::{
    fmt,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use super::{ExitCause, Rung};
use crate::passing;

/// Go to the TERM rung now, whatever `grace` says.
pub(super) const TERM_NOW: u8 = b't';
/// Go to the KILL rung now.
pub(super) const KILL_NOW: u8 = b'k';
const HANDING: u8 = b'h';

/// The server's ends of its pipes.
pub(super) struct Handed {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// One fact from the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// The server runs and has this pid.
    Started(u32),
    /// It was asked to stop, and this rung of the ladder has been reached while it lives.
    Rung(Rung),
    /// It ended; what it left behind may take a moment longer.
    Exited(ExitCause),
    /// It could not be started.
    Failed(String),
}

/// Puts the pipe ends into the socket; they wait there until the shim takes them.
pub(super) fn hand(control: BorrowedFd<'_>, handed: &Handed) -> io::Result<()> {
    passing::send(control, &[HANDING], &[handed.stdin.as_fd(), handed.stdout.as_fd(), handed.stderr.as_fd()])
}

/// Takes the pipe ends out of the socket.
pub(super) fn receive(control: BorrowedFd<'_>) -> io::Result<Handed> {
    let mut byte = [0];
    let (_, fds) = passing::receive(control, &mut byte)?;
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next(), fds.next()) {
        (Some(stdin), Some(stdout), Some(stderr)) if byte == [HANDING] => Ok(Handed { stdin, stdout, stderr }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no pipes were handed over")),
    }
}

/// Tells the gateway. It may be gone, and then nobody needs to know.
pub(super) fn tell(mut control: &UnixStream, report: &Report) {
    let _ = control.write_all(format!("{report}\n").as_bytes());
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(pid) => write!(f, "started {pid}"),
            Self::Rung(Rung::StdinClosed) => f.write_str("rung stdin"),
            Self::Rung(Rung::Term) => f.write_str("rung term"),
            Self::Rung(Rung::Kill) => f.write_str("rung kill"),
            Self::Exited(ExitCause::Code(code)) => write!(f, "code {code}"),
            Self::Exited(ExitCause::Signal(signal)) => write!(f, "signal {signal}"),
            Self::Exited(ExitCause::Closed) => f.write_str("lost closed"),
            Self::Exited(ExitCause::Lost(why)) => write!(f, "lost {}", why.replace('\n', " ")),
            Self::Failed(why) => write!(f, "failed {}", why.replace('\n', " ")),
        }
    }
}

impl Report {
    /// `line` without its newline; `None` when it is no report.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        Some(match (word, rest) {
            ("started", pid) => Self::Started(pid.parse().ok()?),
            ("rung", "stdin") => Self::Rung(Rung::StdinClosed),
            ("rung", "term") => Self::Rung(Rung::Term),
            ("rung", "kill") => Self::Rung(Rung::Kill),
            ("code", code) => Self::Exited(ExitCause::Code(code.parse().ok()?)),
            ("signal", signal) => Self::Exited(ExitCause::Signal(signal.parse().ok()?)),
            ("lost", why) => Self::Exited(ExitCause::Lost(why.to_owned())),
            ("failed", why) => Self::Failed(why.to_owned()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for report in [
            Report::Started(4711),
            Report::Rung(Rung::StdinClosed),
            Report::Rung(Rung::Term),
            Report::Rung(Rung::Kill),
            Report::Exited(ExitCause::Code(3)),
            Report::Exited(ExitCause::Signal(9)),
            Report::Failed("no such file".into()),
        ] {
            assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
        assert_eq!(Report::parse("started"), None);
        assert_eq!(Report::parse("rung 7"), None);
    }

    #[test]
    fn pipe_ends_arrive_in_order_on_the_other_side() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (stdin, _keep_open) = io::pipe().unwrap();
        let ((mut from_stdout, stdout), (mut from_stderr, stderr)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let handed = Handed { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() };
        hand(ours.as_fd(), &handed).unwrap();
        drop(handed);
        let got = receive(theirs.as_fd()).unwrap();
        std::fs::File::from(got.stdout).write_all(b"out").unwrap();
        std::fs::File::from(got.stderr).write_all(b"err").unwrap();
        let mut text = String::new();
        from_stdout.read_to_string(&mut text).unwrap();
        from_stderr.read_to_string(&mut text).unwrap();
        assert_eq!(text, "outerr");
    }

    #[test]
    fn a_socket_without_pipes_is_refused() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[HANDING]).unwrap();
        assert!(receive(theirs.as_fd()).is_err());
    }
}
