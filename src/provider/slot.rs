//! One slot per provider *name*, for the life of the gateway: whoever holds it may have a live instance of that name.
//!
//! Generations come and go; the slot stays, so an old and a new instance never overlap (ports, lock files, container
//! names), also across remove-then-re-add.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ProviderName;

/// The right to run one instance.
#[derive(Debug)]
pub struct Slot(Arc<Semaphore>);

/// Held from before the instance is opened until everything it started is gone.
#[derive(Debug)]
pub struct SlotGuard {
    _permit: Option<OwnedSemaphorePermit>,
}

/// All slots that somebody still knows.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<ProviderName, Weak<Slot>>>);

impl Slot {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Arc::new(Semaphore::new(1))))
    }

    pub async fn acquire(&self) -> SlotGuard {
        // The semaphore is never closed, so there is always a permit to come.
        SlotGuard { _permit: self.0.clone().acquire_owned().await.ok() }
    }
}

impl Slots {
    /// The slot of `name`; the same one as long as any instance of that name, or its retirement, holds it.
    pub fn of(&self, name: &ProviderName) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(name).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Slot::new();
        slots.insert(name.clone(), Arc::downgrade(&slot));
        slot
    }
}
