//! What a client has said and is waiting for: enough to tell a new gateway, and to owe the client no answer.
//!
//! Pure. Lines go in on both sides, lines to pass on come out. After the loss of a gateway nothing is ever sent twice but
//! what only reads or sets the same thing again; everything else is answered with one error.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;

use super::replay::Replay;
use crate::wire::{self, Frame, FrameKind, Span, code, shallow};

/// Requests of the client that may wait for their answers; the next line is read when one is done.
pub(super) const MAX_IN_FLIGHT: usize = 4096;
/// Gateways that one request may be sent to. It may be what ended the first one.
const MAX_TRIES: u8 = 2;
/// Longest request kept after it was sent, in bytes.
const MAX_KEPT: usize = 64 * 1024;
/// Requests of the gateway that are kept in mind.
const MAX_ASKS: usize = 4096;
/// Subscriptions kept in mind: as many as a gateway takes.
const MAX_SUBSCRIPTIONS: usize = 1000;
/// Longer than any stop takes: a gateway that is there after this goes on, and its refusal is the answer. It was a restart in
/// place, or an upstream's own word.
const HELD: Duration = Duration::from_secs(50);

/// A modern client hears of changes for as long as this is not answered: with every gateway anew.
const LISTEN: &str = "subscriptions/listen";
/// Requests that a new gateway may be sent although the old one may have carried them out.
const AGAIN: [&str; 14] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    LISTEN,
];

#[derive(Default)]
pub(super) struct Memory {
    /// How many gateways were lost.
    pub(super) epoch: u64,
    /// The client's `initialize`.
    pub(super) greeting: Option<Frame>,
    /// The revision that it was told; `None` until then.
    pub(super) protocol_version: Option<String>,
    pub(super) initialized: Option<Bytes>,
    /// Raw parameters of the last `logging/setLevel`.
    pub(super) level: Option<Bytes>,
    pub(super) subscriptions: BTreeSet<String>,
    flights: HashMap<Bytes, Flight>,
    /// Refusals of a gateway that stops, kept back until it has; oldest first.
    held: VecDeque<(Instant, Bytes)>,
    begun: u64,
    /// Requests of the gateway, by the ids that the client knows.
    asks: BTreeSet<Bytes>,
    pub(super) replay: Replay,
}

/// One line for the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Out {
    pub line: Bytes,
    /// Of a request: told with [`Memory::sent`] when its first byte has gone.
    pub id: Option<Bytes>,
}

impl AsRef<[u8]> for Out {
    fn as_ref(&self) -> &[u8] {
        &self.line
    }
}

struct Flight {
    /// Its place among the others.
    number: u64,
    method: Box<str>,
    /// `None`: part of a batch, or too long to keep.
    line: Option<Bytes>,
    effect: Option<Effect>,
    /// Gateways that have it, or had it.
    tries: u8,
    /// A gateway may have carried it out.
    open: bool,
    refusal: Option<Bytes>,
}

/// What is to be kept in mind once the gateway has agreed.
enum Effect {
    Level(Bytes),
    Subscribe(String),
    Unsubscribe(String),
}

impl Memory {
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// A line of the client; what the gateway is to be given.
    pub(super) fn client_said(&mut self, line: Bytes) -> Option<Out> {
        if line.first() == Some(&b'[') {
            self.batch(&line);
            return Some(Out { line, id: None });
        }
        // What is no message the gateway answers best.
        let Ok(frame) = Frame::parse(line.clone()) else { return Some(Out { line, id: None }) };
        match frame.kind() {
            FrameKind::Request => Some(self.request(&frame)),
            FrameKind::Response => self.answer_of_client(&frame).map(|line| Out { line, id: None }),
            FrameKind::Notification => {
                match frame.method() {
                    "notifications/initialized" => self.initialized = Some(copy(&line)),
                    // No answer will come.
                    "notifications/cancelled" => {
                        drop(param(&frame, "requestId").and_then(|id| self.flights.remove(id)))
                    }
                    _ => {}
                }
                Some(Out { line, id: None })
            }
        }
    }

    fn request(&mut self, frame: &Frame) -> Out {
        let line = frame.bytes().clone();
        if frame.method() == "initialize" && self.protocol_version.is_none() {
            self.greeting = Frame::parse(copy(&line)).ok();
        }
        let uri = || text(frame, "uri");
        let effect = match frame.method() {
            "logging/setLevel" => frame.params().map(|params| Effect::Level(copy(frame.text(params)))),
            "resources/subscribe" => uri().map(Effect::Subscribe),
            "resources/unsubscribe" => uri().map(Effect::Unsubscribe),
            _ => None,
        };
        let id = self.begin(frame, Some(line.clone()), effect);
        Out { line, id: Some(id) }
    }

    fn begin(&mut self, frame: &Frame, line: Option<Bytes>, effect: Option<Effect>) -> Bytes {
        let id = copy(frame.id());
        self.begun += 1;
        let flight = Flight {
            number: self.begun,
            method: frame.method().into(),
            line,
            effect,
            tries: 0,
            open: false,
            refusal: None,
        };
        // An id that is used twice at a time gets an error from the gateway; the first request keeps its place.
        self.flights.entry(id.clone()).or_insert(flight);
        id
    }

    /// Revision 2025-03-26: each request of it is owed an answer; none is sent again.
    fn batch(&mut self, line: &Bytes) {
        for frame in frames(line).filter(|frame| frame.kind() == FrameKind::Request) {
            self.begin(&frame, None, None);
        }
    }

    /// Ids of the gateway's requests are its own; those of a later gateway bear its number, so that an answer to an earlier
    /// one's is known for what it is.
    fn answer_of_client(&mut self, frame: &Frame) -> Option<Bytes> {
        let known = self.asks.remove(frame.id());
        if self.epoch == 0 {
            return Some(frame.bytes().clone());
        }
        let own = known.then(|| self.without_epoch(frame.id())).flatten()?;
        Some(frame.with_id(&own))
    }

    /// The first byte of this request has gone to the gateway.
    pub(super) fn sent(&mut self, id: &Bytes) {
        if let Some(flight) = self.flights.get_mut(id) {
            flight.tries += 1;
            flight.open = true;
            flight.line = flight.line.take().filter(|line| line.len() <= MAX_KEPT).map(|line| copy(&line));
        }
    }

    /// A line of the gateway; what the client is to be given.
    pub(super) fn gateway_said(&mut self, line: Bytes) -> Vec<Bytes> {
        if line.first() == Some(&b'[') {
            frames(&line).for_each(|frame| self.landed(&frame));
            return vec![line];
        }
        let Ok(frame) = Frame::parse(line.clone()) else { return vec![line] };
        match frame.kind() {
            FrameKind::Request => vec![self.ask(&frame)],
            FrameKind::Notification if frame.method() == "notifications/cancelled" => vec![self.ask_cancelled(&frame)],
            FrameKind::Notification => vec![line],
            FrameKind::Response => {
                if let Some(news) = self.replayed(&frame) {
                    return news;
                }
                if self.too_late(&frame) {
                    return Vec::new();
                }
                self.landed(&frame);
                vec![line]
            }
        }
    }

    /// A gateway that stops has refused this: nothing has been done, and the next one may be asked.
    fn too_late(&mut self, frame: &Frame) -> bool {
        let reason = || string(frame, frame.error()?, &["data", "error"]);
        if reason().as_deref() != Some("shutting_down") {
            return false;
        }
        let flight = self.flights.get_mut(frame.id()).filter(|flight| flight.may_go_on());
        let Some(flight) = flight else { return false };
        flight.open = false;
        flight.refusal = Some(copy(frame.bytes()));
        self.held.push_back((Instant::now() + HELD, copy(frame.id())));
        true
    }

    /// When [`Memory::overdue`] is to be asked.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.held.front().map(|(until, _)| *until)
    }

    /// Refusals that were kept back for a gateway that did not stop.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Bytes> {
        let mut told = Vec::new();
        while let Some((_, id)) = self.held.pop_front_if(|(until, _)| *until <= now) {
            if let Some(refusal) = self.flights.get_mut(&id).and_then(|flight| flight.refusal.take()) {
                self.flights.remove(&id);
                told.push(refusal);
            }
        }
        told
    }

    fn landed(&mut self, frame: &Frame) {
        let Some(flight) = self.flights.remove(frame.id()) else { return };
        let Some(result) = frame.result() else { return };
        if flight.method.as_ref() == "initialize" && self.protocol_version.is_none() {
            self.protocol_version = string(frame, result, &["protocolVersion"]);
        }
        match flight.effect {
            Some(Effect::Level(params)) => self.level = Some(params),
            Some(Effect::Subscribe(uri)) if self.subscriptions.len() < MAX_SUBSCRIPTIONS => {
                self.subscriptions.insert(uri);
            }
            Some(Effect::Unsubscribe(uri)) => drop(self.subscriptions.remove(&uri)),
            _ => {}
        }
    }

    fn ask(&mut self, frame: &Frame) -> Bytes {
        let id = self.with_epoch(frame.id());
        if self.asks.len() < MAX_ASKS {
            self.asks.insert(id.clone());
        }
        frame.with_id(&id)
    }

    fn ask_cancelled(&mut self, frame: &Frame) -> Bytes {
        let place = place(frame, "requestId");
        let Some(place) = place else { return frame.bytes().clone() };
        let id = self.with_epoch(frame.text(place));
        if !self.asks.remove(&id) {
            return frame.bytes().clone();
        }
        wire::Splice::new().replace(place, &*id).apply(frame.bytes()).into()
    }

    fn with_epoch(&self, id: &[u8]) -> Bytes {
        match self.epoch {
            0 => copy(id),
            // Quotes of a text would have to be escaped; gateways number their requests.
            epoch => format!("\"{epoch}:{}\"", String::from_utf8_lossy(id).replace('"', "'")).into(),
        }
    }

    fn without_epoch(&self, id: &[u8]) -> Option<Vec<u8>> {
        let inner = id.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let own = inner.strip_prefix(format!("{}:", self.epoch).as_bytes())?;
        Some(own.iter().map(|byte| if *byte == b'\'' { b'"' } else { *byte }).collect())
    }

    /// The gateway is gone. What the client is to be told: one error for each request that cannot be sent again, and that
    /// nobody waits for its answers any more. `again`: another gateway will be asked.
    pub(super) fn lost(&mut self, why: &str, again: bool) -> Vec<Bytes> {
        self.epoch += 1;
        self.replay = Replay::default();
        let asks = std::mem::take(&mut self.asks);
        let reason = shallow::quote(why);
        let mut told: Vec<_> = asks.iter().map(|id| cancelled(id, &reason)).collect();
        let flights = std::mem::take(&mut self.flights).into_iter();
        let (kept, owed): (HashMap<_, _>, HashMap<_, _>) =
            flights.partition(|(_, flight)| again && flight.may_be_sent());
        self.flights = kept;
        self.held.clear();
        self.flights.values_mut().for_each(|flight| flight.refusal = None);
        let mut owed: Vec<_> = owed.into_iter().collect();
        owed.sort_by_key(|(_, flight)| flight.number);
        told.extend(owed.iter().map(|(id, flight)| refusal(id, &flight.method, why, "gateway_lost")));
        told
    }

    /// A line of the client while there is no gateway; the answer, where one is owed.
    pub(super) fn unreached(&mut self, line: &Bytes, why: &str) -> Vec<Bytes> {
        if line.first() == Some(&b'[') {
            let requests = frames(line).filter(|frame| frame.kind() == FrameKind::Request);
            return requests.map(|frame| refusal(frame.id(), frame.method(), why, "no_gateway")).collect();
        }
        match Frame::parse(line.clone()) {
            Ok(frame) if frame.kind() == FrameKind::Request => {
                vec![refusal(frame.id(), frame.method(), why, "no_gateway")]
            }
            Ok(frame) if frame.method() == "notifications/initialized" => {
                self.initialized = Some(copy(line));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Requests that still have to be sent, in order.
    pub(super) fn waiting(&self) -> Vec<Out> {
        let mut waiting: Vec<_> = self.flights.iter().collect();
        waiting.sort_by_key(|(_, flight)| flight.number);
        let out = |(id, flight): (&Bytes, &Flight)| Some(Out { line: flight.line.clone()?, id: Some(id.clone()) });
        waiting.into_iter().filter_map(out).collect()
    }

    /// The greeting itself is among them.
    pub(super) fn greeting_waits(&self) -> bool {
        self.greeting.as_ref().is_some_and(|greeting| self.flights.contains_key(greeting.id()))
    }
}

impl Flight {
    fn may_go_on(&self) -> bool {
        self.line.is_some() && (self.tries < MAX_TRIES || &*self.method == LISTEN)
    }

    fn may_be_sent(&self) -> bool {
        self.may_go_on() && (!self.open || AGAIN.contains(&&*self.method))
    }
}

/// For a request that finds no gateway.
fn refusal(id: &[u8], method: &str, why: &str, error: &str) -> Bytes {
    let fate = match error {
        "gateway_lost" => "; whether this was carried out is not known, and it is not sent again",
        _ => "",
    };
    let data = json!({"error": error, "method": method});
    wire::error(id, code::PROVIDER_UNAVAILABLE, &format!("hangar: {why}{fate}"), Some(&data))
}

fn cancelled(id: &[u8], reason: &[u8]) -> Bytes {
    let params = [b"{\"requestId\":", id, b",\"reason\":", reason, b"}"].concat();
    wire::notification("notifications/cancelled", &params)
}

fn frames(line: &Bytes) -> impl Iterator<Item = Frame> {
    let elements = shallow::root(line).ok().and_then(|array| shallow::elements(line, array)).unwrap_or_default();
    elements.into_iter().filter_map(|place| Frame::parse(line.slice(place.range())).ok())
}

fn place(frame: &Frame, key: &str) -> Option<Span> {
    shallow::get(frame.bytes(), frame.params()?, key).ok().flatten()
}

fn param<'f>(frame: &'f Frame, key: &str) -> Option<&'f [u8]> {
    place(frame, key).map(|place| frame.text(place))
}

fn text(frame: &Frame, key: &str) -> Option<String> {
    place(frame, key).and_then(|place| shallow::string(frame.bytes(), place)).map(std::borrow::Cow::into_owned)
}

pub(super) fn string(frame: &Frame, object: Span, path: &[&str]) -> Option<String> {
    let place = shallow::path(frame.bytes(), object, path).ok().flatten()?;
    shallow::string(frame.bytes(), place).map(std::borrow::Cow::into_owned)
}

/// Of its own: a slice would hold the whole buffer that it was read into.
fn copy(text: &[u8]) -> Bytes {
    Bytes::copy_from_slice(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_a_gateway_that_goes_on_is_the_answer_after_all() {
        let mut memory = Memory::default();
        let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;
        let out = memory.client_said(Bytes::from(call)).unwrap();
        memory.sent(&out.id.unwrap());
        let refusal =
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32050,"message":"m","data":{"error":"shutting_down"}}}"#;
        assert!(memory.gateway_said(Bytes::from(refusal)).is_empty());
        let until = memory.next_overdue().unwrap();
        assert!(memory.overdue(until - Duration::from_secs(1)).is_empty());
        assert_eq!(memory.overdue(until), [Bytes::from(refusal)]);
        assert_eq!((memory.in_flight(), memory.next_overdue()), (0, None));
        // The end of the gateway comes too late for a second answer.
        assert!(memory.lost("gone", true).is_empty() && memory.waiting().is_empty());
    }
}
