//! The facts about this gateway process that status pages, tools and the command line tell.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use serde_json::{Value, json};

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
    /// Names this state directory's gateways; children bear it in their environment.
    pub instance: Arc<str>,
    /// Names this process's life.
    pub generation_id: Arc<str>,
}

impl About {
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
            "generation_id": &*self.generation_id,
        })
    }
}
