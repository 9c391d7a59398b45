//! The shim: one small process per subprocess provider that outlives the gateway by one stop ladder.
//!
//! ```text
//! gateway --pipes--> server          the shim moves no data: the server inherits the pipes
//!    |                  ^            it waits for: HUP on a never-read copy of the server's stdin, the end of the
//!    +--control--> shim +            control socket, a dead child, SIGTERM/SIGINT (TERM rung now), SIGQUIT (kill now)
//! ```
//!
//! So the gateway stops a server by dropping its stdin, and its stop, crash, SIGKILL and exec are one and the same code
//! path. The shim is a child subreaper: whatever the server started ends up below it, and it does not leave before all
//! of that is gone. One thread, entered before any runtime or logging starts; started only by [`super::subprocess`].
//!
//! Outside Linux there is no subreaper, no parent death signal and no `/proc`: there the shim ends the server's process
//! group, and a descendant that left the group escapes.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use super::{ExitCause, handover, sweep::CONNECTION};
use crate::runtime_dir;
use aftermath::Aftermath;
use handover::{Handed, Report};

pub(super) mod aftermath;
mod descendants;
mod ladder;
mod signals;

/// `hangar __shim NAME GRACE_MS TERM_MS RECORD GLOBALS PROGRAM ARGV0 [ARG...]`, standard input = the control socket. RECORD:
/// where the gateway keeps its facts, or `-`. GLOBALS: of a `docker run ...` the number of words before `run`, else `-`.
pub const COMMAND: &str = "__shim";
/// `hangar __shim-exec SHIM_PID PROGRAM ARGV0 [ARG...]`: becomes the server.
const EXEC_COMMAND: &str = "__shim-exec";

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const USAGE: u8 = 2;

/// Runs a hidden subcommand if the command line names one. `main` calls this before anything else.
pub fn entry() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let command = args.next()?;
    if command == COMMAND {
        Some(run(args))
    } else if command == EXEC_COMMAND {
        Some(become_server(args))
    } else {
        None
    }
}

struct Arguments {
    times: Times,
    record: PathBuf,
    /// The server is a `docker run ...`: the number of words before `run`.
    globals: Option<usize>,
    program: OsString,
    argv0: OsString,
    args: Vec<OsString>,
}

/// The two waits of the ladder.
#[derive(Clone, Copy)]
struct Times {
    grace: Duration,
    term: Duration,
}

/// Exit status: the server's, 128 + its signal, 127 not found, 126 not executable.
fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(arguments) = Arguments::parse(args) else {
        return complain(USAGE, "this is an internal command of hangar");
    };
    match Server::start(&arguments) {
        Ok((server, signals)) => {
            let (status, deserted) = ladder::Ladder::new(server, arguments.times, signals).run();
            if let Some(aftermath) = arguments.aftermath() {
                aftermath.clear(status.is_some_and(|status| status.code().is_some()));
            }
            if deserted {
                runtime_dir::clear_after(&arguments.record);
            }
            exit_code(status)
        }
        Err(Unstarted { code, text, control }) => {
            if let Some(control) = control {
                handover::tell(&control, &Report::Failed(text));
                return ExitCode::from(code);
            }
            complain(code, &text)
        }
    }
}

/// A running server and the two descriptors by which the gateway is heard.
struct Server {
    pid: Pid,
    /// A copy of its stdin that nobody reads: it hangs up when the gateway lets go of the other end.
    stdin: OwnedFd,
    control: UnixStream,
}

struct Unstarted {
    code: u8,
    text: String,
    control: Option<UnixStream>,
}

impl Server {
    fn start(arguments: &Arguments) -> Result<(Self, signals::Signals), Unstarted> {
        let (control, handed) = take_over().map_err(|e| Unstarted {
            code: USAGE,
            text: format!("hangar {COMMAND} is started by the gateway only ({e})"),
            control: None,
        })?;
        match Self::start_under(&control, handed, arguments) {
            Ok((pid, stdin, signals)) => {
                handover::tell(&control, &Report::Started(pid.as_raw_nonzero().get().unsigned_abs()));
                Ok((Self { pid, stdin, control }, signals))
            }
            Err(e) => {
                let code = if e.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
                let text = format!("the shim could not start the server: {e}");
                Err(Unstarted { code, text, control: Some(control) })
            }
        }
    }

    fn start_under(
        control: &UnixStream,
        handed: Handed,
        arguments: &Arguments,
    ) -> io::Result<(Pid, OwnedFd, signals::Signals)> {
        // Before the server exists, so that its first child's death and its first orphan are already ours.
        let signals = signals::Signals::install()?;
        descendants::adopt_orphans()?;
        control.set_nonblocking(true)?;
        let stdin = handed.stdin.try_clone()?;
        let mut command = Command::new(own_executable()?);
        command
            .arg0("hangar")
            .arg(EXEC_COMMAND)
            .arg(std::process::id().to_string())
            .args([&arguments.program, &arguments.argv0])
            .args(&arguments.args)
            .stdin(Stdio::from(handed.stdin))
            .stdout(Stdio::from(handed.stdout))
            .stderr(Stdio::from(handed.stderr))
            // Its own group: Ctrl-C in the gateway's terminal must not reach it, the ladder must reach all of it.
            .process_group(0);
        let child = command.spawn()?;
        // `command` still owns the server's ends of the pipes; the gateway would never see EOF.
        drop(command);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        Ok((pid, stdin, signals))
    }
}

/// Turns the inherited process into a shim: control socket off standard input, 0/1/2 at /dev/null, nothing else inherited.
fn take_over() -> io::Result<(UnixStream, Handed)> {
    let handed = handover::receive(io::stdin().as_fd())?;
    let control = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // Descriptors that the gateway's own parent left open must not reach the server.
    close_fds::set_fds_cloexec(3, &[]);
    Ok((UnixStream::from(control), handed))
}

/// The second stage. It is a process of its own because only a process can set its own death signal, and only after the
/// fork; the shim has one thread, so the signal means the death of the shim and nothing else.
fn become_server(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(shim), Some(program), Some(argv0)) = (args.next(), args.next(), args.next()) else {
        return complain(USAGE, "this is an internal command of hangar");
    };
    if !descendants::die_with_parent(&shim) {
        return ExitCode::from(USAGE);
    }
    let error = Command::new(&program).arg0(&argv0).args(args).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    complain(code, &format!("cannot execute {}: {error}", program.to_string_lossy()))
}

/// The very program that runs now, also after an upgrade replaced the file.
pub fn own_executable() -> io::Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Standard error is the server's here, so this lands in what `hangar logs` shows.
fn complain(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "hangar: {text}");
    ExitCode::from(code)
}

fn exit_code(status: Option<ExitStatus>) -> ExitCode {
    let code = match status.map(cause) {
        Some(ExitCause::Code(code)) => code,
        Some(ExitCause::Signal(signal)) => 128 + signal,
        _ => 1,
    };
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

fn cause(status: ExitStatus) -> ExitCause {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCause::Code(code),
        (None, Some(signal)) => ExitCause::Signal(signal),
        (None, None) => ExitCause::Lost("ended in an unknown way".into()),
    }
}

/// Sends `signal` to a process group whose leader is alive or not yet reaped: its number cannot have been reused.
fn signal_group(leader: Pid, signal: Signal) {
    // ESRCH: all of it is gone; EPERM: a set-uid program, which nobody but root can end.
    let _ = rustix::process::kill_process_group(leader, signal);
}

// === impl Arguments ===

impl Arguments {
    fn aftermath(&self) -> Option<Aftermath> {
        let connection = std::env::var_os(CONNECTION)?;
        let globals = self.args.get(..self.globals?)?.to_vec();
        Some(Aftermath { program: self.program.clone(), globals, connection, environment: None })
    }

    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        // The provider's name: only for those who read `ps`.
        let _name = args.next()?;
        let mut millis = || Some(Duration::from_millis(args.next()?.to_str()?.parse().ok()?));
        let times = Times { grace: millis()?, term: millis()? };
        let record = args.next()?.into();
        let globals = args.next()?.to_str()?.parse().ok();
        Some(Self { times, record, globals, program: args.next()?, argv0: args.next()?, args: args.collect() })
    }
}
