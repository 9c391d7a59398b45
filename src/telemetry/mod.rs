//! What happened: one [`Event`] becomes a log line, a metric and an entry of the bounded history.
//!
//! One [`Telemetry`] per gateway; every floor above holds an `Arc` of it.

mod about;
pub mod build;
mod event;
mod groups;
mod history;
mod log_writer;
pub mod logs;
mod metrics;

use std::{sync::Arc, time::Duration};

pub use about::{About, in_words};
pub use event::{Event, StopReason};
pub use groups::{GroupGauge, GroupMetrics};
pub use history::{History, Recorded};
pub use metrics::{CallOutcome, Metrics};

#[derive(Default)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub history: History,
}

impl Telemetry {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Logs, counts and remembers.
    pub fn emit(&self, event: Event) {
        event.log();
        self.metrics.observe(&event);
        self.history.push(&event);
    }

    /// A finished call. Not part of the history: there are too many.
    pub fn call(&self, provider: &str, tool: &str, outcome: CallOutcome, took: Duration) {
        self.metrics.call(provider, tool, outcome, took);
        tracing::debug!(provider, tool, outcome = outcome.as_str(), duration_us = took.as_micros() as u64, "call");
    }
}
