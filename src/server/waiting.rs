//! Large answers that wait for their clients to read them, counted all together: a client that asks for much and reads nothing
//! costs memory, and many of them must not cost all there is.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use serde_json::json;

use super::dispatch::{Gateway, Refusal};
use crate::wire::{Frame, code};

/// Not counted: connections and requests in flight are bounded in number.
const SMALL: usize = 64 * 1024;
const RETRY_AFTER_MS: u64 = 1000;

/// Bytes of all.
#[derive(Default)]
pub struct Waiting(Arc<AtomicUsize>);

/// An answer, counted until nobody holds any part of it.
struct Counted {
    bytes: Bytes,
    all: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Waiting {
    /// `None`: there is no room for it below `most`.
    fn counted(&self, bytes: Bytes, most: usize) -> Option<Bytes> {
        let length = bytes.len();
        let all = self.0.clone();
        let counted = Counted { bytes, all };
        let before = counted.all.fetch_add(length, Ordering::Relaxed);
        (before.saturating_add(length) <= most).then(|| Bytes::from_owner(counted))
    }
}

impl Gateway {
    /// The answer to `request` as it is handed to a front, or the error that there is no room for it.
    pub(super) fn room_for(&self, request: &Frame, answer: Bytes) -> Bytes {
        if answer.len() <= SMALL {
            return answer;
        }
        let (length, most) = (answer.len(), self.registry.snapshot().config.server.limits.waiting);
        self.waiting.counted(answer, most).unwrap_or_else(|| {
            let message = format!(
                "the answer of {length} bytes was dropped: with those that wait for their clients to read them it would be more \
                 than {most} bytes (server.limits.waiting_bytes)"
            );
            let data = json!({"error": "too_much_waiting", "fault": "downstream", "retry_after_ms": RETRY_AFTER_MS});
            Refusal { code: code::OVERLOADED, message, data: Some(data) }.answer(request)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_makes_room() {
        let waiting = Waiting::default();
        let of = |length: usize| waiting.counted(vec![b'x'; length].into(), 100);
        let first = of(60).unwrap();
        let part = first.slice(1..2);
        assert!(of(41).is_none());
        let second = of(40).unwrap();
        assert!(of(1).is_none());
        drop(first);
        assert!(of(41).is_none(), "a part of it is held");
        drop((part, second));
        assert_eq!(of(100).unwrap().len(), 100);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 0);
    }
}
