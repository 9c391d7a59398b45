//! `hangar connect`: a stdio client's way to the one gateway that all clients of a config file share.
//!
//! ```text
//! client --stdio--> connect --socket--> gateway (started by the first that finds none)
//! ```
//!
//! One thread and no runtime: it stands beside every client for as long as that lives. `reach` finds the gateway or has
//! `launch` start it; `relay` moves lines, out through `outlet`; `memory` and `replay` know what a new gateway has to be told
//! when one is lost.

mod launch;
mod memory;
mod outlet;
mod reach;
mod relay;
mod replay;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

pub use launch::entry as launcher_entry;

use super::exit::Exit;
use crate::{config, wire};

/// What was typed.
#[derive(Debug)]
pub(super) struct Typed<'a> {
    pub config: Option<&'a Path>,
    pub dotenv_path: Option<&'a Path>,
    pub timeout: Duration,
}

/// The gateway that is looked for.
struct Wanted {
    config: PathBuf,
    /// For one that is started.
    dotenv_path: Option<PathBuf>,
    /// In all, for whatever stands in the way of one try; and for a gateway that accepts and says nothing.
    patience: Duration,
}

/// How a gateway is told what `--dotenv-path` says.
const DOTENV_VARIABLE: &str = "HANGAR_DOTENV_PATH";
/// Where nothing else was typed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs if the command line is one of those that clients are configured with. The whole command line parser is larger than
/// everything else that is needed here, and would stay in memory for as long as the client lives; it takes what this does
/// not know.
pub fn entry() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != "connect" {
        return None;
    }
    let mut config = None;
    while let Some(argument) = args.next() {
        let value = match argument.to_str()?.strip_prefix("--config")? {
            "" => args.next()?,
            value => value.strip_prefix('=')?.into(),
        };
        // What looks like an option is for the parser to refuse; so is a second file.
        if config.is_some() || value.is_empty() || value.as_encoded_bytes().starts_with(b"-") {
            return None;
        }
        config = Some(PathBuf::from(value));
    }
    Some(run(&Typed { config: config.as_deref(), dotenv_path: None, timeout: PATIENCE }))
}

/// Runs until the client closes its end.
pub(super) fn run(typed: &Typed<'_>) -> ExitCode {
    // What the gateway does not take (`server.limits.json_depth`) it refuses itself.
    wire::set_max_depth(u32::MAX);
    let wanted = match Wanted::of(typed) {
        Ok(wanted) => wanted,
        Err(text) => {
            say(&text);
            return Exit::ConfigInvalid.into();
        }
    };
    let link = match reach::reach(&wanted) {
        Ok(link) => link,
        Err(unreached) => {
            say(&unreached.message);
            return ExitCode::from(unreached.code);
        }
    };
    match relay::Relay::new(wanted, link).and_then(relay::Relay::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("stdin or stdout cannot be used: {error}"));
            Exit::Internal.into()
        }
    }
}

impl Wanted {
    /// A file that was named may be gone while its gateway still runs.
    fn of(typed: &Typed<'_>) -> Result<Self, String> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
        let config = match typed.config {
            Some(path) => path.to_owned(),
            None => config::locate(None).map_err(|problem| problem.to_string())?,
        };
        // The gateway's working directory is another one.
        let variable = std::env::var_os(DOTENV_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let dotenv_path = typed.dotenv_path.map(Path::to_owned).or(variable);
        let dotenv_path = dotenv_path.map(|path| absolute(&path)).transpose()?;
        Ok(Self { config: absolute(&config)?, dotenv_path, patience: typed.timeout })
    }
}

/// To whoever looks after the client; the wire is stdout. What a gateway said may be part of it.
fn say(text: &str) {
    // A stderr that nobody holds open takes nothing.
    let _ = writeln!(io::stderr(), "hangar: {text}");
}
