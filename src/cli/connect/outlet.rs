//! Lines on their way out, and the client's end of them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::fd::OwnedFd,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{FileType, OFlags},
};

/// Written at once to what may block: a pipe that can be written to takes this much.
const SAFE_WRITE: usize = 4096;

pub(super) struct Queue<T> {
    pub lines: VecDeque<T>,
    /// Of all lines, newlines included.
    pub bytes: usize,
    /// Of the first line, already written; its newline counts.
    pub written: usize,
}

/// The client's stdout.
pub(super) struct Outlet {
    pub fd: OwnedFd,
    /// Set so that a write never waits.
    unblocked: bool,
}

/// The rest of a line and its newline, as far as it goes.
pub(super) fn write_line(
    line: &[u8],
    written: usize,
    write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let rest = line.get(written..).unwrap_or_default();
    match write(&[IoSlice::new(rest), IoSlice::new(b"\n")])? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

impl Outlet {
    /// Pipes and sockets are the client's own; a terminal or a file is shared with others, who expect it to block.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let unblocked = matches!(kind, FileType::Fifo | FileType::Socket);
        if unblocked {
            let flags = rustix::fs::fcntl_getfl(&fd)?;
            rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(Self { fd, unblocked })
    }

    /// `WouldBlock`: it takes nothing now.
    pub(super) fn write(&self, line: &[u8], written: usize) -> io::Result<usize> {
        if self.unblocked {
            return write_line(line, written, |parts| Ok(rustix::io::writev(&self.fd, parts)?));
        }
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        if rustix::event::poll(&mut fds, Some(&Timespec::default()))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let rest = line.get(written..).filter(|rest| !rest.is_empty()).unwrap_or(b"\n");
        Ok(rustix::io::write(&self.fd, rest.get(..SAFE_WRITE).unwrap_or(rest))?)
    }
}

impl<T: AsRef<[u8]>> Queue<T> {
    pub(super) fn push(&mut self, line: T) {
        self.bytes += line.as_ref().len() + 1;
        self.lines.push_back(line);
    }

    /// `count` bytes more of the first line have gone; it goes itself with its newline.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
        let length = self.lines.front().map(|first| first.as_ref().len() + 1);
        if let Some(length) = length.filter(|length| self.written >= *length) {
            self.bytes -= length;
            self.written = 0;
            self.lines.pop_front();
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, written: 0 }
    }
}
