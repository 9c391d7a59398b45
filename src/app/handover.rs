//! What one life of the gateway leaves to the next across an exec: open sockets, held locks, and what clients have said.
//!
//! Descriptors and state go through a socket that the next life finds as its standard input, with the real one among
//! them; so nothing depends on numbers of descriptors, and nothing has to be trusted to be open.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use serde::{Deserialize, Serialize};

use super::dotenv::Marks;
use crate::{
    passing,
    server::{CarriedRecord, SessionRecord},
};

/// Holds the process's own number: the variable of another process means nothing to this one.
pub(super) const VARIABLE: &str = "HANGAR_HANDOVER";

const STDIN: &str = "stdin";
const STATE: &str = "state";
/// Notes are names of descriptors, one a line, after this first line.
const MORE: &str = "more";
const LAST: &str = "last";
/// Room for `passing::MOST` names.
const NOTE: usize = 4096;
/// No gateway has so many clients that it can hand over.
const MOST_MESSAGES: usize = 64;

/// Both sides' view of it.
#[derive(Default)]
pub(super) struct Handover {
    fds: BTreeMap<String, OwnedFd>,
    pub state: State,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Of the life that ends.
    pub generation_id: String,
    /// Who asked for the restart, where the system said so.
    pub sender_pid: Option<i32>,
    pub sender_uid: Option<u32>,
    /// The HTTP socket is the service manager's.
    pub activated: bool,
    /// Keys in hex digits.
    pub sessions: Vec<(String, SessionRecord)>,
    pub stdio: Option<ClientRecord>,
    /// Of the `.env` file. `None`: an earlier version, which knew of none.
    #[serde(default)]
    pub variables: Option<Marks>,
    /// Providers that were loaded, in the order of their names.
    #[serde(default)]
    pub loaded: Vec<LoadedRecord>,
    /// On the connect socket, in the order of their descriptors.
    #[serde(default)]
    pub connected: Vec<CarriedRecord>,
}

/// A provider that was loaded while running; its definition is looked up again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LoadedRecord {
    pub provider: String,
    pub by: String,
}

/// A client on a stream of lines.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ClientRecord {
    pub session: Option<SessionRecord>,
    /// What was read and not served, in hex digits: it may end in the middle of a character.
    pub unread: String,
}

impl Handover {
    pub(super) fn of(state: State) -> Self {
        Self { fds: BTreeMap::new(), state }
    }

    pub(super) fn put(&mut self, name: &str, fd: impl Into<OwnedFd>) {
        self.fds.insert(name.to_owned(), fd.into());
    }

    /// A copy of `fd`; without one the next life opens its own.
    pub(super) fn put_copy(&mut self, name: &str, fd: BorrowedFd<'_>) {
        if let Ok(copy) = fd.try_clone_to_owned() {
            self.put(name, copy);
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.fds.remove(name)
    }

    /// Puts all of it where the next life finds it. To be followed by the exec at once: standard input is another one now.
    pub(super) fn pack(mut self) -> io::Result<()> {
        let mut state = anonymous_file()?;
        state.write_all(&serde_json::to_vec(&self.state)?)?;
        self.put(STATE, state);
        self.put_copy(STDIN, io::stdin().as_fd());
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let all: Vec<_> = self.fds.iter().collect();
        let chunks = all.chunks(passing::MOST);
        let messages = chunks.len();
        for (at, chunk) in chunks.enumerate() {
            let head = if at + 1 == messages { LAST } else { MORE };
            let names: Vec<&str> = std::iter::once(head).chain(chunk.iter().map(|(name, _)| name.as_str())).collect();
            let fds: Vec<_> = chunk.iter().map(|(_, fd)| fd.as_fd()).collect();
            passing::send(ours.as_fd(), format!("{}\n", names.join("\n")).as_bytes(), &fds)?;
        }
        Ok(rustix::stdio::dup2_stdin(&theirs)?)
    }

    /// What an earlier life of this process has left. `None`: there was none.
    pub(super) fn unpack() -> Option<Self> {
        let for_us = std::env::var(VARIABLE).ok()?.parse::<u32>().ok()? == std::process::id();
        // Should nothing be there, the program starts as if it were its first life.
        for_us.then(|| Self::receive().ok()).flatten()
    }

    fn receive() -> io::Result<Self> {
        let mut handover = Self::default();
        // One read never goes past the descriptors of one message.
        for _ in 0..MOST_MESSAGES {
            let mut note = [0; NOTE];
            let (length, fds) = passing::receive(io::stdin().as_fd(), &mut note)?;
            let text = std::str::from_utf8(note.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
            let mut names = text.lines();
            let head = names.next().unwrap_or_default();
            if head != MORE && head != LAST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            handover.fds.extend(names.map(str::to_owned).zip(fds));
            if head == LAST {
                break;
            }
        }
        if let Some(stdin) = handover.take(STDIN) {
            rustix::stdio::dup2_stdin(&stdin)?;
        }
        let state = handover.take(STATE).ok_or(io::ErrorKind::UnexpectedEof)?;
        let (mut state, mut text) = (File::from(state), Vec::new());
        state.seek(SeekFrom::Start(0))?;
        state.read_to_end(&mut text)?;
        handover.state = serde_json::from_slice(&text)?;
        Ok(handover)
    }
}

#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("hangar-handover", rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

/// One that has lost its name.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<File> {
    let path = crate::runtime_dir::directory()?.join(format!(".handover-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}
