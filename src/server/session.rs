//! One connected client: what it said about itself, what it has in flight, and how to reach it.
//!
//! Sessions are abandoned far more often than ended, so one that does nothing costs a few hundred bytes.

mod begun;
mod client;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    declared::{declared, features},
    exposed::{Exposed, LastExposed},
    modern::{self, Listen},
};
use crate::{
    config::Expose,
    provider::{Asker, CatalogueNews, ClientId, Era, Home, HomeKind, LATEST_LEGACY, LEGACY_VERSIONS, ListKind},
    wire::{self, Frame, Span, Splice, shallow},
};

/// What a client has said, so that the gateway's next life knows it again after a restart in place.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SessionRecord {
    protocol_version: String,
    client_name: String,
    client_version: String,
    features: u8,
    #[serde(default)]
    declared: String,
    log_level: u8,
    subscriptions: Vec<String>,
    #[serde(default)]
    tag: u64,
    #[serde(default)]
    exposed: Exposed,
}

/// More than any count: who will list anyway needs not be told that a provider has come to know its catalogue.
const NOT_LISTED: u64 = u64::MAX;
/// Messages that may wait for a client's general stream.
const STREAM_QUEUE: usize = 256;

/// From the client's `initialize`.
#[derive(Debug)]
pub struct Greeting {
    pub era: Era,
    pub protocol_version: &'static str,
    pub client_name: Box<str>,
    pub client_version: Box<str>,
    features: u8,
    /// The same as it was declared, a raw JSON object.
    declared: Box<[u8]>,
}

pub struct Session {
    id: ClientId,
    /// [`crate::provider::Client::tag`]. No secret: what is bound to it is sealed with one.
    tag: u64,
    greeting: OnceLock<Greeting>,
    /// Index into [`LEVELS`]; messages below are not passed on. [`ANY_LEVEL`]: the client has not said.
    log_level: AtomicU8,
    /// The catalogue news that this client has listed or been told of.
    told: [AtomicU64; 3],
    /// How many first catalogues there were when it last listed; [`NOT_LISTED`]: it has not since it was told.
    listed: [AtomicU64; 3],
    /// How tools were offered when it last listed them, or was told to.
    exposed: LastExposed,
    inner: Mutex<Inner>,
    /// Lists of its own that are others now, and that it has not been told of: one bit each.
    own_lists: AtomicU8,
    /// Of one request: where its instances are kept. None: with the session itself.
    home: OnceLock<Home>,
    /// What its one request listens to.
    listen: Option<Listen>,
    /// Made when somebody waits for them: most sessions are abandoned without a stream.
    over: OnceLock<CancellationToken>,
    closing: OnceLock<CancellationToken>,
}

#[derive(Default)]
struct Inner {
    /// Requests of the client, by raw id.
    calls: HashMap<Bytes, CancellationToken>,
    /// Requests to the client, by the number we gave them.
    asks: HashMap<u64, Question>,
    /// Resource URIs as the client knows them.
    subscriptions: HashSet<Box<str>>,
    /// Where messages go that belong to no call.
    stream: Option<mpsc::Sender<Bytes>>,
}

/// A request to the client that it has not answered.
struct Question {
    from: Asker,
    /// The upstream's own progress token, raw JSON; the client's is our number.
    token: Option<Bytes>,
}

/// No level was asked for, so each server logs as it likes.
const ANY_LEVEL: u8 = u8::MAX;

/// Severities of `logging/setLevel`, least first.
pub const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

static IDS: AtomicU64 = AtomicU64::new(1);
static ASKS: AtomicU64 = AtomicU64::new(1);

impl Session {
    /// A client that has not said `initialize` yet. `now`: what the lists are at this moment.
    pub fn new(now: CatalogueNews) -> Arc<Self> {
        Arc::new(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            tag: fastrand::u64(1..),
            greeting: OnceLock::new(),
            log_level: AtomicU8::new(ANY_LEVEL),
            told: [now.tools, now.prompts, now.resources].map(AtomicU64::new),
            listed: [NOT_LISTED; 3].map(AtomicU64::new),
            exposed: LastExposed::default(),
            inner: Mutex::default(),
            own_lists: AtomicU8::new(0),
            home: OnceLock::new(),
            listen: None,
            over: OnceLock::new(),
            closing: OnceLock::new(),
        })
    }

    /// The client of one modern request: its `clientCapabilities` and `clientInfo` in `text`, and the log level it asks for.
    pub(super) fn of_request(text: &[u8], capabilities: Span, info: Option<Span>, level: Option<&str>) -> Arc<Self> {
        let session = Self::new(CatalogueNews::default());
        let greeting = Greeting {
            era: Era::Modern,
            protocol_version: modern::VERSION,
            client_name: info.map(|info| clipped(text, info, "name")).unwrap_or_default(),
            client_version: info.map(|info| clipped(text, info, "version")).unwrap_or_default(),
            features: features(text, capabilities),
            declared: declared(text, capabilities),
        };
        let _ = session.greeting.set(greeting);
        if let Some(level) = level {
            session.set_log_level(level);
        }
        session
    }

    /// A modern client that listens: one of this name, which lists in other requests.
    pub(super) fn listening(now: CatalogueNews, listen: Listen, name: &str, expose: Expose) -> Arc<Self> {
        let mut session = Self::of_request(b"{}", Span { start: 0, end: 2 }, None, None);
        if let Some(session) = Arc::get_mut(&mut session) {
            session.told = [now.tools, now.prompts, now.resources].map(AtomicU64::new);
            session.listen = Some(listen);
            if let Some(greeting) = session.greeting.get_mut() {
                greeting.client_name = name.into();
            }
            session.exposed.set(expose);
        }
        session
    }

    /// One of many requests on `connection`, whose client has what its own instances hold as long as that is there. A request
    /// that came by itself is at home nowhere.
    pub(super) fn live_on(&self, connection: &Self) {
        if connection.has_stream() {
            let (id, over) = (connection.id, connection.over().clone());
            // A request comes on one connection.
            let _ = self.home.set(Home { id, kind: HomeKind::Connection, over });
        }
    }

    /// What was started for this request alone ends with what is given.
    pub(super) fn over_with_call(&self) -> Option<DropGuard> {
        self.home.get().is_none().then(|| self.over().clone().drop_guard())
    }

    pub(super) fn listen(&self) -> Option<&Listen> {
        self.listen.as_ref()
    }

    /// `None`: it has not said `initialize`, so there is nothing to know.
    pub fn record(&self) -> Option<SessionRecord> {
        let greeting = self.greeting.get().filter(|greeting| greeting.era == Era::Legacy)?;
        Some(SessionRecord {
            protocol_version: greeting.protocol_version.to_owned(),
            client_name: greeting.client_name.to_string(),
            client_version: greeting.client_version.to_string(),
            features: greeting.features,
            declared: String::from_utf8_lossy(&greeting.declared).into_owned(),
            log_level: self.log_level.load(Ordering::Relaxed),
            subscriptions: self.subscriptions().into_iter().map(String::from).collect(),
            exposed: self.exposed.get(),
            tag: self.tag,
        })
    }

    /// The client of an earlier life. It is told that every list may be another one now.
    pub fn resumed(record: SessionRecord) -> Arc<Self> {
        let mut session = Self::new(CatalogueNews::default());
        let SessionRecord {
            protocol_version,
            client_name,
            client_version,
            features,
            declared,
            log_level,
            subscriptions,
            exposed,
            tag,
        } = record;
        if let (Some(session), 1..) = (Arc::get_mut(&mut session), tag) {
            session.tag = tag;
        }
        // A version that this program does not know any more: the client is where it would be after `initialize`.
        let known = LEGACY_VERSIONS.into_iter().find(|known| *known == protocol_version);
        let _ = session.greeting.set(Greeting {
            era: Era::Legacy,
            protocol_version: known.unwrap_or(LATEST_LEGACY),
            client_name: client_name.into_boxed_str(),
            client_version: client_version.into_boxed_str(),
            features,
            declared: declared.into_bytes().into_boxed_slice(),
        });
        session.log_level.store(log_level, Ordering::Relaxed);
        session.exposed.resume(exposed);
        session.inner().subscriptions.extend(subscriptions.into_iter().map(String::into_boxed_str));
        session
    }

    /// Reads `initialize`. `false`: it was said before.
    pub fn greet(&self, protocol_version: &'static str, frame: &Frame) -> bool {
        let params = frame.params().unwrap_or(Span { start: 0, end: 0 });
        let text = frame.bytes();
        let place = |path: &[&str]| shallow::path(text, params, path).ok().flatten();
        let info = place(&["clientInfo"]);
        let greeting = Greeting {
            era: Era::Legacy,
            protocol_version,
            client_name: info.map(|info| clipped(text, info, "name")).unwrap_or_default(),
            client_version: info.map(|info| clipped(text, info, "version")).unwrap_or_default(),
            features: place(&["capabilities"]).map(|declared| features(text, declared)).unwrap_or_default(),
            declared: place(&["capabilities"]).map(|place| declared(text, place)).unwrap_or_default(),
        };
        self.greeting.set(greeting).is_ok()
    }

    /// Fires when the session is over.
    pub fn over(&self) -> &CancellationToken {
        self.over.get_or_init(CancellationToken::new)
    }

    /// Fires when its connection takes no more requests.
    pub fn closing(&self) -> &CancellationToken {
        self.closing.get_or_init(CancellationToken::new)
    }

    pub fn greeting(&self) -> Option<&Greeting> {
        self.greeting.get()
    }

    /// A `notifications/cancelled` of the client.
    pub fn cancel(&self, frame: &Frame) {
        let id = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "requestId").ok().flatten());
        if let Some(place) = id
            && let Some(token) = self.inner().calls.get(frame.text(place))
        {
            token.cancel();
        }
    }

    /// An answer of the client to a request of ours.
    pub fn answer(&self, frame: Frame) {
        if let Some(waiting) = frame.id_u64().and_then(|id| self.inner().asks.remove(&id)) {
            // The upstream that asked may be gone.
            let _ = waiting.from.answer.send(frame);
        }
    }

    /// `notifications/progress` of the client, on what it was asked for: back to who asked.
    pub fn progress(&self, frame: &Frame) {
        let place =
            frame.params().and_then(|params| shallow::get(frame.bytes(), params, "progressToken").ok().flatten());
        let Some(place) = place else { return };
        let number = std::str::from_utf8(frame.text(place)).ok().and_then(|text| text.parse::<u64>().ok());
        let inner = self.inner();
        if let Some(question) = number.and_then(|number| inner.asks.get(&number))
            && let Some(token) = &question.token
        {
            let told = Splice::new().replace(place, token.to_vec()).apply(frame.bytes());
            // Full: the upstream has news enough to read.
            let _ = question.from.progress.try_send(told.into());
        }
    }

    pub fn set_log_level(&self, level: &str) -> bool {
        let Some(index) = LEVELS.iter().position(|known| *known == level) else { return false };
        self.log_level.store(index as u8, Ordering::Relaxed);
        true
    }

    /// The least severity that the client wants, as an index into [`LEVELS`]; `None`: it has not said.
    pub fn log_level(&self) -> Option<u8> {
        Some(self.log_level.load(Ordering::Relaxed)).filter(|level| *level != ANY_LEVEL)
    }

    /// Opens the stream for messages that belong to no call; an earlier one ends.
    pub fn open_stream(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        self.inner().stream = Some(sender);
        receiver
    }

    pub fn has_stream(&self) -> bool {
        self.inner().stream.as_ref().is_some_and(|stream| !stream.is_closed())
    }

    /// Whether it wants to hear that list number `kind` has changed.
    pub fn wants_list(&self, kind: usize) -> bool {
        self.listen.as_ref().is_none_or(|listen| listen.wants(kind))
    }

    /// Sends on the general stream. `false`: there is none, or it is full.
    pub fn push(&self, message: Bytes) -> bool {
        let message = match &self.listen {
            Some(listen) => listen.mark(message),
            None => message,
        };
        let stream = self.inner().stream.clone();
        stream.is_some_and(|stream| stream.try_send(message).is_ok())
    }

    /// Tells, as far as there is a stream, which lists of its own have changed.
    pub fn tell_own_lists(&self) {
        for (number, kind) in ListKind::ALL.into_iter().enumerate() {
            let other = self.own_lists.load(Ordering::Relaxed) & kind as u8 != 0;
            // Tools that it lists in another way are not told of.
            let unlisted = kind == ListKind::Tools && self.exposed.get() == Exposed::Search;
            if !other || unlisted || !self.wants_list(number) {
                continue;
            }
            let name = ["tools", "prompts", "resources"].get(number).copied().unwrap_or_default();
            if self.push(wire::notification(&format!("notifications/{name}/list_changed"), b"")) {
                self.own_lists.fetch_and(!(kind as u8), Ordering::Relaxed);
            }
        }
    }

    /// It has just been given this list.
    pub fn has_own_list(&self, kind: ListKind) {
        self.own_lists.fetch_and(!(kind as u8), Ordering::Relaxed);
    }

    /// `false`: it has `most` already.
    pub fn subscribe(&self, uri: &str, most: usize) -> bool {
        let mut inner = self.inner();
        let room = inner.subscriptions.len() < most || inner.subscriptions.contains(uri);
        if room {
            inner.subscriptions.insert(uri.into());
        }
        room
    }

    pub fn unsubscribe(&self, uri: &str) {
        self.inner().subscriptions.remove(uri);
    }

    pub fn is_subscribed(&self, uri: &str) -> bool {
        self.inner().subscriptions.contains(uri)
    }

    pub fn subscriptions(&self) -> Vec<Box<str>> {
        self.inner().subscriptions.iter().cloned().collect()
    }

    /// Whether upstreams were asked for something on its behalf that they go on with.
    pub(super) fn has_wishes(&self) -> bool {
        let listens = self.listen.as_ref().is_some_and(|listen| !listen.tasks().is_empty());
        listens || self.log_level().is_some() || !self.inner().subscriptions.is_empty()
    }

    /// It has just been given list number `kind`: as of `news`, with `learned` first catalogues in it.
    pub fn listed(&self, kind: usize, news: u64, learned: u64) {
        if let (Some(told), Some(listed)) = (self.told.get(kind), self.listed.get(kind)) {
            told.fetch_max(news, Ordering::Relaxed);
            listed.store(learned, Ordering::Relaxed);
        }
    }

    /// It has just been told to fetch list number `kind`.
    pub fn told(&self, kind: usize, news: u64) {
        self.listed(kind, news, NOT_LISTED);
    }

    /// Whether list number `kind` is another one now than what it has, or was told of.
    pub fn lacks(&self, kind: usize, news: u64, learned: u64) -> bool {
        let less = |counts: &[AtomicU64; 3], than| counts.get(kind).is_some_and(|n| n.load(Ordering::Relaxed) < than);
        less(&self.told, news) || less(&self.listed, learned)
    }

    /// It has just been given its tools in this way, or told to fetch them.
    pub(super) fn tools_exposed(&self, expose: Expose) {
        self.exposed.set(expose);
    }

    /// Whether its tools are others now than what it has, or was told of. What is listed in `search` mode never changes; the
    /// mode may.
    pub(super) fn lacks_tools(&self, news: u64, learned: u64, expose: Expose) -> bool {
        match self.exposed.get().as_expose() {
            Some(last) if last != expose => true,
            _ => expose != Expose::Search && self.lacks(0, news, learned),
        }
    }

    /// Forgets everything that is in flight.
    pub fn end(&self) {
        self.over().cancel();
        let mut inner = self.inner();
        inner.calls.drain().for_each(|(_, token)| token.cancel());
        inner.asks.clear();
        inner.stream = None;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clipped(text: &[u8], object: Span, key: &str) -> Box<str> {
    let place = shallow::get(text, object, key).ok().flatten();
    let found = place.and_then(|place| shallow::string(text, place)).unwrap_or_default();
    found.chars().take(128).collect::<String>().into_boxed_str()
}
