//! The `daemon` section of the normal form.

use std::time::Duration;

/// Of the gateway that `hangar connect` starts.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonSettings {
    /// How long it stays when nobody is connected. Zero: it ends with its last client.
    pub idle_exit: Duration,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self { idle_exit: Duration::from_secs(300) }
    }
}
