//! What a new gateway is told of a session that began with another one, and what its answers mean.

use std::collections::HashMap;

use bytes::Bytes;

use super::memory::{Memory, Out, string};
use crate::wire::{self, Frame, shallow};

/// Our own requests to the gateway that are not answered yet; the client never sees the answers.
#[derive(Default)]
pub(super) struct Replay {
    waiting: HashMap<Bytes, What>,
    /// Something to tell the user.
    pub remarks: Vec<String>,
}

enum What {
    Greeting,
    Level,
    Subscription(String),
}

/// The lists that a gateway may change.
const LISTS: [&str; 3] = ["tools", "prompts", "resources"];

impl Memory {
    /// Everything that a new gateway has to be sent before what the client says next: the handshake, the log level, the
    /// subscriptions, then the requests that still wait. A gateway handles the handshake before the next line.
    pub(super) fn again(&mut self) -> Vec<Out> {
        let mut waiting = self.waiting();
        let mut out = Vec::new();
        if self.greeting_waits() {
            // The client has no answer yet: it goes first, as the client wrote it.
            let own = self.greeting.as_ref().map(|greeting| Bytes::copy_from_slice(greeting.id()));
            let (first, rest) = waiting.into_iter().partition(|request| request.id == own);
            (out, waiting) = (first, rest);
        } else if let (Some(greeting), Some(_)) = (self.greeting.clone(), &self.protocol_version) {
            let id = self.own_id(What::Greeting);
            out.push(Out { line: greeting.with_id(&id), id: None });
        }
        out.extend(self.initialized.clone().map(|line| Out { line, id: None }));
        if let Some(level) = self.level.clone() {
            out.push(self.own_request(What::Level, "logging/setLevel", &level));
        }
        for uri in self.subscriptions.clone() {
            let params = [b"{\"uri\":", shallow::quote(&uri).as_slice(), b"}"].concat();
            out.push(self.own_request(What::Subscription(uri), "resources/subscribe", &params));
        }
        out.extend(waiting);
        out
    }

    fn own_request(&mut self, what: What, method: &str, params: &[u8]) -> Out {
        let id = self.own_id(what);
        Out { line: wire::request(&id, method, params), id: None }
    }

    /// No client would take it for one of its own.
    fn own_id(&mut self, what: What) -> Bytes {
        let number = self.replay.waiting.len();
        let id = Bytes::from(format!("\"hangar-connect/{}/{number}\"", self.epoch));
        self.replay.waiting.insert(id.clone(), what);
        id
    }

    /// `None`: it answers nothing of ours. Else what the client is to be told instead.
    pub(super) fn replayed(&mut self, answer: &Frame) -> Option<Vec<Bytes>> {
        // The number of an id is the number of those before it: none is removed before all are answered.
        let what = self.replay.waiting.get(answer.id())?;
        if let Some(error) = answer.error() {
            let asked = match what {
                What::Greeting => "did not take the handshake again",
                What::Level => "did not take the log level again",
                What::Subscription(uri) => &format!("did not take the subscription to {uri} again"),
            };
            let message = string(answer, error, &["message"]).unwrap_or_default();
            self.replay.remarks.push(format!("the new gateway {asked}: {message}"));
            return Some(Vec::new());
        }
        match what {
            What::Greeting => Some(self.greeted(answer)),
            What::Level | What::Subscription(_) => Some(Vec::new()),
        }
    }

    /// Anything may be different in the new gateway: the client is to fetch its lists again.
    fn greeted(&mut self, answer: &Frame) -> Vec<Bytes> {
        let Some(result) = answer.result() else { return Vec::new() };
        let version = string(answer, result, &["protocolVersion"]);
        if let (Some(before), Some(now)) = (&self.protocol_version, version)
            && *before != now
        {
            let remark = format!("the new gateway speaks MCP {now}, the client was told {before}");
            self.replay.remarks.push(remark);
        }
        if self.initialized.is_none() {
            return Vec::new();
        }
        let declared = |list: &&&str| {
            let path = ["capabilities", **list, "listChanged"];
            let place = shallow::path(answer.bytes(), result, &path).ok().flatten();
            place.is_some_and(|place| answer.text(place) == b"true")
        };
        let changed = |list: &&str| wire::notification(&format!("notifications/{list}/list_changed"), b"");
        LISTS.iter().filter(declared).map(changed).collect()
    }
}
