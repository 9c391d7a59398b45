//! What a client is told of a call that came to nothing: the error, what its provider was doing, whose fault it is, and when the
//! provider is tried again.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{CallError, Provider, ProviderState};
use crate::{config::ProviderName, telemetry::CallOutcome, transport::TransportError};

/// When to try again what found a provider busy. Nobody knows when one of its calls will be done.
const BUSY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Told {
    pub error: CallError,
    /// When the call had failed.
    state: ProviderState,
    /// Zero: by the next call. `None`: not by this gateway, or it would be of no use.
    retry_after: Option<Duration>,
}

impl Provider {
    /// The error of a call of this provider, with how it stands with the provider now.
    pub fn told(&self, error: CallError) -> Told {
        let status = self.status();
        let left = status.patience().unwrap_or_default();
        let retry_after = match &error {
            CallError::NotStarted { retry_after, .. } => Some(retry_after.unwrap_or(left)),
            CallError::CircuitOpen { left, .. } => Some(*left),
            CallError::Busy { .. } | CallError::Full { .. } => Some(left.max(BUSY)),
            CallError::Transport { error: TransportError::Http { retry_after, .. }, .. } => {
                Some(left.max(retry_after.unwrap_or_default()))
            }
            CallError::Transport { error: TransportError::Overloaded { .. }, .. } => Some(left.max(BUSY)),
            CallError::ShuttingDown { .. }
            | CallError::ClientGone { .. }
            | CallError::NoInput { .. }
            | CallError::MissingCapability { .. } => None,
            _ => Some(left),
        };
        let state = match &error {
            CallError::NotStarted { state, .. } => *state,
            CallError::ShuttingDown { .. } | CallError::Cut { .. } | CallError::Retired { .. } => {
                ProviderState::Stopping
            }
            _ => status.state,
        };
        Told { error, state, retry_after }
    }
}

impl Told {
    /// Short, stable, for programs.
    pub fn name(&self) -> &'static str {
        self.error.name()
    }

    pub fn provider(&self) -> &ProviderName {
        self.error.provider()
    }

    pub fn outcome(&self) -> CallOutcome {
        self.error.outcome()
    }

    /// The `data` of the JSON-RPC error.
    pub fn details(&self) -> Value {
        let mut data = self.error.details();
        data["state"] = json!(self.state);
        data["retry_after"] = json!(self.retry_after.map(seconds));
        data["retry_after_ms"] = json!(self.retry_after.map(|left| left.as_millis() as u64));
        data
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [it is {}; fault: {}", self.error, self.state, self.error.fault())?;
        match self.retry_after {
            None => f.write_str("]"),
            Some(Duration::ZERO) => f.write_str("; the next call tries it again]"),
            Some(left) => write!(f, "; it is tried again in {:.1} s]", left.as_secs_f64()),
        }
    }
}

impl std::error::Error for Told {}

/// With milliseconds.
pub fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}
