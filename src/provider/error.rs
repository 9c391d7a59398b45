//! Why a call got no answer from its provider: what, where, why, whose fault, what to do.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ClientFeature, ProviderState};
use crate::{config::ProviderName, telemetry::CallOutcome, transport::TransportError};

/// Lines of the provider's own output that go into an error.
pub(super) const TAIL: usize = 5;

#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The provider was removed or replaced while the call waited; looking the name up again may help.
    #[error("provider \"{provider}\" was taken out of service by a configuration reload")]
    Retired { provider: ProviderName },
    #[error("provider \"{provider}\" is stopping and takes no more calls: the gateway is shutting down")]
    ShuttingDown { provider: ProviderName },
    /// It did not start, or is not tried again yet.
    #[error("provider \"{provider}\" is {state}: {cause}{}", tail(.output))]
    NotStarted {
        provider: ProviderName,
        state: ProviderState,
        cause: String,
        output: Vec<String>,
        retry_after: Option<Duration>,
        /// For want of something that the gateway has no more of.
        internal: bool,
    },
    /// It ended while the call was in flight.
    #[error("provider \"{provider}\" {exit} while the call was in flight{}", tail(.output))]
    Gone { provider: ProviderName, exit: String, output: Vec<String> },
    /// Stopped with this call in flight: a reload with `graceful=false`, or the drain time was up.
    #[error("provider \"{provider}\" was stopped ({reason}) while the call was in flight")]
    Cut { provider: ProviderName, reason: &'static str },
    #[error("provider \"{provider}\" did not answer within {:.1} s ({limit}); the call was cancelled", .after.as_secs_f64())]
    Timeout { provider: ProviderName, after: Duration, limit: &'static str },
    /// Not sent: its breaker is open.
    #[error(
        "provider \"{provider}\" takes no calls now: {failures} in a row failed (circuit_breaker), the last one because {cause}"
    )]
    CircuitOpen { provider: ProviderName, failures: u32, cause: String, left: Duration },
    #[error(
        "provider \"{provider}\" is busy: {limit} calls are running (max_concurrency) and {queued} wait (max_queued); try again in a moment"
    )]
    Busy { provider: ProviderName, limit: u32, queued: usize },
    #[error(
        "provider \"{provider}\" has an instance for each client (sharing: session), and {limit} clients have one already \
         (max_instances); one that is not used ends after idle_ttl_s, or with its client"
    )]
    Full { provider: ProviderName, limit: u32 },
    #[error(
        "provider \"{provider}\" serves each client by an instance of its own (sharing: session), and this client is gone"
    )]
    ClientGone { provider: ProviderName },
    /// It needs something of the client that it did not get.
    #[error("provider \"{provider}\" needs {what} of this client to answer the call, and {why}")]
    NoInput { provider: ProviderName, what: String, why: String },
    /// The same, of a client that says with each request what it can be asked for.
    #[error("provider \"{provider}\" needs {} of this client to answer the call, which its request does not declare", .feature.as_str())]
    MissingCapability { provider: ProviderName, feature: ClientFeature },
    #[error("provider \"{provider}\": {error}")]
    Transport { provider: ProviderName, error: TransportError },
}

impl CallError {
    /// Short, stable, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retired { .. } => "provider_retired",
            Self::ShuttingDown { .. } => "shutting_down",
            Self::NotStarted { .. } => "provider_not_started",
            Self::Gone { .. } => "provider_exited",
            Self::Cut { .. } => "provider_stopped",
            Self::Timeout { .. } => "timeout",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Busy { .. } => "provider_busy",
            Self::Full { .. } => "too_many_instances",
            Self::ClientGone { .. } => "client_gone",
            Self::NoInput { .. } => "input_not_given",
            Self::MissingCapability { .. } => "missing_capability",
            Self::Transport { .. } => "transport_error",
        }
    }

    pub fn provider(&self) -> &ProviderName {
        match self {
            Self::Retired { provider }
            | Self::ShuttingDown { provider }
            | Self::NotStarted { provider, .. }
            | Self::Gone { provider, .. }
            | Self::Cut { provider, .. }
            | Self::Timeout { provider, .. }
            | Self::CircuitOpen { provider, .. }
            | Self::Busy { provider, .. }
            | Self::Full { provider, .. }
            | Self::ClientGone { provider }
            | Self::NoInput { provider, .. }
            | Self::MissingCapability { provider, .. }
            | Self::Transport { provider, .. } => provider,
        }
    }

    pub fn outcome(&self) -> CallOutcome {
        match self {
            Self::Timeout { .. } => CallOutcome::Timeout,
            _ => CallOutcome::Unavailable,
        }
    }

    /// What it came of, for a text that names the provider already.
    pub fn cause(&self) -> String {
        match self {
            Self::NotStarted { cause, .. } | Self::CircuitOpen { cause, .. } => cause.clone(),
            Self::Gone { exit, .. } => format!("it {exit}"),
            Self::Cut { reason, .. } => format!("it was stopped ({reason})"),
            Self::Timeout { after, limit, .. } => {
                format!("it did not answer within {:.1} s ({limit})", after.as_secs_f64())
            }
            Self::Busy { limit, queued, .. } => {
                format!("{limit} calls are running (max_concurrency) and {queued} wait (max_queued)")
            }
            Self::Full { limit, .. } => format!("{limit} clients have an instance already (max_instances)"),
            Self::Retired { .. } => "it was taken out of service by a configuration reload".into(),
            Self::ShuttingDown { .. } => "the gateway is shutting down".into(),
            Self::ClientGone { .. } => "the client is gone".into(),
            Self::NoInput { what, why, .. } => format!("it needs {what} of the client, and {why}"),
            Self::MissingCapability { feature, .. } => format!("it needs {} of the client", feature.as_str()),
            Self::Transport { error, .. } => error.to_string(),
        }
    }

    /// `Retry-After` of an HTTP answer.
    pub(super) fn said_retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transport { error: TransportError::Http { retry_after, .. }, .. } => *retry_after,
            _ => None,
        }
    }

    /// `downstream`: the client's doing; `upstream`: the provider's; `internal`: the gateway's or its operator's.
    pub fn fault(&self) -> &'static str {
        match self {
            Self::NotStarted { internal: true, .. } => "internal",
            Self::Retired { .. } | Self::ShuttingDown { .. } | Self::Cut { .. } | Self::Full { .. } => "internal",
            Self::NoInput { .. } | Self::MissingCapability { .. } | Self::ClientGone { .. } => "downstream",
            _ => "upstream",
        }
    }

    /// The `data` of the JSON-RPC error.
    pub fn details(&self) -> Value {
        let (provider, cause) = (self.provider(), self.cause());
        let mut data = json!({"error": self.name(), "provider": provider, "cause": cause, "fault": self.fault()});
        match self {
            Self::NotStarted { output, .. } | Self::Gone { output, .. } => data["output"] = json!(output),
            Self::CircuitOpen { failures, .. } => data["failures"] = json!(failures),
            Self::MissingCapability { feature, .. } => {
                data["requiredCapabilities"] = json!({feature.as_str(): {}});
            }
            Self::Busy { limit, queued, .. } => {
                data["max_concurrency"] = json!(limit);
                data["queued"] = json!(queued);
            }
            Self::Full { limit, .. } => data["max_instances"] = json!(limit),
            Self::Timeout { after, limit, .. } => {
                data["timeout_ms"] = json!(after.as_millis() as u64);
                data["limit"] = json!(limit);
            }
            Self::Transport { error: TransportError::Http { status, .. }, .. } => data["http_status"] = json!(status),
            _ => {}
        }
        data
    }
}

fn tail(output: &[String]) -> String {
    match output {
        [] => String::new(),
        lines => format!("; its last output: {}", lines.join(" | ")),
    }
}
