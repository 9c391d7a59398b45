//! Requests of a client, from their arrival to their answer.

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::{
    server::dispatch::Refusal,
    wire::{Frame, code},
};

/// When a client that has too much in flight may try again. Nobody knows when one of its calls will be done.
const RETRY_AFTER_MS: u64 = 1000;

/// One request of the client, from its arrival to its answer. Dropping it forgets the id.
pub struct Call<'s> {
    session: &'s Session,
    id: Bytes,
    pub cancelled: CancellationToken,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBegun {
    SameId,
    /// `server.limits.in_flight`.
    TooMany {
        most: usize,
    },
}

impl Session {
    /// Registers a request, one of at most `most`. A ping is served in any case: it says whether somebody is there.
    pub fn begin(&self, frame: &Frame, most: usize) -> Result<Call<'_>, NotBegun> {
        let id = frame.id_bytes();
        let cancelled = CancellationToken::new();
        let mut inner = self.inner();
        if inner.calls.contains_key(&id) {
            return Err(NotBegun::SameId);
        }
        if inner.calls.len() >= most && frame.method() != "ping" {
            return Err(NotBegun::TooMany { most });
        }
        inner.calls.insert(id.clone(), cancelled.clone());
        Ok(Call { session: self, id, cancelled })
    }

    pub fn in_flight(&self) -> usize {
        self.inner().calls.len()
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.session.inner().calls.remove(&self.id);
    }
}

impl From<NotBegun> for Refusal {
    fn from(why: NotBegun) -> Self {
        match why {
            NotBegun::SameId => Self::new(code::INVALID_REQUEST, "a request with this id is in flight already"),
            NotBegun::TooMany { most } => {
                let message = format!(
                    "this client has {most} requests in flight already (server.limits.in_flight); send it again when one \
                     of them is done"
                );
                let data = json!({
                    "error": "too_many_requests",
                    "fault": "downstream",
                    "in_flight": most,
                    "retry_after_ms": RETRY_AFTER_MS,
                });
                Self { code: code::OVERLOADED, message, data: Some(data) }
            }
        }
    }
}
