//! Log lines go to stderr, always: stdout is the wire of a stdio server.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::log_writer::LogWriter;
use crate::config::{LogFormat, LogLevel};

/// Changes the level while running (`logging.level` by reload).
#[derive(Clone)]
pub struct LevelHandle {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The command line or `RUST_LOG` chose the level; the file does not override it.
    pinned: bool,
    writer: LogWriter,
}

/// Installs the process's logger. `level`: from the command line; `RUST_LOG` wins over everything.
pub fn init(level: Option<LogLevel>, configured: LogLevel, format: LogFormat) -> LevelHandle {
    let from_env = std::env::var("RUST_LOG").ok().and_then(|text| EnvFilter::try_new(text).ok());
    let pinned = from_env.is_some() || level.is_some();
    let filter = from_env.unwrap_or_else(|| filter(level.unwrap_or(configured)));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let writer = LogWriter::start();
    // A second logger in one process (tests of the library) is refused; the first one stays.
    let _ = match format {
        LogFormat::Text => {
            registry.with(fmt::layer().with_writer(writer.clone()).with_ansi(colour).with_target(false)).try_init()
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(writer.clone())).try_init()
        }
    };
    LevelHandle { handle, pinned, writer }
}

impl LevelHandle {
    /// Waits until everything logged so far is written, for `within` at most.
    pub fn flush(&self, within: Duration) {
        self.writer.flush(within);
    }

    pub fn set(&self, level: LogLevel) {
        if !self.pinned {
            // Fails only when the subscriber is gone, at the end of the process.
            let _ = self.handle.reload(filter(level));
        }
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("warn,hangar={}", level.as_str()))
}
