//! Room for what lies between the gateway and its clients: large requests while they are served, large answers until they are
//! read. One number for all clients together, so that clients which do not read cannot fill the memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use serde_json::json;

use crate::wire::{self, code};

/// Clients that read are done with it soon.
const RETRY_AFTER_MS: u64 = 1000;

/// What is not longer is not counted: the number of connections bounds it, and counting would cost every call.
const SMALL: usize = 64 * 1024;

#[derive(Default)]
pub struct Room(Arc<AtomicUsize>);

/// A part of the room; given back when dropped.
pub(super) struct Share {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

/// Bytes that hold their share for as long as any copy of them lives.
struct Held {
    bytes: Bytes,
    _share: Share,
}

/// The JSON-RPC error for what has no room. `id`: raw, empty when it is not known.
pub(super) fn no_room(id: &[u8], what: &str, most: usize) -> Bytes {
    let message = format!(
        "{what}: what all clients together have sent and not been answered, or not read yet, may have {most} bytes \
         (server.limits.held_bytes); try again in a moment, or ask for less"
    );
    let data = json!({"error": "no_room", "fault": "internal", "held_bytes": most, "retry_after_ms": RETRY_AFTER_MS});
    wire::error(id, code::OVERLOADED, &message, Some(&data))
}

impl Room {
    pub(super) const fn is_small(bytes: usize) -> bool {
        bytes <= SMALL
    }

    /// Of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { taken: self.0.clone(), bytes: 0 }
    }

    /// `bytes`, counted until they are dropped. `None`: there is no room for them.
    pub(super) fn hold(&self, bytes: Bytes, limit: usize) -> Option<Bytes> {
        if bytes.len() <= SMALL {
            return Some(bytes);
        }
        let mut share = self.share();
        share.grow(bytes.len(), limit).then(|| share.hold(bytes))
    }
}

impl Share {
    /// Whether there is room for so many bytes in all; without it nothing changes.
    pub(super) fn grow(&mut self, bytes: usize, limit: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if bytes <= SMALL || more == 0 {
            return true;
        }
        let fits = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= limit);
        let grown = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }

    pub(super) fn hold(self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 { bytes } else { Bytes::from_owner(Held { bytes, _share: self }) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_until_the_last_copy_is_gone_and_small_ones_take_none() {
        let (room, large) = (Room::default(), Bytes::from(vec![0; SMALL + 1]));
        let limit = 2 * large.len();
        let first = room.hold(large.clone(), limit).unwrap();
        let part = first.slice(1..2);
        let second = room.hold(large.clone(), limit).unwrap();
        assert!(room.hold(large.clone(), limit).is_none());
        assert!(room.hold(large.slice(1..), limit).is_some(), "a small one");
        drop(first);
        assert!(room.hold(large.clone(), limit).is_none(), "a part of it lives");
        drop(part);
        assert!(room.hold(large.clone(), limit).is_some());
        drop(second);
        let mut share = room.share();
        assert!(share.grow(limit, limit) && !share.grow(limit + 1, limit) && room.hold(large, limit).is_none());
        drop(share);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
