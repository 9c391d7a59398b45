//! Calls that wait for their clients' input. Bounded in number and time; whoever comes too late, twice, or for another call is
//! refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;

use super::{
    BridgedCall,
    seal::{Binding, Handle, Seal},
};

/// Calls that may wait at a time.
const MOST: usize = 1024;
/// How long a client may take to answer.
const WAIT: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct Parking {
    seal: OnceLock<Option<Seal>>,
    calls: Mutex<HashMap<Handle, Parked>>,
}

struct Parked {
    call: BridgedCall,
    /// Goes with the call: a client that answers at once leaves nothing that waits.
    _expiry: AbortOnDropHandle<()>,
}

/// Why a request goes on with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotResumed {
    #[error("this requestState was not made by this gateway for this call, or was changed on its way")]
    Foreign,
    #[error(
        "this requestState was used before, or has expired: an answer is waited for no longer than 10 minutes, and taken once"
    )]
    Spent,
}

impl Parking {
    /// The state that the client has to come back with. `None`: too many wait, or there are no random bytes; the call is
    /// dropped, and with that cancelled.
    pub fn park(self: &Arc<Self>, call: BridgedCall, binding: &Binding) -> Option<String> {
        let mut handle = Handle::default();
        getrandom::fill(&mut handle).ok()?;
        let state = self.seal()?.seal(&handle, binding);
        let mut calls = self.calls();
        if calls.len() >= MOST {
            return None;
        }
        let parking = Arc::downgrade(self);
        let expiry = tokio::spawn(async move {
            tokio::time::sleep(WAIT).await;
            if let Some(parking) = parking.upgrade() {
                drop(parking.calls().remove(&handle));
            }
        });
        calls.insert(handle, Parked { call, _expiry: AbortOnDropHandle::new(expiry) });
        drop(calls);
        Some(state)
    }

    pub fn resume(&self, state: &str, binding: &Binding) -> Result<BridgedCall, NotResumed> {
        let handle = self.seal().and_then(|seal| seal.open(state, binding)).ok_or(NotResumed::Foreign)?;
        self.calls().remove(&handle).map(|parked| parked.call).ok_or(NotResumed::Spent)
    }

    /// The gateway stops: nobody will come back in time.
    pub fn clear(&self) {
        self.calls().clear();
    }

    fn seal(&self) -> Option<&Seal> {
        self.seal.get_or_init(Seal::new).as_ref()
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Handle, Parked>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
