//! The way back from an upstream to the one client and call that a message belongs to.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Home, ListKinds};
use crate::wire::Frame;

/// Messages that one call may have waiting for its client.
pub const RELAY_QUEUE: usize = 256;

/// Numbers client sessions within one gateway process.
pub type ClientId = u64;

/// What a client must have declared before an upstream may ask it for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFeature {
    Sampling,
    Elicitation,
    Roots,
}

/// A connected client, as far as an upstream may know it.
pub trait Client: Send + Sync + 'static {
    fn id(&self) -> ClientId;

    fn has(&self, feature: ClientFeature) -> bool;

    /// What its own instances belong to.
    fn home(&self) -> Home;

    /// Its stream for what belongs to no call. `None`: there is none now, or never.
    fn general(&self) -> Option<Relay>;

    /// These lists are others now for this client, and no other.
    fn lists_changed(&self, kinds: ListKinds);

    /// The features that it has, as it declared them: a raw JSON object.
    fn capabilities(&self) -> Bytes;

    /// The least severity that it has asked for, by name.
    fn log_level(&self) -> Option<&'static str>;

    /// Whether a log message of this severity (`debug` ... `emergency`) is wanted.
    fn wants_log(&self, level: &str) -> bool;

    /// Passes an upstream's request on, on the stream of the call `via`; the answer comes through the channel, which is
    /// dropped when there will be none.
    fn ask(&self, request: &Frame, via: &Relay) -> oneshot::Receiver<Frame>;
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
