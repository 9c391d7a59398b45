//! The GET stream of a streamable HTTP upstream: what it says beside any answer. One task per connection, for its whole
//! life; a server without such a stream costs one request per session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    backoff::Backoff,
    note, peek,
    reply::{self, Events, Kind, Refusal},
    session::Session,
    sse::Decoded,
    streamable::Remote,
};
use crate::transport::TransportError;

/// A stream that lived this long was no failure, though it brought nothing: proxies end idle streams.
const STEADY: Duration = Duration::from_secs(10);

/// How long a call waits for the stream to be opened. Some servers send no head before they have something to say.
const OPENING: Duration = Duration::from_millis(500);
/// In the middle of these an upstream may ask its client something, and may have no other stream for it.
const ASKING: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// The latest session, by epoch, whose stream has been opened, refused, or waited for long enough.
pub(super) struct Opened(watch::Sender<Option<u64>>);

impl Opened {
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    fn is_over(&self, epoch: u64) {
        self.0.send_if_modified(|over| {
            let news = *over < Some(epoch);
            *over = (*over).max(Some(epoch));
            news
        });
    }

    /// What is asked on a stream that nobody has opened yet is lost, and its call with it: calls do not overtake the opening.
    pub async fn before(&self, message: &Bytes, epoch: u64) {
        if *self.0.borrow() >= Some(epoch) || !ASKING.iter().any(|method| peek::is_method(message, method)) {
            return;
        }
        let mut over = self.0.subscribe();
        if tokio::time::timeout(OPENING, over.wait_for(|over| *over >= Some(epoch))).await.is_err() {
            self.is_over(epoch);
        }
    }
}

/// What the next attempt in the same session starts from.
#[derive(Default)]
struct Cursor {
    backoff: Backoff,
    last_id: Option<String>,
    retry: Option<Duration>,
}

impl Remote {
    /// Listens in every announced session, one after the other.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut session = self.sessions.announced_after(None).await;
        loop {
            let renewed = self.sessions.announced_after(Some(session.epoch));
            session = tokio::select! {
                next = renewed => next,
                () = self.listen_in(&session) => self.sessions.announced_after(Some(session.epoch)).await,
            };
        }
    }

    /// Ends when the upstream offers no stream.
    async fn listen_in(&self, session: &Session) {
        let mut cursor = Cursor::default();
        loop {
            match self.listen_once(session, &mut cursor).await {
                Ok(true) => {}
                Ok(false) => return,
                // The first failure is told, those that follow it only repeat it.
                Err(error) if cursor.backoff.barren() == 0 => {
                    note(&self.output, &format!("the notification stream broke: {error}"));
                }
                Err(_) => {}
            }
            tokio::time::sleep(cursor.backoff.next(cursor.retry)).await;
        }
    }

    /// One attempt. `Ok(false)`: there is no such stream, do not ask again in this session.
    async fn listen_once(&self, session: &Session, cursor: &mut Cursor) -> Result<bool, TransportError> {
        let response = self.get(session, cursor.last_id.as_deref()).await;
        self.opened.is_over(session.epoch);
        let response = response?;
        let status = response.status();
        if status.is_success() && reply::kind(response.headers()) == Kind::Events {
            return self.hear(Events::new(&self.http, response), cursor).await.map(|()| true);
        }
        // 405 and 404 are the usual ways to say so; a lost session is noticed by the next request.
        let busy = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        if busy { Err(Refusal::read(response).await.error(&self.http)) } else { Ok(false) }
    }

    async fn hear(&self, mut events: Events, cursor: &mut Cursor) -> Result<(), TransportError> {
        let opened = Instant::now();
        loop {
            let next = events.next().await;
            if opened.elapsed() > STEADY {
                cursor.backoff.fruitful();
            }
            let decoder = events.decoder();
            cursor.retry = decoder.retry().or(cursor.retry);
            if let Some(id) = decoder.last_id().filter(|id| cursor.last_id.as_deref() != Some(*id)) {
                cursor.last_id = Some(id.to_owned());
            }
            match next {
                Ok(Some(Decoded::Event(event))) => {
                    cursor.backoff.fruitful();
                    if matches!(event.kind.as_str(), "" | "message") {
                        self.inbound.message(event.data, None);
                    }
                }
                Ok(Some(Decoded::Oversize)) => {
                    // No call has to fail for it: answers do not come here.
                    let dropped = TransportError::Oversize { limit: self.http.limit };
                    note(&self.output, &format!("the notification stream: {dropped}"));
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.http.fault(error)),
            }
        }
    }
}
