//! File descriptors that travel through a Unix socket, with a few bytes that say what they are.
//!
//! They wait in the socket until the other side takes them, also when the sender is gone by then: so a gateway hands them to
//! its shims, and, across an exec, to its own next life.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// Descriptors in one message; the system allows 253.
pub const MOST: usize = 64;

#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// Puts `fds` and `note` (at least one byte, at most a few hundred) into `socket`.
pub fn send(socket: BorrowedFd<'_>, note: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MOST || !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(note)], &mut ancillary, SendFlags::empty())?;
    if sent == note.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Takes one message out of `socket`: how much of `note` was filled, and the descriptors, closed on exec
/// (outside Linux: not yet).
pub fn receive(socket: BorrowedFd<'_>, note: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(note)], &mut ancillary, RECEIVE)?;
    let fds = ancillary
        .drain()
        .filter_map(|message| if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None })
        .flatten()
        .collect();
    Ok((got.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn descriptors_outlive_their_sender() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(ours.as_fd(), b"note", &[writer.as_fd()]).unwrap();
        drop((ours, writer));
        let mut note = [0; 16];
        let (length, mut fds) = receive(theirs.as_fd(), &mut note).unwrap();
        assert_eq!((&note[..length], fds.len()), (&b"note"[..], 1));
        std::fs::File::from(fds.remove(0)).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn more_than_fit_are_refused_whole() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let fds = vec![ours.as_fd(); MOST + 1];
        assert!(send(ours.as_fd(), b"n", &fds).is_err());
    }
}
