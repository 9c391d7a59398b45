//! Streamable HTTP, revisions 2025-03-26 to 2025-11-25: every message is a POST, every answer comes in its response.
//!
//! One task per exchange, owned by [`Exchanges`]. Losing the endpoint fails single exchanges, never the connection: it is
//! over only when it is closed.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    client::Http,
    exchanges::Exchanges,
    listen::Opened,
    note, peek,
    reply::{self, Events, Kind, Refusal},
    session::{Session, Sessions},
    sse::Decoded,
};
use crate::transport::{
    Close, Connection, Exit, ExitCause, Head, Inbound, Link, MAX_MESSAGE, OutputRing, TransportError,
};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
pub(super) const JSON_OR_EVENTS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Of a POST that nobody waits for: a notification, an answer to the upstream.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(30);
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);
/// Resumptions in a row that bring no new event.
const MAX_BARREN: u32 = 3;
/// The second half of a handshake that is replayed.
const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What all tasks of one connection share.
pub(super) struct Remote {
    pub(super) http: Http,
    pub(super) inbound: Arc<dyn Inbound>,
    pub(super) sessions: Sessions,
    pub(super) opened: Opened,
    pub(super) output: Arc<OutputRing>,
    exchanges: Arc<Exchanges>,
    /// The request `initialize` and its id, kept to renew a lost session.
    initialize: OnceLock<(Bytes, u64)>,
    startup_timeout: Duration,
}

/// The sending half. Dropping it drops everything in flight.
struct Streamable {
    remote: Arc<Remote>,
    /// Nothing is left.
    gone: CancellationToken,
}

/// No request is made yet.
pub(super) fn connection(
    http: Http,
    startup_timeout: Duration,
    output: Arc<OutputRing>,
    inbound: Arc<dyn Inbound>,
) -> Connection {
    let exchanges = Exchanges::new();
    let sessions = Sessions::new();
    let (opened, initialize) = (Opened::new(), OnceLock::new());
    let remote = Arc::new(Remote { http, inbound, sessions, opened, output, exchanges, initialize, startup_timeout });
    let gone = CancellationToken::new();
    remote.exchanges.spawn_beside(remote.clone().listen());
    let link = Arc::new(Streamable { remote, gone: gone.clone() });
    let exit = Box::pin(async move {
        gone.cancelled().await;
        Exit { cause: ExitCause::Closed, rung: None }
    });
    Connection { link, died: Box::pin(std::future::pending()), exit }
}

// === impl Streamable ===

impl Link for Streamable {
    fn send(&self, message: Bytes, request: Option<u64>) -> Result<(), TransportError> {
        let remote = self.remote.clone();
        let permit = remote.exchanges.admit(request)?;
        let Some(id) = request else {
            let announces = peek::is_method(&message, "notifications/initialized");
            if announces {
                remote.sessions.announcing();
            }
            self.remote.exchanges.spawn(permit, async move { remote.tell(message, announces).await });
            return Ok(());
        };
        let first = remote.initialize.get().is_none() && peek::is_method(&message, "initialize");
        if first {
            let _ = remote.initialize.set((message.clone(), id));
        }
        self.remote.exchanges.spawn(permit, async move {
            if let Err(error) = remote.ask(message, id, first).await {
                remote.inbound.failed(Some(id), error);
            }
        });
        Ok(())
    }

    fn send_headed(&self, message: Bytes, request: Option<u64>, head: Head) -> Result<(), TransportError> {
        // The one notification of that era is a cancellation, and the dropped exchange has said it.
        let Some(id) = request else { return Ok(()) };
        let remote = self.remote.clone();
        let permit = remote.exchanges.admit(request)?;
        self.remote.exchanges.spawn(permit, async move {
            if let Err(error) = remote.ask_headed(message, id, &head).await {
                remote.inbound.failed(Some(id), error);
            }
        });
        Ok(())
    }

    fn wants_heads(&self) -> bool {
        true
    }

    fn abandon(&self, id: u64) {
        self.remote.exchanges.abandon(id);
    }

    fn negotiated(&self, version: &str) {
        self.remote.sessions.negotiated(version);
    }

    fn close(&self, how: Close) {
        let first = !self.remote.exchanges.ended().is_cancelled();
        self.remote.exchanges.end();
        match how {
            Close::Now => self.gone.cancel(),
            Close::Graceful if first => {
                let (remote, gone) = (self.remote.clone(), self.gone.clone());
                self.remote.exchanges.spawn_last(async move {
                    gone.run_until_cancelled(remote.delete_session()).await;
                    gone.cancel();
                });
            }
            Close::Graceful => {}
        }
    }

    fn pid(&self) -> Option<u32> {
        None
    }
}

impl Drop for Streamable {
    fn drop(&mut self) {
        self.remote.exchanges.end();
        self.gone.cancel();
    }
}

// === impl Remote ===

impl Remote {
    /// One request and its answer. `Err`: there will be none.
    async fn ask(self: &Arc<Self>, message: Bytes, id: u64, first: bool) -> Result<(), TransportError> {
        let mut stale = None;
        loop {
            let session = if first { Session::default() } else { self.ready(stale).await? };
            self.opened.before(&message, session.epoch).await;
            let response = self.post(message.clone(), &session).await?;
            if response.status().is_success() {
                if first {
                    self.sessions.established(Session::id_of(response.headers()));
                }
                return self.take_answer(response, id, &session).await;
            }
            let refusal = Refusal::read(response).await;
            // A server that does not know the session has not looked at the request: it may be sent again, once.
            if session.id.is_some() && stale.is_none() && refusal.session_lost() {
                stale = Some(session.epoch);
                continue;
            }
            if peek::answers(&refusal.body, id) {
                self.inbound.message(refusal.body, Some(id));
                return Ok(());
            }
            return Err(refusal.error(&self.http));
        }
    }

    /// One message that gets no answer.
    async fn tell(&self, message: Bytes, announces: bool) {
        let post = async {
            let session = if announces { self.sessions.current() } else { self.sessions.settled().await };
            let response = self.post(message, &session).await?;
            if !response.status().is_success() {
                return Err(Refusal::read(response).await.error(&self.http));
            }
            reply::finish(response).await;
            Ok(())
        };
        let outcome = tokio::time::timeout(NOTICE_TIMEOUT, post).await;
        let outcome = outcome.unwrap_or_else(|_| Err(TransportError::Io("no answer in time".into())));
        if announces {
            self.sessions.announced(outcome.is_ok());
        }
        if let Err(error) = outcome {
            note(&self.output, &format!("a notification or an answer was not taken: {error}"));
        }
    }

    async fn ready(self: &Arc<Self>, stale: Option<u64>) -> Result<Session, TransportError> {
        let renew = || {
            let remote = self.clone();
            // Its own task: whoever asked first may be abandoned while others wait.
            self.exchanges.spawn_beside(async move {
                let outcome = remote.renew().await.map_err(not_renewed);
                if let Err(error) = &outcome {
                    note(&remote.output, &error.to_string());
                }
                let renewed = outcome.is_ok();
                remote.sessions.renewed(outcome);
                if renewed {
                    remote.inbound.renewed();
                }
            });
        };
        self.sessions.ready(stale, renew).await
    }

    /// The handshake again, word by word; its answer is for nobody else. Gives the new session's id.
    async fn renew(&self) -> Result<Option<HeaderValue>, TransportError> {
        let handshake = async {
            let (message, id) = self.initialize.get().ok_or(TransportError::Closed)?;
            let response = self.post(message.clone(), &Session::default()).await?;
            if !response.status().is_success() {
                return Err(Refusal::read(response).await.error(&self.http));
            }
            let mut session = self.sessions.current();
            session.id = Session::id_of(response.headers());
            let answer = self.read_answer(response, *id).await?;
            let version = peek::protocol_version(&answer).map_err(|why| {
                TransportError::Io(format!("initialize: {}", reply::printable(&self.http.redact(&why))))
            })?;
            if !session.speaks(&version) {
                let version = reply::printable(&version);
                return Err(TransportError::Io(format!("the upstream came back speaking another revision, {version}")));
            }
            let announced = self.post(Bytes::from_static(INITIALIZED), &session).await?;
            if !announced.status().is_success() {
                return Err(Refusal::read(announced).await.error(&self.http));
            }
            reply::finish(announced).await;
            Ok(session.id)
        };
        let outcome = tokio::time::timeout(self.startup_timeout, handshake).await;
        outcome.unwrap_or_else(|_| Err(TransportError::Io("the new handshake took too long".into())))
    }

    /// The response to `id`, of a body that is not for [`Inbound`].
    async fn read_answer(&self, response: Response, id: u64) -> Result<Bytes, TransportError> {
        if reply::kind(response.headers()) == Kind::Json {
            return reply::body(&self.http, response).await;
        }
        let mut events = Events::new(response);
        while let Some(next) = events.next().await.map_err(|e| self.http.fault(e))? {
            match next {
                Decoded::Event(event) if peek::answers(&event.data, id) => {
                    events.finish().await;
                    return Ok(event.data);
                }
                _ => {}
            }
        }
        Err(TransportError::Io("initialize got no answer".into()))
    }

    async fn post(&self, message: Bytes, session: &Session) -> Result<Response, TransportError> {
        let mut headers = self.http.headers();
        headers.insert(ACCEPT, JSON_OR_EVENTS);
        headers.insert(CONTENT_TYPE, JSON);
        session.stamp(&mut headers);
        self.http.send(Method::POST, self.http.endpoint(), headers, Some(message)).await
    }

    /// Opens the GET stream, or goes on with the stream in which `last_id` came.
    pub(super) async fn get(&self, session: &Session, last_id: Option<&str>) -> Result<Response, TransportError> {
        let mut headers = self.http.headers();
        headers.insert(ACCEPT, EVENTS);
        session.stamp(&mut headers);
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()) {
            headers.insert(LAST_EVENT_ID, id);
        }
        self.http.send(Method::GET, self.http.endpoint(), headers, None).await
    }

    async fn take_answer(&self, response: Response, id: u64, session: &Session) -> Result<(), TransportError> {
        match reply::kind(response.headers()) {
            Kind::Events => self.follow(response, id, session).await,
            Kind::Json => self.take_json(response, id).await,
            Kind::Other if response.status() == StatusCode::ACCEPTED => {
                let detail = Some("took the request as a notification and gives no answer".into());
                Err(TransportError::Http { status: 202, detail, retry_after: None })
            }
            Kind::Other => Err(reply::unexpected(&self.http, response).await),
        }
    }

    /// One message, which should be the answer to `id`.
    pub(super) async fn take_json(&self, response: Response, id: u64) -> Result<(), TransportError> {
        let json = reply::body(&self.http, response).await?;
        let fits = peek::answers(&json, id);
        let said = if fits { None } else { peek::error_without_id(&json) };
        self.inbound.message(json, Some(id));
        if fits { Ok(()) } else { Err(self.no_answer(said)) }
    }

    fn no_answer(&self, said: Option<String>) -> TransportError {
        let said = said.map(|s| format!(": {}", reply::printable(&self.http.redact(&s)))).unwrap_or_default();
        TransportError::Io(format!("the upstream's reply does not answer this request{said}"))
    }

    /// Passes the events of a response on until the answer to `id` came. A stream that ends before it is resumed where the
    /// upstream gave its events ids; it may end and be resumed again for as long as that brings news.
    async fn follow(&self, response: Response, id: u64, session: &Session) -> Result<(), TransportError> {
        let mut events = Events::new(response);
        let mut backoff = Backoff::default();
        let (mut last_id, mut retry) = (None, None);
        loop {
            let ended = match self.pass_on(&mut events, id).await? {
                Ended::Answered => {
                    events.finish().await;
                    return Ok(());
                }
                Ended::Early(why) => why,
            };
            let decoder = events.decoder();
            retry = decoder.retry().or(retry);
            if let Some(new) = decoder.last_id().filter(|new| last_id.as_deref() != Some(*new)) {
                last_id = Some(new.to_owned());
                backoff.fruitful();
            }
            if last_id.is_none() || backoff.barren() >= MAX_BARREN {
                return Err(ended);
            }
            events = loop {
                tokio::time::sleep(backoff.next(retry)).await;
                match self.get(session, last_id.as_deref()).await {
                    Ok(resumed) => break self.resumed(resumed, &ended).await?,
                    Err(_) if backoff.barren() < MAX_BARREN => {}
                    // It was sent: whatever it is that fails now, this is not a call that never left.
                    Err(error) => return Err(TransportError::Io(format!("{ended}; it could not be resumed: {error}"))),
                }
            };
        }
    }

    async fn resumed(&self, response: Response, ended: &TransportError) -> Result<Events, TransportError> {
        if response.status().is_success() && reply::kind(response.headers()) == Kind::Events {
            return Ok(Events::new(response));
        }
        let refusal = Refusal::read(response).await.error(&self.http);
        Err(TransportError::Io(format!("{ended}; it could not be resumed: {refusal}")))
    }

    pub(super) async fn pass_on(&self, events: &mut Events, id: u64) -> Result<Ended, TransportError> {
        loop {
            match events.next().await {
                Ok(Some(Decoded::Event(event))) => {
                    if !matches!(event.kind.as_str(), "" | "message") {
                        continue;
                    }
                    let answered = peek::answers(&event.data, id);
                    self.inbound.message(event.data, Some(id));
                    if answered {
                        return Ok(Ended::Answered);
                    }
                }
                Ok(Some(Decoded::Oversize)) => return Err(TransportError::Oversize { limit: MAX_MESSAGE }),
                Ok(None) => {
                    return Ok(Ended::Early(TransportError::Io("the stream ended before the answer came".into())));
                }
                Err(error) => return Ok(Ended::Early(self.http.fault(error))),
            }
        }
    }

    async fn delete_session(&self) {
        let session = self.sessions.current();
        if session.id.is_none() {
            return;
        }
        let mut headers: HeaderMap = self.http.headers();
        session.stamp(&mut headers);
        let delete = async {
            if let Ok(response) = self.http.send(Method::DELETE, self.http.endpoint(), headers, None).await {
                reply::finish(response).await;
            }
        };
        // Best effort: servers may refuse it (405), and an unreachable one forgets by itself.
        let _ = tokio::time::timeout(DELETE_TIMEOUT, delete).await;
    }
}

/// Says what was being done; keeps the kind of the error.
fn not_renewed(error: TransportError) -> TransportError {
    let lead = "the session was lost and could not be renewed";
    match error {
        TransportError::Http { status, detail, retry_after } => {
            let detail = detail.map_or_else(|| lead.to_owned(), |why| format!("{lead}: {why}"));
            TransportError::Http { status, detail: Some(detail), retry_after }
        }
        TransportError::Io(why) => TransportError::Io(format!("{lead}: {why}")),
        TransportError::Open(why) => TransportError::Open(format!("{lead}: {why}")),
        other => other,
    }
}

pub(super) enum Ended {
    Answered,
    Early(TransportError),
}
