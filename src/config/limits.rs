//! `server.limits`: what one client, and all together, may ask of the gateway. Its keys, its normal form and its diff.

use std::time::Duration;

use super::{
    ConfigDiff,
    fields::Fields,
    keys::{Section, Shape, key},
};

/// How much is taken at the front. Sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Longest body of an HTTP request.
    pub request: usize,
    pub request_timeout: Duration,
    /// Longest head of an HTTP request.
    pub head: usize,
    /// For one head, and for the pause before the next one on a connection.
    pub head_timeout: Duration,
    /// At one time, of the client listener. Beyond it they wait in the system's queue.
    pub connections: usize,
    /// Clients on the connect socket.
    pub connect_clients: usize,
    /// With a key, over HTTP. Beyond it the one that was silent longest goes.
    pub sessions: usize,
    /// Requests of one client at the same time.
    pub in_flight: usize,
    /// Longest line of a client on stdio or on the connect socket.
    pub line: usize,
    /// Messages of one batch.
    pub batch: usize,
    /// Resources that one client may be subscribed to.
    pub subscriptions: usize,
    /// Nesting of a message, itself included.
    pub json_depth: u32,
    /// Of all answers together that were cut (`max_answer_bytes`) and are kept.
    pub continuation_bytes: usize,
    pub continuation_ttl: Duration,
    /// Of all large answers together that wait for their clients.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: 4 << 20,
            request_timeout: Duration::from_secs(30),
            head: 64 << 10,
            head_timeout: Duration::from_secs(30),
            connections: 4096,
            connect_clients: 1024,
            sessions: 200_000,
            in_flight: 1024,
            line: 16 << 20,
            batch: 256,
            subscriptions: 1000,
            json_depth: 64,
            continuation_bytes: 64 << 20,
            continuation_ttl: Duration::from_secs(300),
            waiting: 256 << 20,
        }
    }
}

const COUNT: u64 = 1_000_000;
/// Longest message anywhere: places in a text are 32 bits wide, and nobody's memory is endless.
pub(super) const MOST_BYTES: u64 = 256 << 20;
pub(super) const LEAST_BYTES: u64 = 1024;

const fn whole(min: u64, max: u64) -> Shape {
    Shape::Whole { min, max }
}

pub(super) static LIMITS: Section = Section {
    id: "limits",
    about: "How much is taken from clients.",
    selector: None,
    keys: &[
        key("request_bytes", whole(LEAST_BYTES, MOST_BYTES), "4194304", "Longest body of an HTTP request."),
        key(
            "request_timeout_s",
            Shape::Seconds { min: 0.1 },
            "30",
            "Longest time the body of an HTTP request may take.",
        ),
        // What hyper needs at least.
        key("header_bytes", whole(8192, 1 << 20), "65536", "Longest head of an HTTP request."),
        key(
            "header_timeout_s",
            Shape::Seconds { min: 0.1 },
            "30",
            "Longest time the head of an HTTP request may take, and longest pause between two on a connection.",
        ),
        key("connections", whole(1, COUNT), "4096", "HTTP connections at the same time; further ones wait."),
        key(
            "connect_clients",
            whole(1, COUNT),
            "1024",
            "Clients of `hangar connect` at the same time; further ones wait.",
        ),
        key(
            "sessions",
            whole(1, COUNT),
            "200000",
            "HTTP sessions at the same time; beyond it the one that was silent longest ends.",
        ),
        key("in_flight", whole(1, COUNT), "1024", "Requests of one client at the same time."),
        key(
            "line_bytes",
            whole(LEAST_BYTES, MOST_BYTES),
            "16777216",
            "Longest line of a client on stdio or `hangar connect`.",
        ),
        key("batch", whole(1, 10_000), "256", "Messages of one JSON-RPC batch."),
        key("subscriptions", whole(1, 10_000), "1000", "Resources one client may be subscribed to."),
        // JSON of 128 levels is more than some of the parsers behind take.
        key("json_depth", whole(8, 120), "64", "Deepest nesting of a message, of clients and of providers."),
        key(
            "continuation_bytes",
            whole(LEAST_BYTES, 4 << 30),
            "67108864",
            "Room for answers that were cut, all together; the oldest make way.",
        ),
        key("continuation_ttl_s", Shape::Seconds { min: 1.0 }, "300", "How long such an answer is kept."),
        key(
            "waiting_bytes",
            whole(LEAST_BYTES, 64 << 30),
            "268435456",
            "Room for large answers that wait for their clients to read them, all together; further ones become an error.",
        ),
    ],
};

impl Limits {
    /// As the file says it.
    pub fn shown(&self) -> serde_json::Value {
        serde_json::json!({
            "request_bytes": self.request,
            "request_timeout_s": self.request_timeout.as_secs_f64(),
            "header_bytes": self.head,
            "header_timeout_s": self.head_timeout.as_secs_f64(),
            "connections": self.connections,
            "connect_clients": self.connect_clients,
            "sessions": self.sessions,
            "in_flight": self.in_flight,
            "line_bytes": self.line,
            "batch": self.batch,
            "subscriptions": self.subscriptions,
            "json_depth": self.json_depth,
            "continuation_bytes": self.continuation_bytes,
            "continuation_ttl_s": self.continuation_ttl.as_secs_f64(),
            "waiting_bytes": self.waiting,
        })
    }
}

pub(super) fn read(fields: Option<&Fields>) -> Limits {
    let usual = Limits::default();
    let Some(fields) = fields else { return usual };
    let count = |name: &str, usual: usize| {
        fields.whole(name).map_or(usual, |typed| usize::try_from(typed).unwrap_or(usize::MAX))
    };
    Limits {
        request: count("request_bytes", usual.request),
        request_timeout: fields.seconds("request_timeout_s").unwrap_or(usual.request_timeout),
        head: count("header_bytes", usual.head),
        head_timeout: fields.seconds("header_timeout_s").unwrap_or(usual.head_timeout),
        connections: count("connections", usual.connections),
        connect_clients: count("connect_clients", usual.connect_clients),
        sessions: count("sessions", usual.sessions),
        in_flight: count("in_flight", usual.in_flight),
        line: count("line_bytes", usual.line),
        batch: count("batch", usual.batch),
        subscriptions: count("subscriptions", usual.subscriptions),
        json_depth: fields.whole("json_depth").and_then(|typed| u32::try_from(typed).ok()).unwrap_or(usual.json_depth),
        continuation_bytes: count("continuation_bytes", usual.continuation_bytes),
        continuation_ttl: fields.seconds("continuation_ttl_s").unwrap_or(usual.continuation_ttl),
        waiting: count("waiting_bytes", usual.waiting),
    }
}

/// How many connections there may be is settled when the listeners are opened; everything else is looked up when it counts.
pub(super) fn diff(old: &Limits, new: &Limits, out: &mut ConfigDiff) {
    let Limits {
        request,
        request_timeout,
        head,
        head_timeout,
        connections,
        connect_clients,
        sessions,
        in_flight,
        line,
        batch,
        subscriptions,
        json_depth,
        continuation_bytes,
        continuation_ttl,
        waiting,
    } = old;
    out.live("server.limits.request_bytes", request, &new.request);
    out.live("server.limits.request_timeout_s", request_timeout, &new.request_timeout);
    out.live("server.limits.header_bytes", head, &new.head);
    out.live("server.limits.header_timeout_s", head_timeout, &new.head_timeout);
    out.restart("server.limits.connections", connections, &new.connections);
    out.restart("server.limits.connect_clients", connect_clients, &new.connect_clients);
    out.live("server.limits.sessions", sessions, &new.sessions);
    out.live("server.limits.in_flight", in_flight, &new.in_flight);
    out.live("server.limits.line_bytes", line, &new.line);
    out.live("server.limits.batch", batch, &new.batch);
    out.live("server.limits.subscriptions", subscriptions, &new.subscriptions);
    out.live("server.limits.json_depth", json_depth, &new.json_depth);
    out.live("server.limits.continuation_bytes", continuation_bytes, &new.continuation_bytes);
    out.live("server.limits.continuation_ttl_s", continuation_ttl, &new.continuation_ttl);
    out.live("server.limits.waiting_bytes", waiting, &new.waiting);
}
