//! One slot per provider *name*, for the life of the gateway: whoever holds it may have a live instance of that name.
//!
//! Generations come and go; the slot stays, so an old and a new instance never overlap (ports, lock files, container
//! names), also across remove-then-re-add. With `sharing: session` each client has a slot of its own below that of the name,
//! and an instance that everybody shares waits until all of those are free, as they wait for it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ClientId;
use crate::config::ProviderName;

/// All of a name; one share of it is a client's.
const WHOLE: u32 = 1 << 24;

/// The right to run one instance.
#[derive(Debug)]
pub struct Slot {
    own: Arc<Semaphore>,
    /// Of the name.
    shares: Arc<Semaphore>,
    /// Instances of clients that live now, over all generations of the name.
    count: Arc<AtomicU32>,
    of_clients: Mutex<HashMap<(ClientId, u32), Weak<Slot>>>,
}

/// Held from before the instance is opened until everything it started is gone.
#[derive(Debug)]
pub struct SlotGuard {
    _own: Option<OwnedSemaphorePermit>,
    _share: Option<OwnedSemaphorePermit>,
}

/// One of the instances that the clients of a name may have at a time.
#[derive(Debug)]
pub(super) struct Room(Arc<AtomicU32>);

/// All slots that somebody still knows.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<ProviderName, Weak<Slot>>>);

impl Slot {
    fn new(shares: Arc<Semaphore>, count: Arc<AtomicU32>) -> Arc<Self> {
        Arc::new(Self { own: Arc::new(Semaphore::new(1)), shares, count, of_clients: Mutex::default() })
    }

    /// `alone`: no instance of any client may live beside it.
    pub async fn acquire(&self, alone: bool) -> SlotGuard {
        // The semaphores are never closed, so there is always a permit to come.
        let own = self.own.clone().acquire_owned().await.ok();
        let share = self.shares.clone().acquire_many_owned(if alone { WHOLE } else { 1 }).await.ok();
        SlotGuard { _own: own, _share: share }
    }

    /// The slot of one instance of a client; the same one as long as any generation holds it.
    pub(super) fn of_client(&self, key: (ClientId, u32)) -> Arc<Self> {
        known(&self.of_clients, &key, || Self::new(self.shares.clone(), self.count.clone()))
    }

    /// `None`: there are `most` instances of clients already.
    pub(super) fn room(&self, most: u32) -> Option<Room> {
        let more = |count: u32| (count < most).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Room(self.count.clone()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    /// The slot of `name`; the same one as long as any instance of that name, or its retirement, holds it.
    pub fn of(&self, name: &ProviderName) -> Arc<Slot> {
        known(&self.0, name, || Slot::new(Arc::new(Semaphore::new(WHOLE as usize)), Arc::default()))
    }
}

fn known<K: Eq + Hash + Clone>(
    slots: &Mutex<HashMap<K, Weak<Slot>>>,
    key: &K,
    make: impl Fn() -> Arc<Slot>,
) -> Arc<Slot> {
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = slots.get(key).and_then(Weak::upgrade) {
        return slot;
    }
    // Not at every turn: there may be thousands.
    if slots.len() == slots.capacity() {
        slots.retain(|_, slot| slot.strong_count() > 0);
    }
    let slot = make();
    slots.insert(key.clone(), Arc::downgrade(&slot));
    slot
}
