//! The process's own stdin and stdout as the stdio front's wire, without a thread in between where the system allows it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::FileType,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
};

pub type Input = Box<dyn AsyncRead + Unpin + Send>;
pub type Output = Box<dyn AsyncWrite + Unpin + Send>;

/// How often a closed stdout is looked for, once stdin has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Pipes and sockets (what clients give) are read and written directly, files and terminals through tokio's threads.
pub fn wire() -> io::Result<(Input, Output)> {
    let stdin = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    let stdout = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?;
    Ok((input(stdin)?, output(stdout)?))
}

/// Resolves when nobody can read stdout any more. A file or a terminal is never gone.
pub async fn gone() {
    loop {
        let stdout = io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        let ready = rustix::event::poll(&mut fds, Some(&Timespec::default()));
        if ready.is_ok() && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
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
