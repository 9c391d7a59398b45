//! The last events, for `GET /api/events` and its live stream.

use std::{collections::VecDeque, sync::Mutex};

use serde_json::Value;
use tokio::sync::broadcast;

use super::Event;

/// Events kept.
const KEPT: usize = 1000;
/// Events a slow stream may lag behind before it loses some.
const LAG: usize = 256;

/// One event with its number and time, as JSON.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// `{"event": NAME, "time": RFC 3339, "seq": NUMBER, ...}`
    pub json: Value,
}

pub struct History {
    inner: Mutex<(u64, VecDeque<Recorded>)>,
    live: broadcast::Sender<Recorded>,
}

impl Default for History {
    fn default() -> Self {
        Self { inner: Mutex::default(), live: broadcast::channel(LAG).0 }
    }
}

impl History {
    pub(super) fn push(&self, event: &Event) {
        let Ok(Value::Object(fields)) = serde_json::to_value(event) else { return };
        let mut json = serde_json::Map::new();
        json.insert("event".into(), fields.get("event").cloned().unwrap_or_default());
        json.insert("time".into(), jiff::Timestamp::now().to_string().into());
        let mut inner = self.lock();
        inner.0 += 1;
        json.insert("seq".into(), inner.0.into());
        json.extend(fields);
        let recorded = Recorded { number: inner.0, json: Value::Object(json) };
        if inner.1.len() == KEPT {
            inner.1.pop_front();
        }
        inner.1.push_back(recorded.clone());
        // Nobody listens: fine.
        let _ = self.live.send(recorded);
    }

    /// The last `limit` events, oldest first.
    pub fn last(&self, limit: usize) -> Vec<Recorded> {
        let inner = self.lock();
        inner.1.iter().skip(inner.1.len().saturating_sub(limit)).cloned().collect()
    }

    /// What comes from now on.
    pub fn follow(&self) -> broadcast::Receiver<Recorded> {
        self.live.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, VecDeque<Recorded>)> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
