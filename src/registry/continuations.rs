//! Answers that were too long for `max_answer_bytes`: the client has the beginning, the whole is kept for a while.
//!
//! A continuation is found by 128 random bits, and where the client can be told from others, by nobody else.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::json;

use super::{Delivery, Registry, Route};
use crate::{
    config::Limits,
    provider::Client,
    wire::{self, Frame, Span, hex, shallow},
};

/// Kept at most, however short they are.
const MOST: usize = 1000;

#[derive(Default)]
pub struct Continuations(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    kept: HashMap<String, Kept>,
    /// Oldest first. Those that were deleted meanwhile may stand in it.
    order: VecDeque<String>,
    bytes: usize,
}

struct Kept {
    /// [`Client::tag`]; 0: whoever knows the id.
    tag: u64,
    format: &'static str,
    data: String,
    until: Instant,
}

/// A part of a kept answer.
pub struct Part {
    /// `text`: what its content says; `json`: the raw result.
    pub format: &'static str,
    /// Where it begins and ends, in bytes.
    pub offset: usize,
    pub end: usize,
    pub total: usize,
    pub data: String,
}

impl Continuations {
    /// `None`: it has no room, or the system gave no random bytes.
    fn keep(&self, data: String, format: &'static str, tag: u64, limits: &Limits) -> Option<String> {
        if data.len() > limits.continuation_bytes {
            return None;
        }
        let mut key = [0; 16];
        getrandom::fill(&mut key).ok()?;
        let (key, until) = (hex::encode(key), Instant::now() + limits.continuation_ttl);
        let mut inner = self.inner();
        inner.drop_old(limits.continuation_bytes - data.len());
        inner.bytes += data.len();
        inner.order.push_back(key.clone());
        inner.kept.insert(key.clone(), Kept { tag, format, data, until });
        Some(key)
    }

    /// At most `limit` bytes from `offset` on, cut between characters. `None`: there is none for this client.
    pub fn part(&self, key: &str, client: &dyn Client, offset: usize, limit: usize) -> Option<Part> {
        let inner = self.inner();
        let kept = inner.kept.get(key).filter(|kept| kept.is_for(client))?;
        let total = kept.data.len();
        let offset = kept.data.floor_char_boundary(offset);
        // A limit below one character must not stand still.
        let end = kept.data.ceil_char_boundary(offset.saturating_add(limit).min(total));
        let data = kept.data.get(offset..end).unwrap_or_default().to_owned();
        Some(Part { format: kept.format, offset, end, total, data })
    }

    /// Whether there was one of this client.
    pub fn delete(&self, key: &str, client: &dyn Client) -> bool {
        let mut inner = self.inner();
        let known = inner.kept.get(key).is_some_and(|kept| kept.is_for(client));
        if known {
            inner.forget(key);
        }
        known
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What is over, and of the rest the oldest, until there are no more than `room` bytes.
    fn drop_old(&mut self, room: usize) {
        let now = Instant::now();
        while let Some(oldest) = self.order.front() {
            let stays = self.kept.get(oldest).is_some_and(|kept| kept.until > now);
            if stays && self.bytes <= room && self.order.len() < MOST {
                return;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.forget(&oldest);
            }
        }
    }

    fn forget(&mut self, key: &str) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.data.len();
        }
    }
}

impl Kept {
    fn is_for(&self, client: &dyn Client) -> bool {
        self.until > Instant::now() && (self.tag == 0 || self.tag == client.tag())
    }
}

impl Registry {
    /// The answer to a tool call, no longer than `max_answer_bytes` allows; what could not be kept is given whole.
    pub(super) fn cut(&self, answer: Frame, delivery: &Delivery<'_>, route: &Route) -> Frame {
        let Some(most) = route.provider.spec.max_answer else { return answer };
        let too_long = answer.result().filter(|result| result.range().len() > most);
        match too_long.filter(|_| delivery.frame.method() == "tools/call") {
            Some(result) => self.beginning(&answer, result, most, &*delivery.caller.client).unwrap_or(answer),
            None => answer,
        }
    }

    fn beginning(&self, answer: &Frame, result: Span, most: usize, client: &dyn Client) -> Option<Frame> {
        let text = answer.bytes();
        let field = |key| shallow::get(text, result, key).ok().flatten();
        let blocks = shallow::elements(text, field("content")?)?;
        if field("structuredContent").is_some() {
            // Half of it would not fit the tool's outputSchema, and without it clients refuse the answer.
            return None;
        }
        let (data, format) = match said(text, &blocks) {
            Some(said) => (said, "text"),
            None => (String::from_utf8(answer.text(result).to_vec()).ok()?, "json"),
        };
        let is_error = field("isError").is_some_and(|place| answer.text(place) == b"true");
        let limits = &self.snapshot().config.server.limits;
        let total = data.len();
        let preview = data.get(..data.floor_char_boundary(most / 2)).unwrap_or_default().to_owned();
        let end = preview.len();
        let key = self.continuations.keep(data, format, client.tag(), limits)?;
        let note = format!(
            "[hangar: these are the first {end} of {total} bytes. Read on with hangar_fetch_continuation \
             {{\"continuation_id\": \"{key}\", \"offset\": {end}}}, within {} s.]",
            limits.continuation_ttl.as_secs()
        );
        let cut = json!({
            "content": [{"type": "text", "text": preview}, {"type": "text", "text": note}],
            "isError": is_error,
            "_meta": {"hangar/continuation": {
                "continuation_id": key,
                "format": format,
                "offset": end,
                "total_bytes": total,
                "expires_in_s": limits.continuation_ttl.as_secs_f64(),
            }},
        });
        Frame::parse(wire::result(answer.id(), &wire::to_json(&cut))).ok()
    }
}

/// The text of an answer that is nothing but text.
fn said(text: &[u8], blocks: &[Span]) -> Option<String> {
    let mut all = String::new();
    for (number, block) in blocks.iter().enumerate() {
        let string = |key| shallow::string(text, shallow::get(text, *block, key).ok().flatten()?);
        if string("type")? != "text" {
            return None;
        }
        if number > 0 {
            all.push('\n');
        }
        all.push_str(&string("text")?);
    }
    Some(all)
}
