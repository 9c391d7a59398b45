//! The states of a provider and every transition there is. CONTRACT section 3.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    Cold,
    Initializing,
    Ready,
    Degraded,
    Stopping,
    Dead,
}

/// What moves a provider from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateEvent {
    /// Start, warm, first call, first listing.
    Start,
    HandshakeDone,
    /// The start failed, or was called off.
    StartFailed,
    /// The start failed, for the last time in a row that is allowed.
    StartFailedForGood,
    HealthFailed,
    HealthRestored,
    /// Idle, stop, retire.
    Stop,
    /// The upstream ended by itself.
    Gone,
    /// The same, once more than is restarted at once.
    GoneForGood,
    /// Stopped, and everything it held is free again.
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a provider that is {state} cannot take {event:?}")]
pub struct IllegalTransition {
    pub state: ProviderState,
    pub event: StateEvent,
}

/// The whole table; nothing else assigns a state.
pub fn next(state: ProviderState, event: StateEvent) -> Result<ProviderState, IllegalTransition> {
    use ProviderState as S;
    use StateEvent as E;
    Ok(match (state, event) {
        (S::Cold | S::Dead, E::Start) => S::Initializing,
        (S::Initializing, E::HandshakeDone) => S::Ready,
        (S::Initializing, E::StartFailed) => S::Cold,
        (S::Initializing, E::StartFailedForGood) => S::Dead,
        (S::Ready, E::HealthFailed) => S::Degraded,
        (S::Degraded, E::HealthRestored) => S::Ready,
        (S::Ready | S::Degraded, E::Stop) => S::Stopping,
        (S::Ready | S::Degraded, E::Gone) => S::Cold,
        (S::Ready | S::Degraded, E::GoneForGood) => S::Dead,
        (S::Stopping, E::Released) => S::Cold,
        (state, event) => return Err(IllegalTransition { state, event }),
    })
}

impl ProviderState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Initializing => "initializing",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Dead => "dead",
        }
    }

    /// Calls are served.
    pub fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

impl fmt::Display for ProviderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{ProviderState as S, StateEvent as E, *};

    #[test]
    fn the_table_has_exactly_these_transitions() {
        let states = [S::Cold, S::Initializing, S::Ready, S::Degraded, S::Stopping, S::Dead];
        let events = [
            E::Start,
            E::HandshakeDone,
            E::StartFailed,
            E::StartFailedForGood,
            E::HealthFailed,
            E::HealthRestored,
            E::Stop,
            E::Gone,
            E::GoneForGood,
            E::Released,
        ];
        let mut table = String::new();
        for state in states {
            for event in events {
                if let Ok(to) = next(state, event) {
                    table += &format!("{state} --{event:?}--> {to}\n");
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        cold --Start--> initializing
        initializing --HandshakeDone--> ready
        initializing --StartFailed--> cold
        initializing --StartFailedForGood--> dead
        ready --HealthFailed--> degraded
        ready --Stop--> stopping
        ready --Gone--> cold
        ready --GoneForGood--> dead
        degraded --HealthRestored--> ready
        degraded --Stop--> stopping
        degraded --Gone--> cold
        degraded --GoneForGood--> dead
        stopping --Released--> cold
        dead --Start--> initializing
        ");
    }
}
