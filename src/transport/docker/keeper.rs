//! The keeper: one small process per container that outlives the gateway by one stop ladder.
//!
//! ```text
//! gateway --API--> engine --> container      the keeper moves no data: it holds the other end of a pipe, and waits
//!    +----pipe---> keeper ----API--^         for a byte (the container is removed) or for the pipe's end
//! ```
//!
//! A gateway that is killed gives its containers their end of stdin, but nobody is left to walk those that ignore it down
//! the ladder, or to remove one that was created and never started. The keeper does both, with the very same ladder.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{ExitCode, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{container::Container, engine::Engine};
use crate::{
    config::StopTimes,
    runtime_dir,
    transport::{TransportError, shim},
};

/// `hangar __keeper PLACE NAME GRACE_MS TERM_MS RECORD`, standard input = the pipe.
pub const COMMAND: &str = "__keeper";
const REMOVED: u8 = b'r';
const USAGE: u8 = 2;
const FAILED: u8 = 1;

/// One that knows what to do exits within milliseconds.
const LEAVING: Duration = Duration::from_secs(1);
/// Between two attempts to reach an engine, and how many: it may be restarting.
const ENGINE_EVERY: Duration = Duration::from_secs(1);
const ENGINE_ATTEMPTS: u32 = 20;

/// The gateway's side. Dropped without [`Self::removed`]: the container goes down its ladder.
pub(super) struct Keeper {
    pipe: std::io::PipeWriter,
    child: Child,
}

impl Keeper {
    /// To be called before the container is created. `name`: the container's. Nothing of the environment is handed on, so
    /// that no marker gets it swept before it has done its work.
    pub(super) fn spawn(engine: &Engine, name: &str, stop: StopTimes) -> Result<Self, TransportError> {
        let spawn = || {
            let (end, pipe) = std::io::pipe()?;
            let child = Command::new(shim::own_executable()?)
                .arg0("hangar")
                .args([COMMAND, &engine.place, name])
                .args([stop.grace, stop.term].map(|time| time.as_millis().to_string()))
                .arg(crate::transport::record())
                // Its own group: what signals the gateway's group must not end it.
                .process_group(0)
                .env_clear()
                .stdin(end)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            Ok(Self { pipe, child })
        };
        spawn().map_err(|error: std::io::Error| TransportError::not_spawned("the keeper of the container", &error))
    }

    /// There is nothing to keep any more.
    pub(super) async fn removed(mut self) {
        // Room for a byte there is; a keeper that is gone need not be told.
        let _ = self.pipe.write_all(&[REMOVED]);
        let _ = timeout(LEAVING, self.child.wait()).await;
    }
}

/// Runs the hidden subcommand if the command line names it. `main` calls this before anything else.
pub fn entry() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args_os().skip(1).map_while(|arg| arg.into_string().ok()).collect();
    let (command, args) = args.split_first()?;
    (command == COMMAND).then(|| run(args))
}

fn run(args: &[String]) -> ExitCode {
    let [place, name, grace, term, record] = args else { return ExitCode::from(USAGE) };
    let time = |text: &str| text.parse().ok().map(Duration::from_millis);
    let (Some(grace), Some(term)) = (time(grace), time(term)) else { return ExitCode::from(USAGE) };
    let mut byte = [0];
    if std::io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {
        return ExitCode::SUCCESS;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(FAILED);
    };
    let ended = runtime.block_on(end(place, name, StopTimes { grace, term }));
    // Nothing, as long as that gateway lives.
    runtime_dir::clear_after(Path::new(record));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

/// The gateway is gone.
async fn end(place: &str, name: &str, stop: StopTimes) -> Result<(), String> {
    let mut attempts = 0;
    let engine = loop {
        match Engine::at(place).await {
            Ok(engine) => break engine,
            Err(why) if attempts == ENGINE_ATTEMPTS => return Err(why),
            Err(_) => {
                attempts += 1;
                sleep(ENGINE_EVERY).await;
            }
        }
    };
    Container::new(engine, name.to_owned(), stop, 0, None).end().await
}
