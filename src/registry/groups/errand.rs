//! One call on its way through a group: the [`Errand`] from its coming to its end, a [`Seat`] for each member that it tries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Core, Group, refusal::Why, standing::Standing};
use crate::{
    provider::{BreakerState, CallError, Provider, Verdict},
    telemetry::Event,
    transport::TransportError,
    wire::Span,
};

/// Not leased yet.
const WAITS: u64 = u64::MAX;

/// Dropped, it is over for its client: with what the last seat came to, or given up.
pub struct Errand {
    pass: Option<Pass>,
    last: Verdict,
    /// The last seat came to nothing.
    unanswered: bool,
    /// Members that were tried, and what they said.
    tried: Vec<(String, CallError)>,
    /// Members that went away under it: they may be up again, but others come first.
    left: Vec<String>,
}

/// The group took the call.
struct Pass {
    group: Arc<Group>,
    trial: bool,
}

/// A call's hold on one member.
pub struct Seat {
    group: Arc<Group>,
    index: usize,
    member: String,
    trial: bool,
    /// The start of the instance that was leased.
    instance: AtomicU64,
    over: bool,
    /// To go on with what this member has begun.
    pub(super) pinned: bool,
    /// What the member must not see of the client's request.
    pub edits: Vec<(Span, Vec<u8>)>,
}

impl Errand {
    /// It has a seat again: given up from now on, it says nothing.
    pub(super) fn is_under_way(&mut self) {
        (self.last, self.unanswered) = (Verdict::Neither, false);
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.pass.is_some()
    }

    pub(super) fn has_tried(&self, member: &str) -> bool {
        self.tried.iter().any(|(tried, _)| tried == member)
    }

    pub(super) fn has_left(&self, member: &str) -> bool {
        self.left.iter().any(|left| left == member)
    }

    pub(super) fn tried(&self) -> &[(String, CallError)] {
        &self.tried
    }

    /// At the first member: whether the group takes calls at all.
    pub(super) fn admit(
        &mut self,
        group: &Arc<Group>,
        core: &mut Core,
        standings: &[Standing],
        now: Instant,
        told: &mut Vec<Event>,
    ) -> Result<(), Why> {
        core.counts.calls += 1;
        let healthy = standings.iter().filter(|standing| standing.counts()).count();
        let refused = match core.breaker.state(now, group.limits()) {
            BreakerState::Open(left) => Some(Why::Open { failures: core.breaker.failures(), left: Some(left) }),
            BreakerState::HalfOpen if !core.breaker.wants_trial(now, group.limits()) => {
                Some(Why::Open { failures: core.breaker.failures(), left: None })
            }
            _ if healthy < group.spec.min_healthy as usize => {
                Some(Why::TooFew { healthy, of: standings.len(), wanted: group.spec.min_healthy })
            }
            _ => None,
        };
        if let Some(why) = refused {
            core.counts.refused += 1;
            return Err(why);
        }
        let trial = core.breaker.state(now, group.limits()) == BreakerState::HalfOpen;
        if trial && core.breaker.begin_trial() {
            told.push(group.changed(None, "open", "half_open"));
        }
        self.pass = Some(Pass { group: group.clone(), trial });
        Ok(())
    }

    /// The member got no answer: its seat is given back. `true`: the call may go to another one, for nothing of it was sent
    /// and it is not its own fault. `unsent`: as far as is known here.
    pub fn failed(&mut self, seat: Option<Seat>, error: &CallError, unsent: bool, own_timeout: bool) -> bool {
        let Some(seat) = seat else { return false };
        let unsent = unsent || never_left(error);
        // One that was found closed is up again in a moment, and is asked again as any provider is.
        let passes = match error {
            CallError::NotStarted { .. }
            | CallError::CircuitOpen { .. }
            | CallError::Busy { .. }
            | CallError::Full { .. } => true,
            CallError::Transport { error, .. } => !matches!(error, TransportError::Closed),
            _ => false,
        };
        let passed_on = unsent && passes && !seat.pinned;
        let member = seat.member.clone();
        let died = matches!(error, CallError::Gone { .. });
        self.last = seat.end(verdict(error, unsent, own_timeout), passed_on, died);
        self.unanswered = true;
        match passed_on {
            true => self.tried.push((member, error.clone())),
            false => self.left.push(member),
        }
        passed_on
    }

    /// Any answer is one, an error too.
    pub fn answered(mut self, seat: Seat) {
        self.last = seat.end(Verdict::Answered, false, false);
    }
}

impl Default for Errand {
    fn default() -> Self {
        Self { pass: None, last: Verdict::Neither, unanswered: false, tried: Vec::new(), left: Vec::new() }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass.end(self.last, self.unanswered);
        }
    }
}

impl Pass {
    fn end(&self, verdict: Verdict, unanswered: bool) {
        let (group, now) = (&self.group, Instant::now());
        let told = {
            let mut core = group.core();
            let before = core.breaker.state(now, group.limits());
            core.counts.failed += u64::from(unanswered);
            core.breaker.ended(verdict, self.trial, now, group.limits());
            let after = core.breaker.state(now, group.limits());
            (before.as_str() != after.as_str()).then(|| group.changed(None, before.as_str(), after.as_str()))
        };
        group.tell(told.into_iter().collect());
    }
}

impl Seat {
    pub(super) fn new(group: Arc<Group>, index: usize, member: String, trial: bool) -> Self {
        let instance = AtomicU64::new(WAITS);
        Self { group, index, member, trial, instance, over: false, pinned: false, edits: Vec::new() }
    }

    pub fn member(&self) -> &str {
        &self.member
    }

    /// The provider counts the call from now on.
    pub fn leased(&self, provider: &Provider) {
        self.instance.store(provider.load().starts, Ordering::Relaxed);
        if let Some(member) = self.group.core().members.get_mut(self.index) {
            member.waiting = member.waiting.saturating_sub(1);
        }
    }

    fn end(mut self, verdict: Verdict, passed_on: bool, died: bool) -> Verdict {
        self.over = true;
        self.leave(verdict, passed_on, died)
    }

    /// The verdict that counts: of the calls that one instance takes along when it dies, the first.
    fn leave(&self, mut verdict: Verdict, passed_on: bool, died: bool) -> Verdict {
        let (group, now, instance) = (&self.group, Instant::now(), self.instance.load(Ordering::Relaxed));
        let limits = group.member_limits();
        let told = {
            let mut core = group.core();
            let Some(member) = core.members.get_mut(self.index) else { return verdict };
            member.running = member.running.saturating_sub(1);
            if instance == WAITS {
                member.waiting = member.waiting.saturating_sub(1);
            }
            member.failed += u64::from(verdict == Verdict::Failed);
            member.passed_on += u64::from(passed_on);
            if died && verdict == Verdict::Failed && member.died.replace(instance) == Some(instance) && !self.trial {
                verdict = Verdict::Neither;
            }
            let before = member.breaker.state(now, limits);
            member.breaker.ended(verdict, self.trial, now, limits);
            let after = member.breaker.state(now, limits);
            let spec = group.spec.members.get(self.index);
            (before.as_str() != after.as_str()).then(|| group.changed(spec, before.as_str(), after.as_str()))
        };
        group.tell(told.into_iter().collect());
        let outcome = match verdict {
            _ if passed_on => "passed_on",
            Verdict::Answered => "answered",
            Verdict::Failed => "failed",
            Verdict::Neither => "other",
        };
        group.telemetry.metrics.groups.call(group.name.as_str(), &self.member, outcome);
        verdict
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.leave(Verdict::Neither, false, false);
        }
    }
}

/// An endpoint that could not be connected to was sent nothing.
fn never_left(error: &CallError) -> bool {
    matches!(error, CallError::Transport { error: TransportError::Open(_), .. })
}

/// `own_timeout`: the caller wanted to wait for less than the provider may take.
fn verdict(error: &CallError, unsent: bool, own_timeout: bool) -> Verdict {
    match error {
        CallError::NotStarted { .. } => Verdict::Failed,
        // Those that were sent and lost tell of it.
        CallError::Gone { .. } | CallError::Transport { error: TransportError::Closed, .. } if unsent => {
            Verdict::Neither
        }
        CallError::Gone { .. } => Verdict::Failed,
        CallError::Timeout { .. } if !own_timeout => Verdict::Failed,
        CallError::Transport { error: TransportError::Oversize { .. } | TransportError::Overloaded { .. }, .. } => {
            Verdict::Neither
        }
        CallError::Transport { .. } => Verdict::Failed,
        _ => Verdict::Neither,
    }
}
