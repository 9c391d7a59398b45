//! The process's own stdin and stdout as the stdio front's wire, without a thread in between where the system allows it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::FileType;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
};

pub type Input = Box<dyn AsyncRead + Unpin + Send>;
pub type Output = Box<dyn AsyncWrite + Unpin + Send>;

/// Pipes and sockets (what clients give) are read and written directly, files and terminals through tokio's threads.
pub fn wire() -> io::Result<(Input, Output)> {
    let stdin = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    let stdout = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?;
    Ok((input(stdin)?, output(stdout)?))
}

fn input(fd: OwnedFd) -> io::Result<Input> {
    Ok(match kind(&fd)? {
        FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        FileType::Socket => Box::new(socket(fd)?),
        _ => Box::new(tokio::io::stdin()),
    })
}

fn output(fd: OwnedFd) -> io::Result<Output> {
    Ok(match kind(&fd)? {
        FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(fd)?),
        FileType::Socket => Box::new(socket(fd)?),
        _ => Box::new(tokio::io::stdout()),
    })
}

fn kind(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
