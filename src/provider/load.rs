//! What one has to know of a provider to choose between several: cheap, for it is asked at every call of a group.

use std::time::{Duration, Instant};

use super::{Provider, ProviderState};

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub state: ProviderState,
    /// Leases given out, whoever routed them here.
    pub in_flight: usize,
    /// Calls beyond these wait (`max_concurrency`).
    pub full: bool,
    /// Instances so far: a number for the one that lives.
    pub starts: u64,
    /// It has failed and is not started again, or called, before.
    pub retry_after: Option<Duration>,
}

impl Provider {
    pub fn load(&self) -> Load {
        let full = self.permits.as_ref().is_some_and(|permits| permits.available_permits() == 0);
        // Each client has its own: what they have in common is how much they do.
        let others = self.instances().iter().map(|own| own.load().in_flight).sum::<usize>();
        let core = self.core();
        let now = Instant::now();
        let resting = if core.state.serves() { None } else { core.retry_after(now) };
        let retry_after = resting.max(self.circuit(&core, now).retry_after);
        Load { state: core.state, in_flight: core.in_flight + others, full, starts: core.started, retry_after }
    }
}
