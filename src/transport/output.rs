//! The last lines an upstream wrote beside the protocol: stderr, and what was no JSON-RPC on stdout.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

/// Bytes kept of one line.
const LINE_BYTES: usize = 2048;

/// A bounded ring of lines; outlives the process so that `logs` and errors can show what it said last.
#[derive(Default)]
pub struct OutputRing {
    inner: Mutex<Inner>,
    /// Has every line, too.
    above: Option<Arc<Self>>,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<String>,
    /// All lines ever pushed.
    total: u64,
    noise: u64,
}

impl OutputRing {
    /// Lines kept per provider.
    pub const LINES: usize = 200;

    /// Of one of several that write; `above` has what all of them do.
    pub fn below(above: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { above: Some(above.clone()), ..Self::default() })
    }

    /// One line of stderr, without its newline.
    pub fn stderr(&self, line: &[u8]) {
        self.above.iter().for_each(|above| above.stderr(line));
        self.push(line);
    }

    /// One line of stdout that was no JSON-RPC message.
    pub fn noise(&self, line: &[u8]) {
        self.above.iter().for_each(|above| above.noise(line));
        self.lock().noise += 1;
        self.push(line);
    }

    /// Counts lines that were not looked at since [`Self::LINES`] younger ones follow at once.
    pub(super) fn skipped(&self, lines: usize) {
        self.above.iter().for_each(|above| above.skipped(lines));
        self.lock().total += u64::try_from(lines).unwrap_or(u64::MAX);
    }

    /// Lines of stdout that were no JSON-RPC message so far.
    pub fn noise_count(&self) -> u64 {
        self.lock().noise
    }

    /// The last `n` lines, oldest first.
    pub fn tail(&self, n: usize) -> Vec<String> {
        let inner = self.lock();
        inner.lines.iter().skip(inner.lines.len().saturating_sub(n)).cloned().collect()
    }

    /// The lines that came after the first `seen` ones (as far as they are kept), and the new total.
    pub fn since(&self, seen: u64) -> (Vec<String>, u64) {
        let inner = self.lock();
        let fresh = usize::try_from(inner.total.saturating_sub(seen)).unwrap_or(usize::MAX).min(inner.lines.len());
        (inner.lines.iter().skip(inner.lines.len() - fresh).cloned().collect(), inner.total)
    }

    fn push(&self, line: &[u8]) {
        let cut = &line[..line.len().min(LINE_BYTES)];
        let text = String::from_utf8_lossy(cut).trim_end().to_owned();
        let mut inner = self.lock();
        if inner.lines.len() == Self::LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(text);
        inner.total += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic while pushing a line leaves a valid ring.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
