//! One request on its way, and how long its answer is waited for.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::Upstream;
use crate::{
    provider::CallError,
    transport::TransportError,
    wire::{Frame, Span, shallow},
};

/// The key of how long a call may be silent.
pub(super) const CALL_TIMEOUT: &str = "call_timeout_s";

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Anew with each report of progress.
    pub within: Duration,
    /// In all.
    pub most: Duration,
    /// After so much silence a client that asked for progress is told that the call goes on; zero: never.
    pub keep_alive: Duration,
}

/// How far a call says it is. Zero before it has said so.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    progress: f64,
    total: Option<f64>,
}

impl Reached {
    /// `params`: of a `notifications/progress`.
    pub(super) fn read(frame: &Frame, params: Span) -> Self {
        let number = |key| {
            let place = shallow::get(frame.bytes(), params, key).ok().flatten()?;
            std::str::from_utf8(frame.text(place)).ok()?.parse::<f64>().ok().filter(|number| number.is_finite())
        };
        Self { progress: number("progress").unwrap_or_default(), total: number("total") }
    }
}

/// A request that was sent. Dropping it tells the upstream that nobody waits any more.
pub struct InFlight {
    pub(super) id: u64,
    pub(super) upstream: Arc<Upstream>,
    pub(super) reply: oneshot::Receiver<Result<Frame, CallError>>,
    pub(super) done: bool,
    pub(super) quiet: bool,
    /// Over HTTP dropping the exchange cancels it.
    pub(super) headed: bool,
    /// Its client has asked for that.
    pub(super) tells_progress: bool,
}

impl InFlight {
    /// Given up, it is not cancelled: the upstream may not know the request, or that it can be.
    pub(in crate::provider) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Our number for it.
    pub(in crate::provider) fn id(&self) -> u64 {
        self.id
    }

    /// The answer, however long it takes.
    pub(in crate::provider) async fn ended(&mut self) -> Result<Frame, CallError> {
        let answer = (&mut self.reply).await;
        self.done = true;
        answer.unwrap_or_else(|_| Err(self.upstream.transport_error(TransportError::Closed)))
    }

    /// The answer: a response frame with *our* id. Gives up after `within`, which cancels the call upstream.
    pub async fn answer(self, within: Duration) -> Result<Frame, CallError> {
        self.answer_with_progress(Patience { within, most: within, keep_alive: Duration::ZERO }).await
    }

    /// As [`InFlight::answer`]; when it tells of its progress it has `within` anew, up to `most` in all.
    pub async fn answer_with_progress(mut self, patience: Patience) -> Result<Frame, CallError> {
        let Patience { within, most, keep_alive } = patience;
        let began = Instant::now();
        let (mut deadline, last) = (began + within, began + most);
        let mut beat = (self.tells_progress && !keep_alive.is_zero()).then(|| began + keep_alive);
        let mut beats = 0;
        let answer = loop {
            let wake = beat.map_or(deadline, |beat| beat.min(deadline));
            match tokio::time::timeout_at(wake, &mut self.reply).await {
                Ok(Ok(answer)) => break answer,
                // The sender lives in the table until an answer is sent, so this is the connection's end.
                Ok(Err(_)) => break Err(self.upstream.transport_error(TransportError::Closed)),
                Err(_) => {}
            }
            let heard = self.upstream.table().pending.get(&self.id).and_then(|call| call.heard);
            if wake < deadline {
                let due = heard.map_or(wake, |heard| heard + keep_alive);
                if due <= wake {
                    beats += 1;
                    self.tell_it_goes_on(beats, began.elapsed());
                }
                beat = Some(if due <= wake { wake + keep_alive } else { due });
                continue;
            }
            match heard.map(|heard| (heard + within).min(last)).filter(|next| *next > deadline) {
                Some(next) => deadline = next,
                None => break Err(self.overdue(within, most, deadline == last)),
            }
        };
        self.done = true;
        answer
    }

    /// Told to the client in place of an upstream that is silent: a client may give up what says nothing for a minute.
    fn tell_it_goes_on(&self, beats: u32, since: Duration) {
        let (relay, token, reached) = {
            let table = self.upstream.table();
            let call = table.pending.get(&self.id);
            let parts = call.and_then(|call| Some((call.caller.as_ref()?, call.progress.clone()?, call.reached)));
            let Some((caller, token, reached)) = parts else { return };
            (caller.relay.clone(), token, reached)
        };
        let text = format!("provider \"{}\" is still at it, after {} s", self.upstream.provider, since.as_secs());
        // It has to grow, and must not get ahead of what the upstream will say.
        let step = (reached.progress.abs() * 1e-9).max(1e-6);
        let mut numbers = format!(",\"progress\":{}", reached.progress + f64::from(beats) * step);
        if let Some(total) = reached.total {
            numbers += &format!(",\"total\":{total}");
        }
        let head =
            b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":".as_slice();
        let text = shallow::quote(&text);
        let message = [head, &token, numbers.as_bytes(), b",\"message\":", &text, b"}}"].concat();
        // Who does not read it has no use for it.
        relay.send(message.into());
    }

    fn overdue(&mut self, within: Duration, most: Duration, at_last: bool) -> CallError {
        let provider = self.upstream.provider.clone();
        if at_last && most > within {
            self.cancel("the gateway's max_call_time_s is over");
            return CallError::Timeout { provider, after: most, limit: "max_call_time_s" };
        }
        self.cancel("the gateway's call_timeout_s is over");
        CallError::Timeout { provider, after: within, limit: CALL_TIMEOUT }
    }

    fn cancel(&mut self, reason: &str) {
        self.done = true;
        if self.upstream.take_pending(self.id).is_none() {
            return;
        }
        if let Some(link) = self.upstream.link.get() {
            link.abandon(self.id);
            if self.quiet || (self.headed && link.wants_heads()) {
                return;
            }
        }
        let params = format!(r#"{{"requestId":{},"reason":{}}}"#, self.id, serde_json::Value::from(reason));
        self.upstream.notify("notifications/cancelled", params.as_bytes());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.done {
            self.cancel("the client does not wait for the answer any more");
        }
    }
}
