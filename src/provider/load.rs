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
    /// It has failed and is not started again before.
    pub retry_after: Option<Duration>,
}

impl Provider {
    pub fn load(&self) -> Load {
        let full = self.permits.as_ref().is_some_and(|permits| permits.available_permits() == 0);
        // Each client has its own: what they have in common is how much they do.
        let others = self.instances().iter().map(|own| own.load().in_flight).sum::<usize>();
        let core = self.core();
        let resting = !core.state.serves();
        let retry_after = if resting { core.retry_after(Instant::now()) } else { None };
        Load { state: core.state, in_flight: core.in_flight + others, full, starts: core.started, retry_after }
    }
}
