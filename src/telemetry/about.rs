//! The facts about this gateway process that status pages, tools and the command line tell.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};

use super::build;
use crate::{
    config::Dotenv,
    host::{self, Process, Stdin},
    runtime_dir::pid_file::Parent,
};

#[derive(Debug)]
pub struct About {
    pub started: Instant,
    /// RFC 3339.
    pub start_time: String,
    /// `stdio`, `http` or `daemon`.
    pub transport: &'static str,
    /// Where clients connect; `None` on stdio.
    pub address: Option<SocketAddr>,
    /// The admin socket.
    pub socket: Option<PathBuf>,
    /// Where `hangar connect` finds it; `None` where another gateway of this config is found.
    pub connect_socket: Option<PathBuf>,
    /// The config file, absolute.
    pub config: PathBuf,
    /// The `.env` file, or that there was none.
    pub dotenv: Dotenv,
    /// In the place where scripts look.
    pub pid_file: Option<PathBuf>,
    /// Names this state directory's gateways; children bear it in their environment.
    pub instance: Arc<str>,
    /// Names this process's life.
    pub generation_id: Arc<str>,
    /// Whoever started it: of a stdio gateway, its client.
    pub parent: Option<Parent>,
    /// How the last restart in place went: the one that began this life, or one that was refused since.
    pub last_restart: Mutex<Value>,
}

impl About {
    pub fn tell_restart(&self, told: Value) {
        *self.last_restart.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    /// Of a stdio gateway: whether its client may still be there. What another gateway asks before it ends this one.
    fn client(&self) -> Option<Value> {
        let parent = self.parent.map(|parent| Process { pid: parent.pid, started: parent.start_ticks });
        (self.transport == "stdio").then(|| {
            json!({
                "parent": parent.map(|parent| if parent.lives() { "alive" } else { "gone" }),
                "stdin": if host::own_stdin() == Stdin::Ended { "ended" } else { "open" },
            })
        })
    }

    pub fn json(&self) -> Value {
        let uptime_s = self.started.elapsed().as_secs();
        json!({
            "name": "hangar",
            "version": build::VERSION,
            "commit": build::COMMIT,
            "build_date": build::DATE,
            "pid": std::process::id(),
            "start_time": self.start_time,
            "uptime_s": uptime_s,
            "uptime": in_words(uptime_s),
            "transport": self.transport,
            "address": self.address.map(|address| address.to_string()),
            "socket": self.socket,
            "connect_socket": self.connect_socket,
            "config": self.config,
            "dotenv": self.dotenv(),
            "pid_file": self.pid_file,
            "client": self.client(),
            "generation_id": &*self.generation_id,
            "last_restart": &*self.last_restart.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// As it is at this moment. `path`: the file that a reload would read, or where it was.
    pub fn dotenv(&self) -> Value {
        let now = self.dotenv.now();
        json!({"path": now.path, "source": now.source(), "recorded": self.dotenv.recorded()})
    }
}

/// `2 d 3 h`, `5 min 7 s`: the two greatest units.
pub fn in_words(seconds: u64) -> String {
    let units = [("d", seconds / 86400), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, n)| *n > 0).unwrap_or(3);
    let parts: Vec<String> =
        units.iter().skip(first).take(2).filter(|(_, n)| *n > 0).map(|(unit, n)| format!("{n} {unit}")).collect();
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        let want = [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90_000, "1 d 1 h"), (86_403, "1 d")];
        for (seconds, text) in want {
            assert_eq!(in_words(seconds), text);
        }
    }
}
