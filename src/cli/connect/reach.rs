//! From a config file to an open connection with its gateway: the one that runs, or else one started for it.
//!
//! However many clients come at the same time, one of them starts the gateway, under the start lock; the others wait, and
//! share its failure when it fails.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::{Wanted, launch, say};
use crate::{
    cli::exit::Exit,
    runtime_dir::{self, Lock},
    wire::hello::{Hello, MAX_HELLO, PROTOCOL, Role},
};

/// Between two looks: short, as a gateway is ready within milliseconds; longer when something is in the way.
const PAUSES: [u64; 6] = [1, 2, 5, 10, 20, 50];
/// Gateways that one client starts before it gives up.
const STARTS: u32 = 3;

/// A connection after the two hellos.
pub(super) struct Link {
    pub stream: UnixStream,
    pub gateway: Hello,
    /// Bytes that came right behind the gateway's hello.
    pub ahead: Vec<u8>,
}

/// Why there is none, and with which code the process ends.
#[derive(Debug, Clone)]
pub(super) struct Unreached {
    pub code: u8,
    pub message: String,
}

pub(super) fn reach(wanted: &Wanted) -> Result<Link, Unreached> {
    let Wanted { config, patience, .. } = wanted;
    let (began, since) = (Instant::now(), now());
    let (mut starts, mut looks) = (0, 0);
    let mut obstacle = "nobody serves it".to_owned();
    loop {
        if let Some(link) = join(wanted)? {
            return Ok(link);
        }
        let mut lock = Lock::start(config).map_err(|error| Unreached::new(Exit::Refused, error.to_string()))?;
        if held(&mut lock)? {
            if let Some(failure) = noted(&lock, since) {
                // Others may wait for the same.
                lock.leave();
                return Err(failure);
            }
            // The one who held it before may have been successful.
            if let Some(link) = join(wanted)? {
                return Ok(link);
            }
            if starts == STARTS {
                return Err(Unreached::new(Exit::NotReached, gave_up(config, &obstacle)));
            }
            // An old note would be taken for the outcome of this start.
            let _ = lock.set_note("");
            match launch::launch(wanted) {
                Ok(log) => {
                    (starts, looks) = (starts + 1, 0);
                    obstacle = format!("the gateway ended before it served; see {log}");
                    continue;
                }
                // Another gateway of this file owns the socket, and will serve it in a moment.
                Err(failure) if failure.code == Exit::Refused as u8 => obstacle = failure.message,
                Err(failure) => {
                    lock.leave_note(&note(&failure));
                    return Err(failure);
                }
            }
        }
        drop(lock);
        if began.elapsed() >= *patience {
            return Err(Unreached::new(Exit::NotReached, gave_up(config, &obstacle)));
        }
        let pause = PAUSES.get(looks).or(PAUSES.last()).copied().unwrap_or_default();
        std::thread::sleep(Duration::from_millis(pause));
        looks += 1;
    }
}

fn gave_up(config: &Path, obstacle: &str) -> String {
    format!("no gateway of {} reached: {obstacle}\n  help: `hangar status` shows those that run", config.display())
}

fn held(lock: &mut Lock) -> Result<bool, Unreached> {
    let outcome = lock.try_hold();
    outcome.map_err(|error| Unreached::new(Exit::Refused, format!("{}: {error}", lock.path.display())))
}

/// `Ok(None)`: nobody is there, or whoever was is about to leave.
fn join(wanted: &Wanted) -> Result<Option<Link>, Unreached> {
    for socket in runtime_dir::connect_sockets(&wanted.config) {
        let stream = match UnixStream::connect(&socket) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                continue;
            }
            Err(error) => return Err(Unreached::new(Exit::Refused, format!("{}: {error}", socket.display()))),
        };
        if let Some(link) = greet(stream, &socket, wanted.patience)? {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

fn greet(stream: UnixStream, socket: &Path, patience: Duration) -> Result<Option<Link>, Unreached> {
    if !of_our_own(&stream) {
        let message = format!("{}: whoever listens there is neither you nor root", socket.display());
        return Err(Unreached::new(Exit::Refused, message));
    }
    let (line, ahead) = match exchange(&stream, patience) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            let (socket, seconds) = (socket.display(), patience.as_secs_f64());
            let message = format!("the gateway at {socket} said nothing for {seconds} s; see `hangar status`");
            return Err(Unreached::new(Exit::NotReached, message));
        }
        // It has just closed.
        Err(_) => return Ok(None),
    };
    let Some(gateway) = Hello::parse(&line, Role::Daemon) else {
        let message = format!("what listens at {} is no hangar gateway that this version knows", socket.display());
        return Err(Unreached::new(Exit::Refused, message));
    };
    check(&gateway)?;
    Ok(Some(Link { stream, gateway, ahead }))
}

fn check(gateway: &Hello) -> Result<(), Unreached> {
    let own = env!("CARGO_PKG_VERSION");
    let Hello { protocol, version, pid, .. } = gateway;
    if *protocol != PROTOCOL {
        let message = format!(
            "this is hangar {own} (connect protocol {PROTOCOL}), the running gateway (pid {pid}) is hangar {version} (connect \
             protocol {protocol}): they cannot work together\n  help: `hangar restart` brings the gateway to the program that \
             is on the disk now; after `hangar stop` the next client starts one of its own version"
        );
        return Err(Unreached::new(Exit::Refused, message));
    }
    if !gateway.same_version() {
        say(&format!(
            "warning: this is hangar {own}, the running gateway (pid {pid}) is hangar {version}; `hangar restart` brings it to \
             the program that is on the disk now"
        ));
    }
    Ok(())
}

/// The gateway's line, and what came behind it. `None`: it closed without a word.
fn exchange(mut stream: &UnixStream, patience: Duration) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&Hello::own(Role::Connect).line())?;
    let mut read = Vec::new();
    let mut chunk = [0; 512];
    while read.len() < MAX_HELLO {
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        read.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(end) = memchr::memchr(b'\n', &read) {
            let ahead = read.split_off(end + 1);
            return Ok(Some((read, ahead)));
        }
    }
    // Too long for a hello; told as what it is not.
    Ok(Some((read, Vec::new())))
}

#[cfg(target_os = "linux")]
fn of_our_own(stream: &UnixStream) -> bool {
    let known = rustix::net::sockopt::socket_peercred(stream);
    known.is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

/// The directory is checked in any case.
#[cfg(not(target_os = "linux"))]
fn of_our_own(_stream: &UnixStream) -> bool {
    true
}

// The note of the start lock: when, with which code and with which words the last start failed.

fn note(failure: &Unreached) -> String {
    format!("{} {} {}", now(), failure.code, failure.message)
}

/// A start that failed while we waited for it: ours would fail, too.
fn noted(lock: &Lock, since: u64) -> Option<Unreached> {
    let note = lock.note();
    let (at, rest) = note.split_once(' ')?;
    let (code, message) = rest.split_once(' ')?;
    let at: u64 = at.parse().ok()?;
    let ours = (since..=now()).contains(&at);
    ours.then_some(Unreached { code: code.parse().ok()?, message: message.to_owned() })
}

/// Nanoseconds on the clock that all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

impl Unreached {
    pub(super) fn new(exit: Exit, message: String) -> Self {
        Self { code: exit as u8, message }
    }
}
