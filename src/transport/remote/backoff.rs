//! How long to wait before a stream is opened again. Pure but for the jitter.

use std::time::Duration;

/// Without a word from the server.
const BASE: Duration = Duration::from_secs(1);
/// Whatever the server says.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Backoff {
    /// Attempts since the last one that brought anything.
    barren: u32,
}

impl Backoff {
    pub(super) fn fruitful(&mut self) {
        self.barren = 0;
    }

    pub(super) fn barren(&self) -> u32 {
        self.barren
    }

    /// Never shorter than what the server asked for by `retry:` (within bounds); doubles with every barren attempt, plus up
    /// to a quarter of jitter where nothing was asked.
    pub(super) fn next(&mut self, retry: Option<Duration>) -> Duration {
        let base = retry.unwrap_or(BASE).clamp(SHORTEST, LONGEST);
        let wait = base.saturating_mul(1 << self.barren.min(10)).min(LONGEST);
        let jitter = if retry.is_some() && self.barren == 0 { 0.0 } else { fastrand::f64() / 4.0 };
        self.barren = self.barren.saturating_add(1);
        wait.mul_f64(1.0 + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_is_bounded_and_honours_retry() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next(None)).collect();
        assert!(waits[0] >= BASE && waits[0] <= BASE * 5 / 4);
        assert!(waits[3] >= BASE * 8);
        assert!(waits.iter().all(|w| *w <= LONGEST * 5 / 4));
        backoff.fruitful();
        assert_eq!(backoff.next(Some(Duration::from_millis(500))), Duration::from_millis(500));
        backoff.fruitful();
        assert_eq!(backoff.next(Some(Duration::ZERO)), SHORTEST);
    }
}
