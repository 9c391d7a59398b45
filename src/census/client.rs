//! Whether a stdio gateway has lost its client: whoever started it is gone, and nobody can write to its stdin any more.
//!
//! Each alone says nothing: a wrapper may end and leave the pipe to the client, and a client may close the pipe a moment
//! before its gateway ends by itself.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Gateway;
use crate::host::{self, Process, Stdin, Tree};

/// An answer that is longer is none of a gateway.
const LONGEST: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Here(&'static str),
    Lost(&'static str),
    /// Only the gateway itself could say, and it was not asked.
    Unknown(&'static str),
}

/// What cannot be seen from outside the gateway is asked for its answer, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Never,
    For(Duration),
}

impl Client {
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Lost(_))
    }

    pub fn why(self) -> &'static str {
        match self {
            Self::Here(why) | Self::Lost(why) | Self::Unknown(why) => why,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Here(_) => "alive",
            Self::Lost(_) => "gone",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Gateway {
    /// `None`: it has no client of its own, or does not run. May block for as long as the gateway is asked.
    pub fn client(&self, tree: &Tree, ask: Ask) -> Option<Client> {
        let (facts, process) = (self.facts.as_ref()?, self.process?);
        if !self.is_stdio() {
            return None;
        }
        let Some(parent) = facts.parent else { return Some(Client::Here("who started it is not known")) };
        if (Process { pid: parent.pid, started: parent.start_ticks }).lives() {
            return Some(Client::Here("its parent lives"));
        }
        match host::stdin_of(process, &tree.with_all_below(process.pid)) {
            Stdin::Ended => return Some(Client::Lost("its parent is gone and its stdin is at its end")),
            Stdin::Open => return Some(Client::Here("its parent is gone, but another process holds its stdin")),
            Stdin::Unknown => {}
        }
        let Ask::For(limit) = ask else {
            return Some(Client::Unknown("its parent is gone, and its stdin cannot be looked at"));
        };
        // In doubt it has a client.
        let Some(socket) = &facts.socket else {
            return Some(Client::Unknown("its parent is gone, its stdin cannot be looked at, and it cannot be asked"));
        };
        let status = told_by(socket, "/api/status", limit);
        Some(match status.as_ref().and_then(|status| status.pointer("/client/stdin")?.as_str()) {
            Some("ended") => Client::Lost("its parent is gone, and its stdin is at its end, as it says itself"),
            Some(_) => Client::Here("its parent is gone, but its stdin is open, as it says itself"),
            // An older version answers without saying.
            None if status.is_some() => Client::Here("its parent is gone, and it does not say how its stdin is"),
            None => Client::Lost("its parent is gone and it does not answer"),
        })
    }
}

/// `GET` on an admin socket. `None`: no JSON within the time.
pub fn told_by(socket: &Path, path: &str, limit: Duration) -> Option<Value> {
    let start = Instant::now();
    let left = || limit.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
    // A gateway that is stopped takes the connection all the same: the kernel does.
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_write_timeout(left()).ok()?;
    // HTTP 1.0: the answer comes in one piece and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left()?)).ok()?;
        match stream.read(&mut piece).ok()? {
            0 => break,
            count => answer.extend_from_slice(piece.get(..count)?),
        }
        if answer.len() > LONGEST {
            return None;
        }
    }
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    serde_json::from_slice(answer.get(head + 4..)?).ok()
}
