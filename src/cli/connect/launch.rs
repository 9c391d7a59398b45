//! Starts a gateway that belongs to nobody: in a session of its own, not below the client that needed it first.
//!
//! ```text
//! connect --spawns--> hangar __daemon (own session; ends at once) --spawns--> hangar serve --daemon
//!    ^------------------------- a pipe: why it failed; closed when it serves -------------------'
//! ```
//!
//! The process in between is why nobody who ends "the client and everything below it" ends the gateway of all others.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{DOTENV_VARIABLE, Wanted, reach::Unreached};
use crate::{
    app::{StartFailure, StateDir},
    cli::exit::Exit,
    runtime_dir,
    transport::own_executable,
};

/// `hangar __daemon CONFIG`.
const COMMAND: &str = "__daemon";
/// A log longer than this is put aside when the next gateway starts.
const MAX_LOG: u64 = 4 * 1024 * 1024;
/// Longest failure read.
const MAX_FAILURE: u64 = 1024 * 1024;

/// Returns when the gateway serves, with the name of its log.
pub(super) fn launch(wanted: &Wanted) -> Result<String, Unreached> {
    let Wanted { config, dotenv_path, patience } = wanted;
    let failed = |error: io::Error| Unreached::new(Exit::Internal, format!("the gateway cannot be started: {error}"));
    let (log, name) = match log_file(config) {
        Ok((file, path)) => (Stdio::from(file), path.display().to_string()),
        Err(_) => (Stdio::null(), "its log, which could not be opened".to_owned()),
    };
    let (report, sender) = io::pipe().map_err(failed)?;
    let mut command = Command::new(own_executable().map_err(failed)?);
    command.arg0("hangar").arg(COMMAND).arg(config).stdin(Stdio::null()).stdout(sender).stderr(log);
    command.envs(dotenv_path.iter().map(|path| (DOTENV_VARIABLE, path)));
    let mut between = command.spawn().map_err(failed)?;
    // It still owns our copy of the pipe's other end.
    drop(command);
    let told = read_until(report, Instant::now() + *patience);
    let _ = between.wait();
    let told = told.map_err(failed)?.ok_or_else(|| {
        let message = format!("the gateway did not serve within {} s; see {name}", patience.as_secs_f64());
        Unreached::new(Exit::NotReached, message)
    })?;
    match serde_json::from_slice::<StartFailure>(&told) {
        Ok(StartFailure { code, message }) => Err(Unreached { code, message }),
        // It says nothing when all is well.
        Err(_) => Ok(name),
    }
}

/// Everything until the last one who could write lets go. `None`: that was not in time.
fn read_until(pipe: io::PipeReader, until: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut pipe = File::from(OwnedFd::from(pipe)).take(MAX_FAILURE);
    let mut told = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let ready = match rustix::event::poll(&mut [PollFd::new(pipe.get_ref(), PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready?,
        };
        if ready == 0 {
            return Ok(None);
        }
        match pipe.read(&mut chunk)? {
            0 => return Ok(Some(told)),
            count => told.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
}

fn log_file(config: &Path) -> io::Result<(File, PathBuf)> {
    let dir = StateDir::locate().path().ok_or(io::ErrorKind::NotFound)?.to_owned();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join(format!("daemon-{}.log", runtime_dir::key(config)));
    if fs::metadata(&path).is_ok_and(|about| about.len() > MAX_LOG) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    Ok((file, path))
}

/// Runs the process in between if the command line names it. `main` calls this before anything else.
pub fn entry() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != COMMAND {
        return None;
    }
    let config = args.next()?;
    let Err(error) = leave_behind(&config) else { return Some(ExitCode::SUCCESS) };
    let failure =
        StartFailure { code: Exit::Internal as u8, message: format!("the gateway cannot be started: {error}") };
    let _ = io::stdout().write_all(&crate::wire::to_json(&failure));
    Some(ExitCode::from(failure.code))
}

fn leave_behind(config: &OsString) -> io::Result<()> {
    // Fails when this is a group's leader already: then somebody called it by hand.
    let _ = rustix::process::setsid();
    // What the client's own parent left open: somebody may wait for its end.
    close_fds::set_fds_cloexec(3, &[]);
    let mut command = Command::new(own_executable()?);
    command.arg0("hangar").args(["serve", "--daemon", "--config"]).arg(config).stdin(Stdio::null());
    // So that it holds no directory of the first client's.
    let home = Path::new(config).parent().filter(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    command.current_dir(home).spawn().map(drop)
}
