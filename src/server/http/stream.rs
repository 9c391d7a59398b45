//! Server-sent events: the messages of one call and its answer, or a session's general messages.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Front;
use crate::{
    server::{Phase, Room, SessionKey, Sessions},
    wire,
};

/// Between two signs of life on a stream with nothing to say; proxies close what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const EVENT: &[u8] = b"event: message\ndata: ";
const EVENT_END: &[u8] = b"\n\n";
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// A complete answer, and the status that it has when it comes alone.
pub(super) struct Reply {
    pub body: Bytes,
    pub status: StatusCode,
}

impl From<Bytes> for Reply {
    fn from(body: Bytes) -> Self {
        Self { body, status: StatusCode::OK }
    }
}

/// An answer on its way: a request's, or a batch's. `None`: there is none.
pub(super) type Answer = Pin<Box<dyn Future<Output = Option<Reply>> + Send>>;

/// Keeps a session young that a long request or stream belongs to: its silence is counted from the end of it.
pub(super) struct Presence {
    pub sessions: Arc<Sessions>,
    pub key: SessionKey,
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Found is seen. Gone already: as well.
        let _ = self.sessions.find(&self.key);
    }
}

/// The stream of one call that is still running.
pub(super) struct CallStream {
    /// A task of its own: the call's time runs also while the client does not read. Dropping it cancels the call.
    answer: AbortOnDropHandle<Option<Reply>>,
    messages: mpsc::Receiver<Bytes>,
    beat: Interval,
    _presence: Option<Presence>,
}

impl CallStream {
    pub fn new(answer: Answer, messages: mpsc::Receiver<Bytes>, presence: Option<Presence>) -> Self {
        let answer = AbortOnDropHandle::new(tokio::spawn(answer));
        Self { answer, messages, beat: beat(), _presence: presence }
    }

    /// `first` goes ahead of everything else.
    pub fn response(self, first: Bytes) -> Response {
        let rest = stream::unfold(Some(self), |running| async {
            let mut running = running?;
            let (events, over) = running.next().await;
            Some((stream::iter(events), (!over).then_some(running)))
        });
        respond(first, rest.flatten())
    }

    /// The next pieces, and whether they are the last.
    async fn next(&mut self) -> (Vec<Bytes>, bool) {
        tokio::select! {
            biased;
            Some(message) = self.messages.recv() => (vec![event(message)], false),
            answer = &mut self.answer => {
                // A panic in a call ends its stream without an answer.
                (last_events(&mut self.messages, answer.ok().flatten().map(|reply| reply.body)), true)
            }
            _ = self.beat.tick() => (vec![COMMENT], false),
        }
    }
}

/// What was relayed while the answer came, then the answer: as one piece, but for a large answer, which stays what is counted
/// (see `server::room`) and is copied nowhere.
pub(super) fn last_events(messages: &mut mpsc::Receiver<Bytes>, answer: Option<Bytes>) -> Vec<Bytes> {
    let relayed = std::iter::from_fn(|| messages.try_recv().ok()).map(event);
    match answer {
        Some(answer) if !Room::is_small(answer.len()) => {
            let head: Vec<Bytes> = relayed.chain([Bytes::from_static(EVENT)]).collect();
            vec![head.concat().into(), wire::one_line(answer), Bytes::from_static(EVENT_END)]
        }
        answer => vec![relayed.chain(answer.map(event)).collect::<Vec<_>>().concat().into()],
    }
}

/// A stream that is complete already.
pub(super) fn finished(events: Vec<Bytes>) -> Response {
    let mut events = events.into_iter();
    respond(events.next().unwrap_or_default(), stream::iter(events))
}

/// A session's general messages, until it or the gateway ends, or another stream takes its place.
pub(super) fn general(
    messages: mpsc::Receiver<Bytes>,
    over: CancellationToken,
    front: Arc<Front>,
    presence: Presence,
) -> Response {
    let state = (messages, over, front, presence, beat());
    let events = stream::unfold(state, |(mut messages, over, front, presence, mut beat)| async move {
        let piece = tokio::select! {
            biased;
            // Ahead of the ends: what was said last is still sent.
            message = messages.recv() => event(message?),
            () = front.reached(Phase::Leaving) => return None,
            () = over.cancelled() => return None,
            _ = beat.tick() => COMMENT,
        };
        Some((piece, (messages, over, front, presence, beat)))
    });
    respond(COMMENT, events)
}

/// One message as an event; its text must be one line.
pub(super) fn event(message: Bytes) -> Bytes {
    [EVENT, &wire::one_line(message), EVENT_END].concat().into()
}

/// A response that streams `pieces`, together a whole number of events or comments.
pub(super) fn respond(first: Bytes, pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let pieces = stream::iter([first]).chain(pieces).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The first beat comes after one pause.
pub(super) fn beat() -> Interval {
    let mut beat = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// What a client gets before anything has happened.
pub(super) fn comment() -> Bytes {
    COMMENT
}
