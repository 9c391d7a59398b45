//! The HTTP exchanges in flight of one connection: bounded, each droppable by its request id, all droppable at once.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::transport::TransportError;

/// Requests in flight; the floor above bounds calls long before.
const MAX_REQUESTS: usize = 1024;
/// Notifications and answers being posted. Their own bound, so that a cancellation passes where no request does.
const MAX_NOTICES: usize = 256;

pub(super) struct Exchanges {
    runtime: Handle,
    tracker: TaskTracker,
    by_id: Mutex<HashMap<u64, CancellationToken>>,
    requests: Arc<Semaphore>,
    notices: Arc<Semaphore>,
    ended: CancellationToken,
}

/// The right to have one exchange in flight.
pub(super) struct Permit {
    request: Option<u64>,
    slot: OwnedSemaphorePermit,
}

impl Exchanges {
    /// Within a runtime, where its tasks will run.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            by_id: Mutex::default(),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            notices: Arc::new(Semaphore::new(MAX_NOTICES)),
            ended: CancellationToken::new(),
        })
    }

    pub(super) fn admit(&self, request: Option<u64>) -> Result<Permit, TransportError> {
        if self.ended.is_cancelled() {
            return Err(TransportError::Closed);
        }
        let (pool, queued) =
            if request.is_some() { (&self.requests, MAX_REQUESTS) } else { (&self.notices, MAX_NOTICES) };
        let slot = pool.clone().try_acquire_owned().map_err(|_| TransportError::Overloaded { queued })?;
        Ok(Permit { request, slot })
    }

    /// Runs `work` until it ends, is abandoned, or everything ends.
    pub(super) fn spawn(self: &Arc<Self>, permit: Permit, work: impl Future<Output = ()> + Send + 'static) {
        let Permit { request, slot } = permit;
        let dropped = self.ended.child_token();
        if let Some(id) = request {
            self.lock().insert(id, dropped.clone());
        }
        let exchanges = self.clone();
        let run = async move {
            dropped.run_until_cancelled(work).await;
            if let Some(id) = request {
                exchanges.lock().remove(&id);
            }
            drop(slot);
        };
        self.tracker.spawn_on(run, &self.runtime);
    }

    /// Runs `work` beside the exchanges, until it ends or everything ends.
    pub(super) fn spawn_beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        let run = async move {
            ended.run_until_cancelled(work).await;
        };
        self.tracker.spawn_on(run, &self.runtime);
    }

    /// Runs `work` to its own end, also when everything else has ended.
    pub(super) fn spawn_last(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(work, &self.runtime);
    }

    pub(super) fn abandon(&self, id: u64) {
        let token = self.lock().remove(&id);
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// Drops every exchange; admits none any more.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        // No panic can leave a map half-changed.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
