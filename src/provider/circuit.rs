//! The breaker around a provider's calls: callers of one that does not answer are refused at once, and one of them at a time
//! tries whether it does again.
//!
//! What counts is that the provider gave no answer and it was its fault. A call that timed out proves nothing by itself, for its
//! tool may be slow: the instance is asked for a sign of life, and only when it gives none has the call failed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{BreakerLimits, BreakerState, CallError, Core, Provider, Verdict, negotiation, restarts::HEEDED};
use crate::{
    config::Launch,
    telemetry::{Event, StopReason},
    transport::TransportError,
};

/// Longest that the sign of life is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to come again while another call tries.
const TRYING: Duration = Duration::from_secs(1);

/// A call that was let through. Dropped, it says nothing of the provider.
pub struct Pass {
    provider: Arc<Provider>,
    trial: bool,
    /// The start of the instance that was leased.
    instance: Option<u64>,
    over: bool,
}

/// Calls that timed out, whose instance is being asked for a sign of life.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    calls: u32,
    trial: bool,
}

/// As it is at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Circuit {
    /// `closed` | `open` | `half_open`
    pub state: &'static str,
    /// Until it lets a call pass. `None`: it does.
    pub retry_after: Option<Duration>,
}

impl Provider {
    /// Lets a call through, or refuses it. `None`: this provider has no breaker.
    pub fn admit(self: &Arc<Self>) -> Result<Option<Pass>, CallError> {
        let Some(limits) = self.breaker_limits() else { return Ok(None) };
        let (now, mut told) = (Instant::now(), None);
        let trial = {
            let mut core = self.core();
            match core.breaker.state(now, limits) {
                BreakerState::Closed => false,
                BreakerState::HalfOpen if core.breaker.wants_trial(now, limits) => {
                    if core.breaker.begin_trial() {
                        told = Some(self.breaker_changed("open", "half_open"));
                    }
                    true
                }
                state => {
                    let left = if let BreakerState::Open(left) = state { left } else { TRYING };
                    let (failures, cause) = (core.breaker.failures(), core.blamed.clone());
                    return Err(CallError::CircuitOpen { provider: self.name.clone(), failures, cause, left });
                }
            }
        };
        self.tell_breaker(told);
        Ok(Some(Pass { provider: self.clone(), trial, instance: None, over: false }))
    }

    pub(super) fn circuit(&self, core: &Core, now: Instant) -> Circuit {
        let closed = Circuit { state: "closed", retry_after: None };
        let Some(limits) = self.breaker_limits() else { return closed };
        let state = core.breaker.state(now, limits);
        let retry_after = match state {
            BreakerState::Open(left) => Some(left),
            BreakerState::HalfOpen if !core.breaker.wants_trial(now, limits) => Some(TRYING),
            _ => None,
        };
        Circuit { state: state.as_str(), retry_after }
    }

    /// Somebody asks for the provider by name: its failures so far are forgotten.
    pub(super) fn forgive(&self) {
        let told = {
            let mut core = self.core();
            core.forgive();
            let before = self.circuit(&core, Instant::now()).state;
            core.breaker.close();
            (before != "closed").then(|| self.breaker_changed(before, "closed"))
        };
        self.tell_breaker(told);
    }

    fn breaker_limits(&self) -> Option<BreakerLimits> {
        let breaker = self.spec.breaker;
        let limits = BreakerLimits { failures: breaker.failure_threshold, answers: 1, reset: breaker.reset_timeout };
        (limits.failures > 0).then_some(limits)
    }

    /// `times`: calls that ended so, with the same verdict. `fault`: why, of one that failed.
    fn judge(&self, verdict: Verdict, times: u32, trial: bool, fault: Option<&CallError>) {
        let Some(limits) = self.breaker_limits() else { return };
        let now = Instant::now();
        let told = {
            let mut core = self.core();
            let before = core.breaker.state(now, limits).as_str();
            if let Some(fault) = fault.filter(|_| verdict == Verdict::Failed) {
                core.blamed = fault.cause();
                if let Some(wait) = fault.said_retry_after() {
                    core.breaker.hold(now + wait.min(HEEDED));
                }
            }
            if trial {
                core.breaker.ended(verdict, true, now, limits);
            }
            for _ in u32::from(trial)..times {
                core.breaker.ended(verdict, false, now, limits);
            }
            let after = core.breaker.state(now, limits).as_str();
            (before != after).then(|| self.breaker_changed(before, after))
        };
        self.tell_breaker(told);
    }

    /// A call timed out. One question for all that do meanwhile.
    fn doubt(self: &Arc<Self>, trial: bool, fault: CallError) {
        let first = {
            let mut core = self.core();
            core.doubts.calls = core.doubts.calls.saturating_add(1);
            core.doubts.trial |= trial;
            core.doubts.calls == 1
        };
        if first {
            let provider = self.clone();
            self.ground.tasks.spawn(async move {
                let alive = provider.gives_a_sign().await;
                let Doubts { calls, trial } = std::mem::take(&mut provider.core().doubts);
                let verdict = if alive { Verdict::Neither } else { Verdict::Failed };
                provider.judge(verdict, calls, trial, Some(&fault));
                if !alive {
                    provider.end_hung().await;
                }
            });
        }
    }

    /// An instance of ours that has let its breaker open and gives no sign of life hangs: the call that tries gets a fresh one.
    /// Whoever calls without pause keeps a health probe from seeing that. With `health_check_interval_s: 0` it is left alone.
    async fn end_hung(self: &Arc<Self>) {
        let ours = !matches!(self.spec.launch, Launch::Remote(_)) && !self.spec.health_check_interval.is_zero();
        let open = self.circuit(&self.core(), Instant::now()).state == "open";
        if ours && open {
            // Its last calls have the time that they have.
            self.stop_one(StopReason::Unhealthy, self.spec.call_timeout, false).await;
        }
    }

    /// An instance that has come or gone meanwhile is none to complain of.
    async fn gives_a_sign(&self) -> bool {
        let Some(upstream) = self.live() else { return true };
        let asked = upstream.request(negotiation::sign_of_life(upstream.era()), b"");
        let within = PATIENCE.min(self.spec.call_timeout);
        match asked {
            Ok(asked) => match asked.answer(within).await {
                Err(error) => !matches!(error, CallError::Timeout { .. }) && !is_its_fault(&error, true),
                Ok(_) => true,
            },
            // It does not even read.
            Err(CallError::Transport { error: TransportError::Overloaded { .. }, .. }) => false,
            Err(error) => !is_its_fault(&error, false),
        }
    }

    fn breaker_changed(&self, from: &'static str, to: &'static str) -> Event {
        Event::ProviderBreakerChanged { provider: self.name.to_string(), from, to }
    }

    /// Never with the lock held.
    fn tell_breaker(&self, event: Option<Event>) {
        if let Some(event) = event {
            self.ground.telemetry.emit(event);
        }
    }
}

impl Pass {
    /// The provider has lent its instance.
    pub fn leased(&mut self) {
        self.instance = Some(self.provider.core().started);
    }

    /// Any answer is one, an error too.
    pub fn answered(mut self) {
        self.over = true;
        self.provider.judge(Verdict::Answered, 1, self.trial, None);
    }

    /// `own_timeout`: the caller wanted to wait for less than the provider may take.
    pub fn failed(mut self, error: &CallError, sent: bool, own_timeout: bool) {
        self.over = true;
        if matches!(error, CallError::Timeout { .. }) && !own_timeout {
            return self.provider.doubt(self.trial, error.clone());
        }
        let mut verdict = if is_its_fault(error, sent) { Verdict::Failed } else { Verdict::Neither };
        // However many calls an instance takes along when it dies, it dies once.
        if matches!(error, CallError::Gone { .. }) && verdict == Verdict::Failed {
            let before = std::mem::replace(&mut self.provider.core().counted_death, self.instance);
            if before == self.instance && !self.trial {
                verdict = Verdict::Neither;
            }
        }
        self.provider.judge(verdict, 1, self.trial, Some(error));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.over && self.trial {
            self.provider.judge(Verdict::Neither, 1, true, None);
        }
    }
}

/// That it does not start has a back-off of its own; what it answers, HTTP 4xx included, is an answer.
fn is_its_fault(error: &CallError, sent: bool) -> bool {
    match error {
        CallError::Gone { .. } => sent,
        CallError::Transport { error, .. } => match error {
            TransportError::Open(_) | TransportError::Io(_) => true,
            TransportError::Closed => sent,
            TransportError::Http { status, .. } => *status >= 500 || *status == 429,
            TransportError::Lacking(_) | TransportError::Overloaded { .. } | TransportError::Oversize { .. } => false,
        },
        _ => false,
    }
}
