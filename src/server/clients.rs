//! The clients of the connect socket: who is connected, and how many.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Session;
use crate::{telemetry::Telemetry, wire::hello::Hello};

pub struct ConnectClients {
    connected: Mutex<Connected>,
    count: watch::Sender<usize>,
    telemetry: Arc<Telemetry>,
}

#[derive(Default)]
struct Connected {
    clients: BTreeMap<u64, ConnectClient>,
    joined: u64,
    /// The gateway leaves because nobody is there; whoever comes now is not greeted, and finds the next one.
    closed: bool,
}

struct ConnectClient {
    session: Arc<Session>,
    visitor: Visitor,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Visitor {
    hangar_version: Box<str>,
    /// Of the process that is connected, as the system says.
    pid: u32,
    /// RFC 3339.
    since: String,
}

/// One connected client; dropping it is its leave.
pub(super) struct Joined {
    clients: Arc<ConnectClients>,
    number: u64,
}

impl Visitor {
    pub(super) fn new(hello: &Hello, pid: u32) -> Self {
        Self { hangar_version: hello.version.clone(), pid, since: jiff::Timestamp::now().to_string() }
    }
}

impl ConnectClients {
    pub fn new(telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self { connected: Mutex::default(), count: watch::Sender::default(), telemetry })
    }

    /// `None`: the gateway is leaving.
    pub(super) fn join(self: &Arc<Self>, session: Arc<Session>, visitor: Visitor) -> Option<Joined> {
        let client = ConnectClient { session, visitor };
        let mut connected = self.connected();
        if connected.closed {
            return None;
        }
        connected.joined += 1;
        let number = connected.joined;
        connected.clients.insert(number, client);
        self.tell(&connected);
        Some(Joined { clients: self.clone(), number })
    }

    /// Nobody joins any more. `false`: somebody is there, and all stays as it is.
    pub fn close_if_alone(&self) -> bool {
        let mut connected = self.connected();
        connected.closed |= connected.clients.is_empty();
        connected.closed
    }

    pub(super) fn count_mismatch(&self) {
        self.telemetry.metrics.connect_version_mismatches.inc();
    }

    /// How many there are, at every moment.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// `[{name, version, protocol_version, hangar_version, pid, since}]`, in the order in which they came.
    pub fn json(&self) -> Value {
        let connected = self.connected();
        let clients = connected.clients.values().map(|client| {
            let greeting = client.session.greeting();
            json!({
                "name": greeting.map(|greeting| &greeting.client_name),
                "version": greeting.map(|greeting| &greeting.client_version),
                "protocol_version": greeting.map(|greeting| greeting.protocol_version),
                "hangar_version": client.visitor.hangar_version,
                "pid": client.visitor.pid,
                "since": client.visitor.since,
            })
        });
        clients.collect()
    }

    fn tell(&self, connected: &Connected) {
        let count = connected.clients.len();
        self.telemetry.metrics.connect_clients.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.count.send_replace(count);
    }

    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut connected = self.clients.connected();
        connected.clients.remove(&self.number);
        self.clients.tell(&connected);
    }
}
