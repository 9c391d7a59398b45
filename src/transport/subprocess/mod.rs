//! A provider that is a child process: its shim, its three pipes, and the tasks that serve them.
//!
//! Owned by whoever holds the [`Connection`]: dropping its link closes the server's stdin, and that starts the stop
//! ladder, which the shim runs alone. The tasks here end by themselves when the shim is gone.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    net::{UnixStream, unix::pipe},
    process::{Child, Command},
    time::timeout,
};

use super::{
    Connection, Inbound, Marker, OutputRing, TransportError,
    handover::{self, Handed, Report},
    shim::{self, aftermath::Aftermath},
    sweep,
};
use crate::config::{ProviderName, StopTimes, SubprocessSpec};
use container_tool::Run;
use environment::Variables;
use outbox::{Bounds, Outbox};
use process::{Process, Reports};

mod container_tool;
mod environment;
mod intake;
mod outbox;
mod process;

/// A shim answers within a few milliseconds; a machine that is starved may take its time.
const SHIM_START: Duration = Duration::from_secs(20);

static SHIM_EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();

/// For tests of the library only, whose own program has no [`shim::entry`] in its `main`: the `hangar` binary to start
/// shims from. The first call counts. Otherwise a shim is the running program itself.
pub fn set_shim_executable(path: impl Into<PathBuf>) {
    let _ = SHIM_EXECUTABLE.set(path.into());
}

/// Starts the server under its shim; returns when it runs. No byte has been sent to it yet.
pub(super) async fn open(
    name: &ProviderName,
    spec: &SubprocessSpec,
    stop: StopTimes,
    marker: &Marker,
    output: Arc<OutputRing>,
    inbound: (Arc<dyn Inbound>, usize),
) -> Result<Connection, TransportError> {
    let mut variables = environment::build(&spec.environment, std::env::vars_os(), name, marker);
    let id = format!("{:016x}", fastrand::u64(..));
    variables.insert(sweep::CONNECTION.into(), id.clone().into());
    let run = Run::find(&spec.argv);
    let argv = match &run {
        Some(run) => run.adopted(&spec.argv, name, marker, &id),
        None => spec.argv.clone(),
    };
    let argv0 = argv.first().ok_or_else(|| TransportError::Open("the command is empty".into()))?;
    let program = environment::resolve(argv0, &variables, &spec.cwd)?;
    let mut shim = shim_command(name, stop)?;
    let globals = run.as_ref().map_or_else(|| "-".to_owned(), |run| run.globals.to_string());
    shim.arg(globals).arg(&program).args(&argv).current_dir(&spec.cwd);
    let aftermath = run.map(|run| Aftermath {
        program: program.into(),
        globals: argv.iter().skip(1).take(run.globals).map(Into::into).collect(),
        connection: id.clone().into(),
        environment: Some(variables.clone()),
    });

    let Spawned { child, control, stdin, stdout, stderr } =
        spawn(shim, variables).map_err(|error| TransportError::not_spawned("the shim of the server", &error))?;
    let (reports, commands) = control.into_split();
    let mut reports = Reports::new(reports);
    let pid = match timeout(SHIM_START, reports.next()).await {
        Ok(Some(Report::Started(pid))) => pid,
        Ok(Some(Report::Failed(why))) => return Err(TransportError::Open(why)),
        Ok(_) => return Err(TransportError::Open("the shim of the server ended before it started the server".into())),
        Err(_) => {
            let text = format!("the shim of the server gave no sign of life for {} s", SHIM_START.as_secs());
            return Err(TransportError::Open(text));
        }
    };
    let stdout = tokio::spawn(intake::read_messages(stdout, inbound, Arc::clone(&output)));
    let stderr = tokio::spawn(intake::read_stderr(stderr, output));
    let process = Process::new(Outbox::new(stdin, Bounds::default()), commands, pid, id, aftermath);
    Ok(process.connect(child, reports, stdout, stderr))
}

fn shim_command(name: &ProviderName, stop: StopTimes) -> Result<Command, TransportError> {
    let executable = match SHIM_EXECUTABLE.get() {
        Some(path) => path.clone(),
        None => shim::own_executable()
            .map_err(|e| TransportError::Open(format!("the gateway's own program file cannot be found: {e}")))?,
    };
    let mut command = Command::new(executable);
    command
        .arg0("hangar")
        .args([shim::COMMAND, name.as_str()])
        .args([stop.grace, stop.term].map(|t| t.as_millis().to_string()))
        .arg(super::record())
        // Its own group: what signals the gateway's group must not stop the ladder.
        .process_group(0);
    Ok(command)
}

/// Bytes that a server may be ahead of the gateway. Without privileges all pipes of a user together have 64 MiB, and the
/// kernel takes memory only for what is in them.
#[cfg(target_os = "linux")]
const STDOUT_PIPE: usize = 256 * 1024;

/// The gateway's side of a shim that was just started.
struct Spawned {
    child: Child,
    control: UnixStream,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

/// Measured 0.1 ms (0.6 ms at worst): short enough for the caller's own thread.
fn spawn(mut shim: Command, variables: Variables) -> io::Result<Spawned> {
    // All close-on-exec: no other child inherits them.
    let (server_stdin, stdin) = io::pipe()?;
    let (stdout, server_stdout) = io::pipe()?;
    // A result of 1 MB passes 64 KiB at a time otherwise, each with a switch there and back. Refused beyond the user's share.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&stdout, STDOUT_PIPE);
    let (stderr, server_stderr) = io::pipe()?;
    let (control, shim_control) = StdUnixStream::pair()?;
    let complaints = server_stderr.try_clone()?;
    let handed = Handed { stdin: server_stdin.into(), stdout: server_stdout.into(), stderr: server_stderr.into() };
    handover::hand(control.as_fd(), &handed)?;
    drop(handed);
    control.set_nonblocking(true)?;
    let child = shim
        // The shim hands its own environment on; nothing of it is ever in an argument list.
        .env_clear()
        .envs(variables)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(shim_control)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(complaints))
        .spawn()?;
    Ok(Spawned {
        child,
        control: UnixStream::from_std(control)?,
        stdin: pipe::Sender::from_owned_fd(stdin.into())?,
        stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
        stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
    })
}
