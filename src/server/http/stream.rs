//! Server-sent events: the messages of one call and its answer, or a session's general messages.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Front;
use crate::{
    server::{Phase, SessionKey, Sessions},
    wire,
};

/// Between two signs of life on a stream with nothing to say; proxies close what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
pub(super) const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

const START: &[u8] = b"event: message\ndata: ";
const END: &[u8] = b"\n\n";
/// Copying a message of more bytes costs more than two writes beside it.
const LARGE: usize = 64 * 1024;

/// What is written one after the other.
pub(super) type Pieces = Vec<Bytes>;

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
    pub fn response(self, first: Pieces) -> Response {
        let rest = stream::unfold(Some(self), |running| async {
            let mut running = running?;
            let (event, over) = running.next().await;
            Some((event, (!over).then_some(running)))
        });
        respond(first, rest)
    }

    /// The next piece, and whether it is the last.
    async fn next(&mut self) -> (Pieces, bool) {
        tokio::select! {
            biased;
            Some(message) = self.messages.recv() => (event(message), false),
            answer = &mut self.answer => {
                // A panic in a call ends its stream without an answer.
                (last_events(&mut self.messages, answer.ok().flatten().map(|reply| reply.body)), true)
            }
            _ = self.beat.tick() => (comment(), false),
        }
    }
}

/// What was relayed while the answer came, then the answer.
pub(super) fn last_events(messages: &mut mpsc::Receiver<Bytes>, answer: Option<Bytes>) -> Pieces {
    let all: Pieces = std::iter::from_fn(|| messages.try_recv().ok()).chain(answer).flat_map(event).collect();
    // Small ones go out together.
    match all.len() > 1 && all.iter().map(Bytes::len).sum::<usize>() <= LARGE {
        true => vec![all.concat().into()],
        false => all,
    }
}

/// A stream that is complete already.
pub(super) fn finished(events: Pieces) -> Response {
    respond(events, stream::empty())
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
            _ = beat.tick() => comment(),
        };
        Some((piece, (messages, over, front, presence, beat)))
    });
    respond(comment(), events)
}

/// One message as an event; its text must be one line. A large one is not copied for it.
pub(super) fn event(message: Bytes) -> Pieces {
    let line = wire::one_line(message.clone());
    match line.len() <= LARGE {
        true => vec![[START, &line, END].concat().into()],
        // One that had to be copied holds the other one, which is counted.
        false if line.as_ptr() != message.as_ptr() => {
            vec![Bytes::from_static(START), Bytes::from_owner(Copied { line, _of: message }), Bytes::from_static(END)]
        }
        false => vec![Bytes::from_static(START), line, Bytes::from_static(END)],
    }
}

struct Copied {
    line: Bytes,
    _of: Bytes,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.line
    }
}

/// A response that streams `pieces`, each a whole number of events or comments.
pub(super) fn respond(first: Pieces, pieces: impl Stream<Item = Pieces> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let pieces = stream::iter([first]).chain(pieces).flat_map(stream::iter).map(Ok::<_, Infallible>);
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
pub(super) fn comment() -> Pieces {
    vec![COMMENT]
}
