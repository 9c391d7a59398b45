//! Opens and closes one upstream connection. Bytes only: nothing here knows what a call is.
//!
//! [`open`] gives a [`Connection`]; messages from the upstream arrive through [`Inbound`], called inline by the
//! connection's own reader so that an answer costs one task switch. The connection is over when [`Connection::exit`]
//! resolves, and then everything the upstream started is gone too.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use signal_hook::low_level::signal_name;

use crate::{
    config::{Launch, ProviderName, ProviderSpec},
    host::Owner,
};

mod docker;
mod handover;
mod output;
mod pull;
mod remote;
pub mod shim;
mod streams;
mod subprocess;
pub mod sweep;

#[cfg(feature = "fuzzing")]
pub use remote::{sse, stamped};

pub use docker::{
    ContainerOf, EngineFacts, KEEPER, OfferEvents, Offered, container_memory, containers, end_container, engine,
    entry as keeper_entry, offers, sweep as sweep_containers,
};
pub use output::OutputRing;
pub use pull::{Pull, PullWatch};
pub use shim::{COMMAND as SHIM, own_executable};
pub use subprocess::set_shim_executable;
pub use sweep::sweep;

/// Who gets what the upstream says. Called from the connection's reader: must not block, must not await.
pub trait Inbound: Send + Sync + 'static {
    /// One complete JSON text, not yet validated (one line of stdout; one JSON body; the data of one SSE event).
    /// `answering`: over HTTP, the request whose response stream carried it.
    fn message(&self, json: Bytes, answering: Option<u64>);

    /// The request `id` will get no answer (HTTP error, oversize answer, connection lost in mid-call...).
    /// `None`: the upstream sent something that had to be dropped and may have been an answer to any request in flight.
    fn failed(&self, id: Option<u64>, error: TransportError);

    /// The upstream had lost the session, and was greeted again: it knows nothing of what it was told before.
    fn renewed(&self) {}
}

/// The sending half. Cheap calls, never blocking.
pub trait Link: Send + Sync + 'static {
    /// Queues one JSON-RPC message; where messages are lines, line ends in it become spaces. `request`: its id when an answer
    /// is expected. An `Err` means that not a byte was sent.
    fn send(&self, message: Bytes, request: Option<u64>) -> Result<(), TransportError>;

    /// [`Link::send`] in the era without sessions: over HTTP `head` goes along, and no session.
    fn send_headed(&self, message: Bytes, request: Option<u64>, _head: Head) -> Result<(), TransportError> {
        self.send(message, request)
    }

    /// Whether [`Link::send_headed`] makes a difference: an HTTP link. There a dropped exchange is a cancelled one.
    fn wants_heads(&self) -> bool {
        false
    }

    /// Nobody waits for the answer to `id` any more: an HTTP link drops that exchange. stdio: nothing to do.
    fn abandon(&self, id: u64);

    /// The revision that the handshake settled on; HTTP links send it as `MCP-Protocol-Version` from then on.
    fn negotiated(&self, version: &str);

    /// Begins the stop; idempotent. `Graceful`: the ladder from its first rung. `Now`: SIGTERM first, then its last rungs.
    fn close(&self, how: Close);

    /// The upstream's own process (not the shim's), where there is one and it is known.
    fn pid(&self) -> Option<u32>;
}

/// What the headers of a message of the era without sessions repeat of its body. Not encoded yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    pub method: Box<str>,
    /// What it names, as the upstream calls it.
    pub name: Option<Box<str>>,
    /// `Mcp-Param-*`: the part after the second dash, and the value.
    pub params: Vec<(Box<str>, Box<str>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    Graceful,
    Now,
}

/// An open connection, before any handshake.
pub struct Connection {
    pub link: Arc<dyn Link>,
    /// Resolves when the upstream itself has ended while something that it started lives on; then [`Connection::exit`]
    /// is still to come. Mostly there is nothing left, and only `exit` resolves.
    pub died: Pin<Box<dyn Future<Output = Exit> + Send>>,
    /// Resolves once, when the upstream is gone, with everything it started: by itself or after [`Link::close`].
    pub exit: Pin<Box<dyn Future<Output = Exit> + Send>>,
}

/// How an upstream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub cause: ExitCause,
    /// Of a process that we asked to stop: the rung of the ladder it took.
    pub rung: Option<Rung>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCause {
    Code(i32),
    Signal(i32),
    /// Closed by us, or a remote that was let go.
    Closed,
    /// Anything else, in words.
    Lost(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    StdinClosed,
    Term,
    Kill,
}

/// What went wrong on the way to or from the upstream; never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The program could not be started, the endpoint could not be reached.
    #[error("{0}")]
    Open(String),
    /// The same, for want of something that the gateway itself has no more of: descriptors, processes, memory.
    #[error("{0}")]
    Lacking(String),
    #[error("the connection is closed")]
    Closed,
    /// It does not read what we send; the bounded queue is full.
    #[error("the upstream does not read its input; {queued} messages wait")]
    Overloaded { queued: usize },
    #[error("an answer of more than {limit} bytes was dropped")]
    Oversize { limit: usize },
    #[error("HTTP {status}{}", .detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
    Http { status: u16, detail: Option<String>, retry_after: Option<Duration> },
    #[error("{0}")]
    Io(String),
}

impl TransportError {
    /// A process of the gateway's own did not start. For want of descriptors, processes or memory: nothing that the
    /// upstream can be blamed for.
    fn not_spawned(what: &str, error: &std::io::Error) -> Self {
        use rustix::io::Errno as E;
        let lacks = [E::MFILE, E::NFILE, E::NOMEM, E::AGAIN];
        let lack = error.raw_os_error().is_some_and(|code| lacks.iter().any(|lack| lack.raw_os_error() == code));
        let text = format!("{what} could not be started: {error}");
        if lack { Self::Lacking(text) } else { Self::Open(text) }
    }
}

static RECORD: OnceLock<PathBuf> = OnceLock::new();

/// Where this gateway keeps its facts, for those who outlive it and clear up behind it. The first call counts.
pub fn set_record(path: &Path) {
    let _ = RECORD.set(path.to_owned());
}

/// `-`: nowhere.
fn record() -> &'static Path {
    RECORD.get().map_or(Path::new("-"), PathBuf::as_path)
}

/// The facts about one instance that its processes carry in their environment, so that a sweep finds them.
#[derive(Debug, Clone)]
pub struct Marker {
    /// Of this gateway's state directory.
    pub instance: Arc<str>,
    /// Of this gateway process.
    pub generation: Arc<str>,
}

impl Marker {
    /// Whether what bears these marks is left of a gateway of this instance that is certainly gone, or that was this very
    /// process in an earlier life. `is_over`: what the state directory knows of a generation.
    fn is_left_over(&self, generation: Option<&str>, owner: Option<&str>, is_over: &dyn Fn(&str) -> bool) -> bool {
        let Some(generation) = generation.filter(|generation| **generation != *self.generation) else { return false };
        let owner = owner.and_then(|owner| owner.parse::<Owner>().ok());
        owner.as_ref().is_some_and(Owner::is_gone) || !owner.is_some_and(|o| o.is_alive()) && is_over(generation)
    }
}

/// Fetches what has to be here before `spec` can be started, and what may take long: a container's image. Bounded in its own
/// way, not by `startup_timeout`. Whatever is half-done when the future is dropped is of no consequence.
pub async fn prepare(name: &ProviderName, spec: &ProviderSpec, pulls: &PullWatch) -> Result<(), TransportError> {
    pulls.send_replace(None);
    match &spec.launch {
        Launch::Docker(launch) => docker::prepare(name, launch, pulls).await,
        Launch::Subprocess(_) | Launch::Remote(_) => Ok(()),
    }
}

/// Starts the upstream of `spec` and connects to it. No handshake. Whatever is half-open when the future is dropped is
/// closed.
pub async fn open(
    name: &ProviderName,
    spec: &ProviderSpec,
    marker: &Marker,
    output: Arc<OutputRing>,
    inbound: Arc<dyn Inbound>,
) -> Result<Connection, TransportError> {
    match &spec.launch {
        Launch::Subprocess(launch) => {
            subprocess::open(name, launch, spec.stop, marker, output, (inbound, spec.max_message)).await
        }
        Launch::Docker(launch) => {
            docker::open(name, launch, spec.stop, marker, output, (inbound, spec.max_message)).await
        }
        Launch::Remote(launch) => remote::open(launch, spec.startup_timeout, output, (inbound, spec.max_message)).await,
    }
}

// === impl Exit ===

impl fmt::Display for Exit {
    /// `exited with code 3`, `was killed by signal 9 (SIGKILL)`, ...
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            ExitCause::Code(code) => write!(f, "exited with code {code}"),
            ExitCause::Signal(signal) => {
                write!(f, "was killed by signal {signal}")?;
                signal_name(*signal).map_or(Ok(()), |name| write!(f, " ({name})"))
            }
            ExitCause::Closed => f.write_str("was closed"),
            ExitCause::Lost(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_what_is_certainly_nobodys_is_left_over() {
        let marker = Marker { instance: "i".into(), generation: "mine".into() };
        let ours = Owner::ours().to_string();
        let (before, _) = ours.rsplit_once(':').unwrap();
        // Forged: this pid with another start, another boot, another namespace; and init, which lives.
        let (recycled, other_boot) = (format!("{before}:1"), ours.replacen(|c: char| c != ':', "x", 1));
        let living = before.rsplit_once(':').map(|(place, _)| {
            let init = crate::host::Process::of(1).map(|process| process.started).unwrap();
            format!("{place}:1:{init}")
        });
        let left = |generation, owner, over: bool| marker.is_left_over(generation, owner, &|_| over);
        for over in [false, true] {
            assert!(!left(Some("mine"), Some(&recycled), over) && !left(None, Some(&recycled), over));
            assert!(left(Some("old"), Some(&recycled), over) && left(Some("old"), Some(&ours), over));
            assert!(!left(Some("old"), living.as_deref(), over));
            // What cannot be told from the process is told by the state directory, and without it left alone.
            for unknown in [None, Some("no owner"), Some(&*other_boot)] {
                assert_eq!(left(Some("old"), unknown, over), over, "{unknown:?}");
            }
        }
    }
}
