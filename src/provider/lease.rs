//! A call borrows the live instance; while it does, nothing but death or a deadline takes the instance away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::SemaphorePermit;

use super::{CallError, Core, Provider, ProviderState, StateEvent, Upstream};
use crate::telemetry::StopReason;

/// One call's hold on a live instance. Dropping it returns it.
pub struct Lease<'p> {
    pub upstream: Arc<Upstream>,
    provider: &'p Provider,
    _permit: Option<SemaphorePermit<'p>>,
}

enum Attempt {
    Leased(Arc<Upstream>),
    /// Wait for the next change of state; the number is the start that is waited for.
    Wait(u64),
}

impl Provider {
    /// A hold on the live instance; starts one when there is none. Waits for the start, and for `max_concurrency`, for
    /// that as long as the call itself may take: behind calls that hang nobody waits for hours.
    ///
    /// Many callers share one start, and a caller that goes away does not stop it.
    pub async fn lease(self: &Arc<Self>, patience: Duration) -> Result<Lease<'_>, CallError> {
        let permit = self.permit(patience).await?;
        self.hold(permit).await
    }

    /// As [`Provider::lease`], past `max_concurrency`: for what is said about work that goes on in any case.
    pub async fn lease_beside(self: &Arc<Self>) -> Result<Lease<'_>, CallError> {
        self.hold(None).await
    }

    /// Resolves when there is a live instance; starts one when there is none. A provider whose every permit is taken by
    /// calls is ready all the same.
    pub async fn be_ready(self: &Arc<Self>) -> Result<(), CallError> {
        self.hold(None).await.map(drop)
    }

    async fn hold<'p>(self: &'p Arc<Self>, permit: Option<SemaphorePermit<'p>>) -> Result<Lease<'p>, CallError> {
        let mut changes = self.state.subscribe();
        let mut waited_for = None;
        loop {
            changes.mark_unchanged();
            match self.try_lease(waited_for)? {
                Attempt::Leased(upstream) => return Ok(Lease { upstream, provider: self, _permit: permit }),
                Attempt::Wait(attempt) => waited_for = Some(attempt),
            }
            // The sender lives in self.
            let _ = changes.changed().await;
        }
    }

    async fn permit(&self, patience: Duration) -> Result<Option<SemaphorePermit<'_>>, CallError> {
        let (Some(permits), Some(limit)) = (&self.permits, self.spec.max_concurrency) else { return Ok(None) };
        if let Ok(permit) = permits.try_acquire() {
            return Ok(Some(permit));
        }
        let queued = self.queued.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _waiting = Waiting(self);
        if queued >= self.spec.max_queued as usize {
            return Err(CallError::Busy { provider: self.name.clone(), limit, queued });
        }
        tokio::select! {
            permit = permits.acquire() => Ok(permit.ok()),
            () = tokio::time::sleep(patience) => {
                let queued = self.queued.load(std::sync::atomic::Ordering::Relaxed);
                Err(CallError::Busy { provider: self.name.clone(), limit, queued })
            }
            () = self.retirement.cancelled() => Err(self.retired_error(self.core().retired)),
        }
    }

    fn try_lease(self: &Arc<Self>, waited_for: Option<u64>) -> Result<Attempt, CallError> {
        let mut core = self.core();
        if core.retired.is_some() {
            return Err(self.retired_error(core.retired));
        }
        if let (true, Some(upstream)) = (core.state.serves(), &core.upstream) {
            let upstream = upstream.clone();
            core.in_flight += 1;
            return Ok(Attempt::Leased(upstream));
        }
        if matches!(core.state, ProviderState::Cold | ProviderState::Dead) {
            if let (Some(mine), Some((failed, _))) = (waited_for, &core.last_failure)
                && *failed >= mine
            {
                return Err(self.not_started(&core));
            }
            if core.retry_after(Instant::now()).is_some() {
                return Err(self.not_started(&core));
            }
            self.begin_start(&mut core);
        }
        // STOPPING: the next state is COLD, and then this call starts it again.
        let attempt = if core.state == ProviderState::Initializing { core.attempt } else { core.attempt + 1 };
        Ok(Attempt::Wait(attempt))
    }

    /// COLD or DEAD -> INITIALIZING, and the task that brings it up.
    pub(super) fn begin_start(self: &Arc<Self>, core: &mut Core) {
        if !self.step(core, StateEvent::Start) {
            return;
        }
        core.attempt += 1;
        core.order = None;
        let life = self.clone().life(core.attempt);
        self.lives.spawn(life);
    }

    pub(super) fn not_started(&self, core: &Core) -> CallError {
        if let Some(limit) = core.last_failure.as_ref().and_then(|(_, failure)| failure.full) {
            return CallError::Full { provider: self.name.clone(), limit };
        }
        let (cause, output, internal) = match &core.last_failure {
            Some((_, failure)) => (failure.cause.clone(), failure.output.clone(), failure.internal),
            None => ("it is not running".to_owned(), Vec::new(), false),
        };
        CallError::NotStarted {
            provider: self.name.clone(),
            state: core.state,
            cause,
            output,
            retry_after: core.retry_after(Instant::now()),
            internal,
        }
    }

    pub(super) fn retired_error(&self, reason: Option<StopReason>) -> CallError {
        let provider = self.name.clone();
        match reason {
            Some(StopReason::Shutdown) => CallError::ShuttingDown { provider },
            Some(StopReason::SessionEnded) => CallError::ClientGone { provider },
            _ => CallError::Retired { provider },
        }
    }

    /// An answer came: the instance works, so earlier failures do not count any more.
    pub fn answered(&self) {
        let mut core = self.core();
        if core.consecutive_failures != 0 && core.state.serves() {
            core.consecutive_failures = 0;
            core.retry_at = None;
        }
    }
}

impl Core {
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.upstream.as_ref().is_some_and(|upstream| upstream.works_on())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut core = self.provider.core();
        core.in_flight = core.in_flight.saturating_sub(1);
        core.last_used = Instant::now();
        let awaited = core.in_flight == 0 && core.order.is_some();
        drop(core);
        if awaited {
            self.provider.wake.notify_one();
        }
    }
}

/// Counts a call that waits for a permit, also when it gives up.
struct Waiting<'p>(&'p Provider);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
