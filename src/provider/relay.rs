//! The way back from an upstream to the one client and call that a message belongs to.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Era, Home, ListKinds};
use crate::wire::Frame;

/// Messages that one call may have waiting for its client.
pub const RELAY_QUEUE: usize = 256;

/// Reports of a client's progress with one question that may wait for the upstream that asked.
const REPORTS: usize = 16;

/// Numbers client sessions within one gateway process.
pub type ClientId = u64;

/// What a client must have declared before an upstream may ask it for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFeature {
    Sampling,
    Elicitation,
    Roots,
}

impl ClientFeature {
    /// Its key among a client's capabilities.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sampling => "sampling",
            Self::Elicitation => "elicitation",
            Self::Roots => "roots",
        }
    }
}

/// A connected client, as far as an upstream may know it.
pub trait Client: Send + Sync + 'static {
    fn id(&self) -> ClientId;

    /// What it calls itself; empty: it does not say.
    fn name(&self) -> &str;

    fn era(&self) -> Era;

    /// Tells it from every other client, also over a restart in place; 0: a modern one, which is new with each request.
    fn tag(&self) -> u64;

    fn has(&self, feature: ClientFeature) -> bool;

    /// What its own instances belong to.
    fn home(&self) -> Home;

    /// Its stream for what belongs to no call. `None`: there is none now, or never.
    fn general(&self) -> Option<Relay>;

    /// These lists are others now for this client, and no other.
    fn lists_changed(&self, kinds: ListKinds);

    /// The features that it has, as it declared them: a raw JSON object.
    fn capabilities(&self) -> Bytes;

    /// Something that belongs to no call in flight. `false`: it has no stream for that.
    fn tell(&self, _message: Bytes) -> bool {
        false
    }

    /// The least severity that it has asked for, by name.
    fn log_level(&self) -> Option<&'static str>;

    /// Whether a log message of this severity (`debug` ... `emergency`) is wanted.
    fn wants_log(&self, level: &str) -> bool;

    /// Passes an upstream's request on, on the stream of the call `via`.
    fn ask(&self, request: &Frame, via: &Relay) -> Asked;

    /// Nobody waits for the answer to [`Asked::id`] any more.
    fn take_back(&self, id: u64, via: &Relay);
}

/// A request of an upstream that a client has in hand.
pub struct Asked {
    /// The number that the client knows it by.
    pub id: u64,
    /// Closed when there will be none.
    pub answer: oneshot::Receiver<Frame>,
    /// What the client tells of its progress, under the upstream's own token.
    pub progress: mpsc::Receiver<Bytes>,
}

/// The other end of an [`Asked`].
pub struct Asker {
    pub answer: oneshot::Sender<Frame>,
    pub progress: mpsc::Sender<Bytes>,
}

impl Asked {
    pub fn new(id: u64) -> (Self, Asker) {
        let (answer_in, answer) = oneshot::channel();
        let (progress_in, progress) = mpsc::channel(REPORTS);
        (Self { id, answer, progress }, Asker { answer: answer_in, progress: progress_in })
    }
}

/// The stream of one call, towards its client. Complete messages only.
#[derive(Debug, Clone)]
pub struct Relay(mpsc::Sender<Bytes>);

impl Relay {
    pub fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(RELAY_QUEUE);
        (Self(sender), receiver)
    }

    /// A front on which all calls share one stream.
    pub fn into_stream(stream: mpsc::Sender<Bytes>) -> Self {
        Self(stream)
    }

    /// `false`: the client does not read, or is gone; the message is dropped.
    pub fn send(&self, message: Bytes) -> bool {
        self.0.try_send(message).is_ok()
    }
}

/// Whose call it is.
#[derive(Clone)]
pub struct Caller {
    pub client: std::sync::Arc<dyn Client>,
    pub relay: Relay,
}

impl Relay {
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Resolves when nobody reads the call's stream any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}
