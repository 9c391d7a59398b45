//! What goes on happening: `/api/events` and a provider's log, as a list or as a stream.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{extract::State, http::HeaderMap, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Interval,
};

use super::{
    Front, api,
    object::bad,
    parts::{Search, Step},
    refusal::Refusal,
    stream::{COMMENT, beat, respond},
};
use crate::{provider::Provider, registry::Registry, server::Phase, telemetry::Recorded};

/// Events and log lines listed when nothing else is asked for.
const USUAL: usize = 100;
/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// `?limit=N`, `?stream=1`, `?follow=1`. Taken as text, so that a bad one is named.
#[derive(Deserialize)]
pub(super) struct Asked {
    limit: Option<String>,
    stream: Option<String>,
    follow: Option<String>,
}

impl Asked {
    fn limit(&self) -> Result<Option<usize>, Refusal> {
        let parse = |text: &String| text.parse().map_err(|_| bad("\"limit\" must be a whole number"));
        self.limit.as_ref().map(parse).transpose()
    }
}

fn is_set(flag: &Option<String>) -> bool {
    flag.as_ref().is_some_and(|value| !matches!(&**value, "0" | "false"))
}

/// The last events, oldest first; as a stream, `Last-Event-ID` or `limit` says how many of them come first.
pub(super) async fn events(
    State(front): State<Arc<Front>>,
    Search(asked): Search<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let history = &front.state.telemetry.history;
    let limit = asked.limit()?;
    if !is_set(&asked.stream) {
        let events: Vec<_> = history.last(limit.unwrap_or(USUAL)).into_iter().map(|event| event.json).collect();
        return Ok(api::ok(&json!({"events": events, "count": events.len()})));
    }
    // Followed before it is read, so that nothing falls between; what comes by both ways is left out once.
    let live = history.follow();
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let mut past = match (limit, seen) {
        (None, None) => Vec::new(),
        (limit, _) => history.last(limit.unwrap_or(usize::MAX)),
    };
    past.retain(|event| seen.is_none_or(|seen| event.number > seen));
    let newest = past.last().map_or(seen.unwrap_or(0), |event| event.number);
    let past: Vec<Bytes> = past.iter().map(recorded).collect();
    let live = stream::unfold(Following { live, newest, beat: beat() }, Following::next);
    Ok(until_stop(&front, stream::iter(past).chain(live)))
}

struct Following {
    live: Receiver<Recorded>,
    newest: u64,
    beat: Interval,
}

impl Following {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let piece = tokio::select! {
                event = self.live.recv() => match event {
                    Ok(event) if event.number <= self.newest => continue,
                    Ok(event) => recorded(&event),
                    Err(RecvError::Lagged(missed)) => format!(": {missed} events missed\n\n").into(),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.beat.tick() => COMMENT,
            };
            return Some((piece, self));
        }
    }
}

fn recorded(event: &Recorded) -> Bytes {
    format!("id: {}\ndata: {}\n\n", event.number, event.json).into()
}

/// The last lines; `?follow=1` goes on, across restarts and reloads, until the provider is gone.
pub(super) async fn logs(
    State(front): State<Arc<Front>>,
    Step(name): Step,
    Search(asked): Search<Asked>,
) -> Result<Response, Refusal> {
    let provider = api::find(&front, &name)?;
    let limit = asked.limit()?.unwrap_or(USUAL);
    if !is_set(&asked.follow) {
        let lines = provider.output().tail(limit);
        return Ok(api::ok(&json!({"provider": provider.name, "lines": lines})));
    }
    let (kept, seen) = provider.output().since(0);
    let past = lines(kept.get(kept.len().saturating_sub(limit)..).unwrap_or_default());
    let registry = front.state.gateway.registry.clone();
    let log = Log { registry, name, followed: Arc::downgrade(&provider), seen, beat: beat() };
    Ok(until_stop(&front, stream::iter([past]).chain(stream::unfold(log, Log::next))))
}

struct Log {
    registry: Arc<Registry>,
    name: String,
    /// A reload may have put another generation in its place.
    followed: Weak<Provider>,
    /// Lines of it so far.
    seen: u64,
    beat: Interval,
}

impl Log {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            tokio::select! {
                _ = self.beat.tick() => return Some((COMMENT, self)),
                () = tokio::time::sleep(LOOK) => {}
            }
            let provider = self.registry.provider(&self.name)?;
            if !Weak::ptr_eq(&self.followed, &Arc::downgrade(&provider)) {
                self.followed = Arc::downgrade(&provider);
                self.seen = 0;
            }
            let (fresh, total) = provider.output().since(self.seen);
            self.seen = total;
            if !fresh.is_empty() {
                return Some((lines(&fresh), self));
            }
        }
    }
}

/// Each line as an event; as JSON, for it may hold anything.
fn lines(lines: &[String]) -> Bytes {
    lines.iter().map(|line| format!("data: {}\n\n", json!({"line": line}))).collect::<String>().into()
}

fn until_stop(front: &Front, pieces: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut phase = front.phase.clone();
    let stopped = Box::pin(async move { drop(phase.wait_for(|now| *now >= Phase::Leaving).await) });
    respond(vec![COMMENT], pieces.map(|piece| vec![piece]).take_until(stopped))
}
