//! Messages that come after the answer that they belong before. What a streamable HTTP server says on its stream of general
//! messages comes on another connection than the answer, and no order holds between the two.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::Ear;
use crate::provider::{Client, ClientId};

/// How much later than the answer. Two connections of one server are not far apart.
const LATE: Duration = Duration::from_millis(100);
/// For so long nobody else's call may have ended, or it would be a guess.
const ALONE: Duration = Duration::from_secs(1);

/// Whose calls have ended last.
#[derive(Default)]
pub(super) struct Recent {
    last: Option<(ClientId, Weak<dyn Client>, Instant)>,
    /// When the last call of any other client ended.
    others: Option<Instant>,
}

impl Recent {
    pub fn ended(&mut self, client: &Arc<dyn Client>) {
        let id = client.id();
        if let Some((before, _, at)) = &self.last
            && *before != id
        {
            self.others = Some(*at);
        }
        self.last = Some((id, Arc::downgrade(client), Instant::now()));
    }

    /// The only client that a late message can be for.
    pub fn only(&self) -> Option<Arc<dyn Client>> {
        let (_, client, at) = self.last.as_ref()?;
        let alone = self.others.is_none_or(|others| others.elapsed() > ALONE);
        if at.elapsed() <= LATE && alone { client.upgrade() } else { None }
    }
}

impl Ear {
    /// The client of a message for which there is no call in flight.
    pub(super) fn late(&self, answering: Option<u64>) -> Option<Arc<dyn Client>> {
        let table = self.0.table();
        let in_flight = table.pending.values().any(|call| call.caller.is_some());
        if answering.is_some() || in_flight { None } else { table.recent.only() }
    }
}
