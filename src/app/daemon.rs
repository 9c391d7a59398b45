//! The gateway that the clients of `hangar connect` share: its door (the connect socket and the lock that says whose it is),
//! how it tells whoever started it, and when it leaves.

use std::{
    fs, io,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, time::timeout};

use super::{ServeError, ServeOptions, handover::Handover, listeners::SocketFile};
use crate::{
    registry::Registry,
    runtime_dir::{self, Lock},
    server::{Carried, ConnectClients},
};

/// Names of descriptors in a [`Handover`].
const LISTENER: &str = "connect";
const LOCK: &str = "connect_lock";

/// The client that a daemon was started for needs a moment, however short `daemon.idle_exit_s` is.
const FIRST_CLIENT: Duration = Duration::from_secs(10);
/// How often the lock of the connect socket is tried before somebody is said to have it.
const TRIES: u32 = 5;
const TRY_EVERY: Duration = Duration::from_millis(10);
/// How often an idle daemon looks whether a reload has changed `daemon.idle_exit_s`.
const LOOK: Duration = Duration::from_secs(1);

/// What a daemon that cannot start says, as one JSON object, to a pipe on its stdout. One that serves just closes it.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartFailure {
    /// The exit code.
    pub code: u8,
    pub message: String,
}

/// The connect socket of this config file, which is ours alone while we hold the lock.
pub(super) struct Door {
    pub listener: UnixListener,
    pub kept: DoorKept,
    /// Connections of an earlier life.
    pub carried: Vec<Carried>,
}

/// What of it stays with the gateway while the front listens. Dropped: the next gateway may have it.
pub(super) struct DoorKept {
    // In this order: no socket is removed that is another gateway's already.
    file: SocketFile,
    listener: Option<OwnedFd>,
    lock: Lock,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDoor {
    #[error("another gateway of this configuration{} serves its connect socket already", pid_text(.0))]
    Taken(String),
    #[error("there is no connect socket: {0}")]
    Io(#[from] io::Error),
}

impl Door {
    pub(super) fn open(config: &Path, earlier: &mut Handover) -> Result<Self, NoDoor> {
        let socket = runtime_dir::connect_socket(config)?;
        if let (Some(lock), Some(listener)) = (earlier.take(LOCK), earlier.take(LISTENER)) {
            let listener = std::os::unix::net::UnixListener::from(listener);
            listener.set_nonblocking(true)?;
            let connected = std::mem::take(&mut earlier.state.connected).into_iter().enumerate();
            let carried = connected.filter_map(|(at, record)| {
                let stream = earlier.take(&stream_name(at))?;
                Some(Carried { stream, record })
            });
            let carried = carried.collect();
            return Self::new(UnixListener::from_std(listener)?, socket, Lock::handed_over(config, lock)?, carried);
        }
        let mut lock = Lock::owner(config)?;
        let mut tries = 0;
        while !lock.try_hold()? {
            // Whoever clears up after a killed gateway holds it for a moment.
            if tries == TRIES {
                return Err(NoDoor::Taken(lock.note()));
            }
            tries += 1;
            std::thread::sleep(TRY_EVERY);
        }
        // For whoever finds it held.
        lock.set_note(&std::process::id().to_string())?;
        // Closed to others before it can be found; what a killed gateway left behind is replaced.
        let fresh = socket.with_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        fs::rename(&fresh, &socket)?;
        Self::new(listener, socket, lock, Vec::new())
    }

    fn new(listener: UnixListener, socket: PathBuf, lock: Lock, carried: Vec<Carried>) -> Result<Self, NoDoor> {
        let copy = listener.as_fd().try_clone_to_owned().ok();
        Ok(Self { listener, kept: DoorKept { file: SocketFile(socket), listener: copy, lock }, carried })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.kept.file.0
    }
}

impl DoorKept {
    /// For the next life: the socket, whose file stays, its lock, and the connections there are.
    pub(super) fn hand_over(self, carried: Vec<Carried>, handover: &mut Handover) {
        let Self { file, listener, lock } = self;
        for (at, Carried { stream, record }) in carried.into_iter().enumerate() {
            handover.put(&stream_name(at), stream);
            handover.state.connected.push(record);
        }
        if let Some(listener) = listener {
            handover.put(LISTENER, listener);
            handover.put_copy(LOCK, lock.as_fd());
            // Their drops would remove the files.
            std::mem::forget((file, lock));
        }
    }
}

fn stream_name(at: usize) -> String {
    format!("connected:{at}")
}

fn pid_text(note: &str) -> String {
    if !note.is_empty() && note.bytes().all(|b| b.is_ascii_digit()) { format!(" (pid {note})") } else { String::new() }
}

/// Clients of `hangar connect` are many on one gateway; a stdio gateway has its one client.
pub(super) fn door(config: &Path, options: &ServeOptions, earlier: &mut Handover) -> Result<Option<Door>, ServeError> {
    if !options.http && !options.daemon {
        return Ok(None);
    }
    match Door::open(config, earlier) {
        Ok(door) => Ok(Some(door)),
        Err(why) if options.daemon => Err(ServeError::NoDoor(why)),
        Err(why) => {
            tracing::warn!(%why, "no_connect_socket");
            Ok(None)
        }
    }
}

/// First thing in a daemon: signals of the terminal it was started from are not for it.
pub(super) fn detach() {
    // Fails for a leader of a group, who has them to itself.
    let _ = rustix::process::setsid();
}

/// It serves: whoever waits for that sees the pipe close.
pub(super) fn tell_ready() {
    let closed = || {
        let null = fs::File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        io::Result::Ok(rustix::stdio::dup2_stdout(&null)?)
    };
    if let Err(error) = closed() {
        tracing::warn!(%error, "stdout_not_closed");
    }
}

pub(super) fn tell_failure(code: u8, message: String) {
    let stdout = io::stdout();
    let kind = rustix::fs::fstat(stdout.as_fd()).map(|about| FileType::from_raw_mode(about.st_mode));
    if kind == Ok(FileType::Fifo) {
        // A reader that is gone needs no answer.
        let _ = stdout.lock().write_all(&crate::wire::to_json(&StartFailure { code, message }));
    }
}

/// Resolves when nobody has been connected for `daemon.idle_exit_s`. A client that comes at that very moment is not
/// greeted, and looks for another gateway.
pub(super) async fn idle(registry: Arc<Registry>, connected: Arc<ConnectClients>) {
    let mut clients = connected.count();
    let mut first = true;
    let mut alone_since = Instant::now();
    loop {
        if *clients.borrow_and_update() > 0 {
            first = false;
            // The registry of clients lives as long as the gateway.
            if clients.changed().await.is_err() {
                return;
            }
            alone_since = Instant::now();
            continue;
        }
        let configured = registry.snapshot().config.daemon.idle_exit;
        let longest = if first { configured.max(FIRST_CLIENT) } else { configured };
        let left = longest.saturating_sub(alone_since.elapsed());
        // Decided where clients join, so that none is greeted by a gateway that is about to leave.
        if left.is_zero() && connected.close_if_alone() {
            tracing::info!(idle_s = longest.as_secs_f64(), "daemon_idle");
            return;
        }
        // Over: look again.
        let _ = timeout(left.min(LOOK), clients.changed()).await;
    }
}
