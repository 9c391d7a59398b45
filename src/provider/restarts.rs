//! When one that fails, or ends by itself, is started again: a back-off for failures in a row, and a budget for ends that have an
//! answer between them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Core, Failure};

const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
const BACK_OFF_MOST: Duration = Duration::from_secs(30);
/// Longest that what an upstream says itself (`Retry-After`) is heeded.
pub(super) const HEEDED: Duration = Duration::from_secs(300);
/// What `crash_budget` is counted in.
const WINDOW: Duration = Duration::from_secs(60);

/// The latest ends of instances that nobody asked for, oldest first: as many as the budget, and one.
#[derive(Debug, Default)]
pub(super) struct Crashes(VecDeque<Instant>);

impl Crashes {
    /// One more. `Some`: the budget is used up until then.
    fn count(&mut self, now: Instant, budget: u32) -> Option<Instant> {
        if budget == 0 {
            return None;
        }
        self.0.retain(|ended| now.saturating_duration_since(*ended) < WINDOW);
        self.0.push_back(now);
        while self.0.len() > budget as usize + 1 {
            self.0.pop_front();
        }
        self.0.front().filter(|_| self.0.len() > budget as usize).map(|first| *first + WINDOW)
    }
}

impl Core {
    /// A start that came to nothing.
    pub(super) fn start_failed(&mut self, attempt: u64, failure: Failure, now: Instant) {
        self.consecutive_failures += u32::from(!failure.internal);
        let wait = back_off(self.consecutive_failures.max(1)).max(failure.wait.unwrap_or_default().min(HEEDED));
        self.retry_at = Some(now + wait);
        self.last_failure = Some((attempt, failure));
    }

    /// An instance has ended by itself. `true`: it is not started again at once, and counts as dead.
    ///
    /// The first one after an answer costs no waiting: a server that has worked is started again by the next call at once. But
    /// only so often within a minute.
    pub(super) fn crashed(&mut self, attempt: u64, failure: Failure, most: u32, budget: u32, now: Instant) -> bool {
        self.consecutive_failures += 1;
        self.last_failure = Some((attempt, failure));
        let in_a_row = self.consecutive_failures.saturating_sub(1);
        let backed_off = (in_a_row > 0).then(|| now + back_off(in_a_row));
        let spent = self.crashes.count(now, budget);
        self.retry_at = backed_off.max(spent);
        spent.is_some() || (backed_off.is_some() && self.consecutive_failures >= most)
    }

    /// Somebody asks for it by name: what was, is forgotten.
    pub(super) fn forgive(&mut self) {
        self.consecutive_failures = 0;
        self.retry_at = None;
        self.crashes = Crashes::default();
    }
}

/// 0.5 s, doubled each time, 30 s at most; less up to a quarter, so that many do not start at one moment.
pub(super) fn back_off(failures: u32) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(BACK_OFF_MOST).mul_f64(1.0 - fastrand::f64() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_until_the_first_end_is_a_minute_ago() {
        let (mut crashes, start) = (Crashes::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(crashes.count(at(0), 2), None);
        assert_eq!(crashes.count(at(10), 2), None);
        assert_eq!(crashes.count(at(20), 2), Some(at(60)));
        assert_eq!(crashes.count(at(60), 2), Some(at(70)), "10, 20 and 60 lie within a minute");
        assert_eq!(crashes.count(at(200), 2), None);
        assert_eq!(Crashes::default().count(at(0), 0), None, "no budget, no limit");
    }
}
