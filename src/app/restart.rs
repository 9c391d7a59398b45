//! Restart in place: the same process and the same sockets, with the program and the configuration that lie on the disk now.
//!
//! First the program on the disk is asked whether it can run with the configuration on the disk; if it cannot, nothing
//! happens. Then the gateway drains, stops its providers, and becomes that program.

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use tokio::{net::TcpListener, process::Command, time::timeout};

use super::{
    ServeOptions,
    handover::{self, Handover},
    listeners,
};
use crate::config::{self, Dotenv};

/// A check that takes longer than this is a program that does not work.
const CHECK: Duration = Duration::from_secs(30);
/// Of what the new program says, so much is passed on.
const TOLD: usize = 2000;
/// Addressed to this life only.
const STALE_VARIABLES: [&str; 4] = [handover::VARIABLE, "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];

/// Everything that the next life needs.
pub(super) struct NextLife {
    pub executable: PathBuf,
    pub handover: Handover,
}

/// Why a restart would not succeed.
pub(super) struct Refusal {
    pub config_invalid: bool,
    pub why: String,
}

/// Whether a restart would succeed. Where the next life is to listen elsewhere than `wanted` said: that listener, bound
/// already.
pub(super) async fn check(
    executable: &Path,
    path: &Path,
    options: &ServeOptions,
    wanted: Option<(String, u16)>,
) -> Result<Option<TcpListener>, Refusal> {
    let dotenv_path = options.dotenv_path.as_deref();
    ask_program(executable, path, dotenv_path).await?;
    let Some((host, port)) = wanted else { return Ok(None) };
    // The next life looks for it anew.
    let Ok(dotenv) = Dotenv::locate(dotenv_path, path) else { return Ok(None) };
    let loading = path.to_owned();
    let loaded = tokio::task::spawn_blocking(move || config::load_with_dotenv(&loading, &dotenv)).await;
    // The new program has found it valid; that this one does not understand it makes no difference to where it listens.
    let Ok(Ok(loaded)) = loaded else { return Ok(None) };
    if listeners::wanted(&loaded.config, options) == (host.as_str(), port) {
        return Ok(None);
    }
    let listener = listeners::bind(&loaded.config, options).await.map_err(|error| Refusal::of(error.to_string()))?;
    Ok(Some(listener))
}

/// `hangar validate`, by the program that is to take over.
async fn ask_program(executable: &Path, path: &Path, dotenv: Option<&Path>) -> Result<(), Refusal> {
    let program = executable.display();
    let mut command = Command::new(executable);
    command.arg0("hangar").args(["validate", "--config"]).arg(path);
    if let Some(dotenv) = dotenv {
        command.arg("--dotenv-path").arg(dotenv);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).env("NO_COLOR", "1");
    let output = match timeout(CHECK, command.output()).await {
        Err(_) => {
            let why = format!("{program} did not say within {} s whether it can take over", CHECK.as_secs());
            return Err(Refusal::of(why));
        }
        Ok(Err(error)) => return Err(Refusal::of(format!("{program} cannot be run: {error}"))),
        Ok(Ok(output)) => output,
    };
    let words = String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
    let words: String = words.trim().chars().take(TOLD).collect();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(3) => Err(Refusal { config_invalid: true, why: words }),
        _ => Err(Refusal::of(format!("{program} does not work ({}): {words}", output.status))),
    }
}

impl Refusal {
    pub(super) fn of(why: String) -> Self {
        Self { config_invalid: false, why }
    }
}

/// Signals that must not be lost or deadly between two lives.
pub(super) fn ours() -> SigSet {
    [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// Becomes the next life; returns only when that is not possible.
pub(super) fn exec(next: NextLife) -> io::Error {
    let NextLife { executable, handover } = next;
    match exec_or(executable, handover) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn exec_or(executable: PathBuf, handover: Handover) -> Result<std::convert::Infallible, io::Error> {
    let text = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
    let program = text(executable.into_os_string())?;
    let arguments = std::env::args_os().map(text).collect::<Result<Vec<_>, _>>()?;
    let kept = std::env::vars_os().filter(|(name, _)| !STALE_VARIABLES.iter().any(|stale| name == stale));
    let mut variables = Vec::new();
    for (mut entry, value) in kept.chain([(handover::VARIABLE.into(), std::process::id().to_string().into())]) {
        entry.push("=");
        entry.push(value);
        variables.push(text(entry)?);
    }
    handover.pack()?;
    // Pending until the next life catches them: the standard library's own exec would let them through.
    ours().thread_block()?;
    Ok(nix::unistd::execve(&program, &arguments, &variables)?)
}
