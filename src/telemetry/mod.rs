//! What happened: one [`Event`] becomes a log line, a metric, an entry of the bounded history and a line of the
//! audit file.
//!
//! One [`Telemetry`] per gateway; every floor above holds an `Arc` of it.

mod about;
mod audit;
mod audit_file;
pub mod build;
mod event;
mod groups;
mod history;
mod log_writer;
pub mod logs;
mod metrics;
#[cfg(not(feature = "otlp"))]
#[path = "no_spans.rs"]
mod spans;
#[cfg(feature = "otlp")]
mod spans;

use std::{sync::Arc, time::Duration};

pub use about::{About, in_words};
pub use audit::{Audit, CallRecord, RefusedRequest};
pub use event::{Event, StopReason};
pub use groups::{GroupGauge, GroupMetrics};
pub use history::{History, Recorded};
pub use metrics::{CallOutcome, Metrics, ProviderGauge};
pub use spans::{CallSpan, Parent, Spans};

pub struct Telemetry {
    pub metrics: Metrics,
    pub history: History,
    pub audit: Audit,
    pub spans: Spans,
}

impl Telemetry {
    pub fn new() -> Arc<Self> {
        let metrics = Metrics::default();
        let audit = Audit::new(metrics.audit.clone());
        Arc::new(Self { metrics, history: History::default(), audit, spans: Spans::default() })
    }

    /// Logs, counts and remembers.
    pub fn emit(&self, event: Event) {
        event.log();
        self.metrics.observe(&event);
        self.history.push(&event);
        if event.is_audited() {
            self.audit.record(&event);
        }
    }

    /// A finished call. Not part of the history: there are too many.
    pub fn call(&self, provider: &str, tool: &str, outcome: CallOutcome, took: Duration) {
        self.metrics.call(provider, tool, outcome, took);
        tracing::debug!(provider, tool, outcome = outcome.as_str(), duration_us = took.as_micros() as u64, "call");
    }
}
