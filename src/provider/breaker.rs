//! A circuit breaker, of a provider, a group or a member: closed, open for a time after failures in a row, then half open: one call at a time tries. Pure; the
//! caller tells the time.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Breaker {
    /// In a row.
    failures: u32,
    /// Trial calls in a row that were answered.
    answered: u32,
    /// Since when; set while it is not closed.
    opened: Option<Instant>,
    /// A trial call is on its way.
    trial: bool,
    /// Not before, whatever its own time.
    held: Option<Instant>,
}

/// What it takes to open and to close it.
#[derive(Debug, Clone, Copy)]
pub struct BreakerLimits {
    pub failures: u32,
    pub answers: u32,
    pub reset: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// Refuses for so long.
    Open(Duration),
    HalfOpen,
}

/// How a call ended, as far as a breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Answered,
    Failed,
    /// Says nothing about who was called: given up, refused for a limit, taken out of service.
    Neither,
}

impl Breaker {
    pub fn state(&self, now: Instant, limits: BreakerLimits) -> BreakerState {
        match self.opened {
            None => BreakerState::Closed,
            Some(since) => {
                match Some(since + limits.reset).max(self.held).and_then(|until| until.checked_duration_since(now)) {
                    Some(left) if !left.is_zero() => BreakerState::Open(left),
                    _ => BreakerState::HalfOpen,
                }
            }
        }
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Half open, and nobody is trying.
    pub fn wants_trial(&self, now: Instant, limits: BreakerLimits) -> bool {
        self.state(now, limits) == BreakerState::HalfOpen && !self.trial
    }

    /// `true`: none was answered since it opened.
    pub fn begin_trial(&mut self) -> bool {
        self.trial = true;
        self.answered == 0
    }

    /// `trial`: of the call that ended. One that began before the breaker opened does not move it any more.
    pub fn ended(&mut self, verdict: Verdict, trial: bool, now: Instant, limits: BreakerLimits) {
        if trial {
            self.trial = false;
        }
        match (verdict, self.opened, trial) {
            (Verdict::Neither, ..) | (_, Some(_), false) => {}
            (Verdict::Answered, None, _) => (self.failures, self.held) = (0, None),
            (Verdict::Answered, Some(_), true) => {
                self.answered += 1;
                if self.answered >= limits.answers {
                    self.close();
                }
            }
            (Verdict::Failed, None, _) => {
                self.failures += 1;
                if self.failures >= limits.failures {
                    self.open(now);
                }
            }
            (Verdict::Failed, Some(_), true) => {
                self.failures += 1;
                self.open(now);
            }
        }
    }

    /// Once open it refuses until then, also when its own time is shorter.
    pub fn hold(&mut self, until: Instant) {
        self.held = self.held.max(Some(until));
    }

    fn open(&mut self, now: Instant) {
        self.opened = Some(now);
        self.answered = 0;
    }

    pub fn close(&mut self) {
        // A trial that is on its way ends as any call.
        *self = Self::default();
    }
}

impl BreakerState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits { failures: 2, answers: 2, reset: Duration::from_secs(10) };

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_answered_trials() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for verdict in [Verdict::Failed, Verdict::Neither, Verdict::Answered, Verdict::Failed] {
            breaker.ended(verdict, false, start, LIMITS);
        }
        assert_eq!(breaker.state(start, LIMITS), BreakerState::Closed, "an answer in between");
        breaker.ended(Verdict::Failed, false, start, LIMITS);
        assert_eq!(breaker.state(at(4), LIMITS), BreakerState::Open(Duration::from_secs(6)));
        // Calls that began before it opened.
        breaker.ended(Verdict::Answered, false, at(5), LIMITS);
        breaker.ended(Verdict::Failed, false, at(6), LIMITS);
        assert!(!breaker.wants_trial(at(9), LIMITS));
        assert!(breaker.wants_trial(at(10), LIMITS));
        breaker.begin_trial();
        assert!(!breaker.wants_trial(at(10), LIMITS), "one at a time");
        breaker.ended(Verdict::Neither, true, at(11), LIMITS);
        assert!(breaker.wants_trial(at(11), LIMITS), "given up: the next one tries");
        breaker.begin_trial();
        breaker.ended(Verdict::Failed, true, at(11), LIMITS);
        assert_eq!(breaker.state(at(12), LIMITS), BreakerState::Open(Duration::from_secs(9)));
        for n in 0..2 {
            assert_eq!(breaker.state(at(21), LIMITS), BreakerState::HalfOpen, "{n} of 2");
            breaker.begin_trial();
            breaker.ended(Verdict::Answered, true, at(21), LIMITS);
        }
        assert_eq!((breaker.state(at(21), LIMITS), breaker.failures()), (BreakerState::Closed, 0));
    }

    #[test]
    fn one_that_is_held_is_open_for_longer() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        breaker.hold(at(30));
        assert_eq!(breaker.state(start, LIMITS), BreakerState::Closed, "it has not opened");
        breaker.ended(Verdict::Answered, false, start, LIMITS);
        (0..2).for_each(|_| breaker.ended(Verdict::Failed, false, start, LIMITS));
        assert_eq!(breaker.state(start, LIMITS), BreakerState::Open(LIMITS.reset), "it has answered since");
        breaker.close();
        breaker.hold(at(30));
        (0..2).for_each(|_| breaker.ended(Verdict::Failed, false, start, LIMITS));
        assert_eq!(breaker.state(at(20), LIMITS), BreakerState::Open(Duration::from_secs(10)));
        assert_eq!(breaker.state(at(30), LIMITS), BreakerState::HalfOpen);
    }
}
