//! A call of a modern client on a legacy upstream, as long as it runs: what the upstream asks in between is kept here until
//! the client's next request answers it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    provider::{Asked, Asker, Client, ClientFeature, ClientId, Era, Home, ListKinds, Relay},
    wire::{self, Frame, Span, Splice, shallow},
};

/// Questions of one call that may wait at a time.
const MOST_ASKS: usize = 16;
/// Questions that come together are passed on together.
const TOGETHER: std::time::Duration = std::time::Duration::from_millis(5);

/// What an upstream asks, and where the answer goes. Dropped: there will be none.
pub struct Ask {
    request: Frame,
    reply: Asker,
}

/// The client as the upstream of one call sees it: it can be asked, for the call can be parked.
pub struct BridgedClient {
    client: Arc<dyn Client>,
    asks: mpsc::Sender<Ask>,
}

/// Dropping it cancels the call upstream.
pub struct BridgedCall {
    answer: AbortOnDropHandle<Bytes>,
    asks: mpsc::Receiver<Ask>,
    messages: mpsc::Receiver<Bytes>,
    /// Asked and not answered yet, under the names that the client knows them by.
    open: Vec<(String, Ask)>,
    asked: u32,
}

/// How far it has come.
pub enum Step {
    Answer(Bytes),
    /// The client has to be asked: an object of requests, raw JSON.
    InputRequired(Vec<u8>),
}

impl BridgedClient {
    pub fn new(client: Arc<dyn Client>) -> (Arc<Self>, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(MOST_ASKS);
        (Arc::new(Self { client, asks }), receiver)
    }
}

impl Client for BridgedClient {
    fn id(&self) -> ClientId {
        self.client.id()
    }

    fn name(&self) -> &str {
        self.client.name()
    }

    fn era(&self) -> Era {
        self.client.era()
    }

    fn tag(&self) -> u64 {
        self.client.tag()
    }

    fn home(&self) -> Home {
        self.client.home()
    }

    fn general(&self) -> Option<Relay> {
        self.client.general()
    }

    fn lists_changed(&self, kinds: ListKinds) {
        self.client.lists_changed(kinds);
    }

    fn has(&self, feature: ClientFeature) -> bool {
        self.client.has(feature)
    }

    fn capabilities(&self) -> Bytes {
        self.client.capabilities()
    }

    fn log_level(&self) -> Option<&'static str> {
        self.client.log_level()
    }

    fn wants_log(&self, level: &str) -> bool {
        self.client.wants_log(level)
    }

    fn ask(&self, request: &Frame, _via: &Relay) -> Asked {
        let (asked, reply) = Asked::new(0);
        // Full: the upstream is told that there will be no answer.
        let _ = self.asks.try_send(Ask { request: request.clone(), reply });
        asked
    }

    /// It is not asked again for what nobody waits for ([`BridgedCall::answer`]).
    fn take_back(&self, _id: u64, _via: &Relay) {}
}

impl BridgedCall {
    /// `call`: the whole of it, given a stream for its messages. Runs by itself from now on.
    pub fn start(
        call: impl Future<Output = Bytes> + Send + 'static,
        asks: mpsc::Receiver<Ask>,
        messages: mpsc::Receiver<Bytes>,
    ) -> Self {
        let answer = AbortOnDropHandle::new(tokio::spawn(call));
        Self { answer, asks, messages, open: Vec::new(), asked: 0 }
    }

    /// Until it is answered, or needs its client. Its messages go to `relay`, progress under `token`.
    pub async fn proceed(&mut self, relay: &Relay, token: Option<&[u8]>) -> Step {
        loop {
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => drop(relay.send(with_token(message, token))),
                Some(ask) = self.asks.recv() => {
                    self.keep(ask);
                    tokio::time::sleep(TOGETHER).await;
                    while let Ok(ask) = self.asks.try_recv() {
                        self.keep(ask);
                    }
                    return Step::InputRequired(self.requests());
                }
                answer = &mut self.answer => {
                    while let Ok(message) = self.messages.try_recv() {
                        relay.send(with_token(message, token));
                    }
                    return Step::Answer(answer.unwrap_or_default());
                }
            }
        }
    }

    /// Gives the client's answers to the upstream. False: some are missing, and have to be asked for again.
    pub fn answer(&mut self, text: &[u8], responses: Option<Span>) -> bool {
        let given = |key: &str| responses.and_then(|object| shallow::get(text, object, key).ok().flatten());
        for (key, ask) in std::mem::take(&mut self.open) {
            if ask.reply.answer.is_closed() {
                // The upstream has taken it back.
                continue;
            }
            let Some(place) = given(&key) else {
                self.open.push((key, ask));
                continue;
            };
            if let Ok(answer) = Frame::parse(wire::result(b"0", place.of(text))) {
                // The upstream that asked may have gone on without it.
                let _ = ask.reply.answer.send(answer);
            }
        }
        self.open.is_empty()
    }

    /// Everything that is asked and not answered.
    pub fn requests(&self) -> Vec<u8> {
        let mut object = b"{".to_vec();
        for (at, (key, ask)) in self.open.iter().enumerate() {
            if at > 0 {
                object.push(b',');
            }
            object.extend(shallow::quote(key));
            object.extend_from_slice(b":{\"method\":");
            object.extend(shallow::quote(ask.request.method()));
            if let Some(params) = ask.request.params() {
                object.extend_from_slice(b",\"params\":");
                object.extend_from_slice(ask.request.text(params));
            }
            object.push(b'}');
        }
        object.push(b'}');
        object
    }

    fn keep(&mut self, ask: Ask) {
        self.asked += 1;
        self.open.push((format!("input-{}", self.asked), ask));
    }
}

/// Progress is told under the token of the request that waits for it now.
fn with_token(message: Bytes, token: Option<&[u8]>) -> Bytes {
    let Some(token) = token else { return message };
    let Ok(frame) = Frame::parse(message.clone()) else { return message };
    let place = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "progressToken").ok().flatten());
    match place.filter(|_| frame.method() == "notifications/progress") {
        Some(place) => Splice::new().replace(place, token.to_vec()).apply(frame.bytes()).into(),
        None => message,
    }
}
