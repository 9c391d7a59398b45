//! The facts about this gateway process that status pages, tools and the command line tell.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};

use crate::config::Dotenv;

#[derive(Debug)]
pub struct About {
    pub started: Instant,
    /// RFC 3339.
    pub start_time: String,
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// Where clients connect; `None` on stdio.
    pub address: Option<SocketAddr>,
    /// The admin socket.
    pub socket: Option<PathBuf>,
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
    /// How the last restart in place went: the one that began this life, or one that was refused since.
    pub last_restart: Mutex<Value>,
}

impl About {
    pub fn tell_restart(&self, told: Value) {
        *self.last_restart.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    pub fn json(&self) -> Value {
        json!({
            "name": "hangar",
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "start_time": self.start_time,
            "uptime_s": self.started.elapsed().as_secs(),
            "transport": self.transport,
            "address": self.address.map(|address| address.to_string()),
            "socket": self.socket,
            "config": self.config,
            "dotenv": self.dotenv(),
            "pid_file": self.pid_file,
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
