//! Whether a member may be called, and how gladly.

use std::time::{Duration, Instant};

use crate::provider::{Breaker, BreakerLimits, BreakerState, Load, ProviderState};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Healthy,
    /// Serves, or may, but another one is better: it did not answer its last probe, is stopping, is dead and may be tried
    /// again, or has as many calls as it takes.
    Second,
    /// Its breaker lets one call try; it is among the first, for only a call can tell.
    Trial {
        second: bool,
    },
    /// A trial call is on its way.
    Trying,
    /// Its breaker is open for so long.
    Unhealthy(Duration),
    /// It failed to start, died, or has its own breaker open, and is not tried again before.
    Waiting(Duration),
    /// Not in service.
    Disabled,
}

impl Standing {
    pub(super) fn of(load: Option<&Load>, breaker: &Breaker, now: Instant, limits: BreakerLimits) -> Self {
        let Some(load) = load else { return Self::Disabled };
        let better_later =
            load.full || matches!(load.state, ProviderState::Degraded | ProviderState::Stopping | ProviderState::Dead);
        match (breaker.state(now, limits), load.retry_after) {
            (BreakerState::Open(left), _) => Self::Unhealthy(left),
            (_, Some(left)) => Self::Waiting(left),
            (BreakerState::HalfOpen, None) if breaker.wants_trial(now, limits) => Self::Trial { second: load.full },
            (BreakerState::HalfOpen, None) => Self::Trying,
            (BreakerState::Closed, None) if better_later => Self::Second,
            (BreakerState::Closed, None) => Self::Healthy,
        }
    }

    /// The least is taken first; `None`: not at all.
    pub(super) fn rank(self) -> Option<u8> {
        match self {
            Self::Healthy | Self::Trial { second: false } => Some(0),
            Self::Second | Self::Trial { second: true } => Some(1),
            Self::Trying | Self::Unhealthy(_) | Self::Waiting(_) | Self::Disabled => None,
        }
    }

    /// For `min_healthy`. A member that is about to be tried counts, or a group could never recover.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Healthy | Self::Second | Self::Trial { .. } | Self::Trying)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy | Self::Second => "healthy",
            Self::Trial { .. } | Self::Trying => "trial",
            Self::Unhealthy(_) => "unhealthy",
            Self::Waiting(_) => "waiting",
            Self::Disabled => "disabled",
        }
    }

    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Unhealthy(left) | Self::Waiting(left) => Some(left),
            _ => None,
        }
    }
}
