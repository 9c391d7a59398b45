//! Everything worth telling about the gateway's life.

use std::time::Duration;

use serde::Serialize;

/// Why an instance was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    Idle,
    Requested,
    Removed,
    Updated,
    Shutdown,
    /// It ended by itself.
    Exited,
    /// It did not answer its health probes.
    Unhealthy,
    /// The client that it was for is gone.
    SessionEnded,
}

/// Serialised with its name under `event`; durations in milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event")]
pub enum Event {
    GatewayStarted {
        transport: &'static str,
        version: &'static str,
    },
    GatewayStopped {
        #[serde(rename = "duration_ms", serialize_with = "millis")]
        duration: Duration,
    },
    /// The next life has the same pid.
    GatewayRestarting,
    ConfigurationReloadRequested {
        requested_by: &'static str,
        generation: u64,
        graceful: bool,
        dry_run: bool,
        verify: bool,
    },
    ConfigurationReloaded {
        requested_by: &'static str,
        generation: u64,
        config_sha256: String,
        providers_added: Vec<String>,
        providers_removed: Vec<String>,
        providers_updated: Vec<String>,
        unchanged: usize,
        groups_added: Vec<String>,
        groups_removed: Vec<String>,
        groups_updated: Vec<String>,
        #[serde(rename = "duration_ms", serialize_with = "millis")]
        duration: Duration,
    },
    ConfigurationReloadFailed {
        requested_by: &'static str,
        generation: u64,
        config_sha256: String,
        stage: &'static str,
        message: String,
        #[serde(rename = "duration_ms", serialize_with = "millis")]
        duration: Duration,
    },
    ProviderStateChanged {
        provider: String,
        from: &'static str,
        to: &'static str,
    },
    ProviderStarted {
        provider: String,
        pid: Option<u32>,
        #[serde(rename = "duration_ms", serialize_with = "millis")]
        duration: Duration,
    },
    ProviderStopped {
        provider: String,
        reason: StopReason,
        exit: String,
    },
    ProviderFailed {
        provider: String,
        failures: u32,
        error: String,
    },
    ProviderDrained {
        provider: String,
        /// Calls that were still in flight when the time was up.
        cut: usize,
        #[serde(rename = "duration_ms", serialize_with = "millis")]
        duration: Duration,
    },
    /// By somebody else than the configuration file.
    ProviderLoaded {
        provider: String,
        owner: String,
    },
    ProviderUnloaded {
        provider: String,
        owner: String,
        requested_by: String,
    },
    CatalogueChanged {
        provider: String,
        tools: usize,
        prompts: usize,
        resources: usize,
    },
    /// A member is out of turn, is tried, or is back; without a member: the group as a whole.
    GroupBreakerChanged {
        group: String,
        member: Option<String>,
        from: &'static str,
        to: &'static str,
    },
}

impl StopReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Requested => "requested",
            Self::Removed => "removed",
            Self::Updated => "updated",
            Self::Shutdown => "shutdown",
            Self::Exited => "exited",
            Self::Unhealthy => "unhealthy",
            Self::SessionEnded => "session_ended",
        }
    }
}

impl Event {
    /// What is only a step on the way to something else is not written down.
    pub(super) fn is_audited(&self) -> bool {
        !matches!(
            self,
            Self::ConfigurationReloadRequested { .. }
                | Self::ProviderStateChanged { .. }
                | Self::CatalogueChanged { .. }
        )
    }

    /// One line, literal name and fields. Names of CONTRACT section 2.
    pub(super) fn log(&self) {
        match self {
            // `app` tells more about itself than its history need remember.
            Self::GatewayStarted { .. } | Self::GatewayStopped { .. } | Self::GatewayRestarting => {}
            Self::ConfigurationReloadRequested { requested_by, generation, graceful, dry_run, verify } => {
                tracing::info!(requested_by, generation, graceful, dry_run, verify, "triggering_config_reload");
            }
            Self::ConfigurationReloaded { requested_by, generation, config_sha256, duration, unchanged, .. } => {
                self.log_providers();
                let duration_ms = ms(*duration);
                tracing::info!(
                    requested_by,
                    generation,
                    config_sha256,
                    unchanged,
                    duration_ms,
                    "configuration_reloaded"
                );
            }
            Self::ConfigurationReloadFailed { requested_by, generation, stage, message, .. } => {
                tracing::error!(requested_by, generation, stage, message, "configuration_reload_failed");
            }
            Self::ProviderStateChanged { provider, from, to } => {
                tracing::debug!(provider, from, to, "provider_state_changed");
            }
            Self::ProviderStarted { provider, pid, duration } => {
                tracing::info!(provider, pid, duration_ms = ms(*duration), "provider_started");
            }
            Self::ProviderStopped { provider, reason, exit } => {
                tracing::info!(provider, reason = reason.as_str(), exit, "provider_stopped");
            }
            Self::ProviderFailed { provider, failures, error } => {
                tracing::warn!(provider, failures, error, "provider_failed");
            }
            Self::ProviderDrained { provider, cut, duration } => {
                tracing::info!(provider, cut, duration_ms = ms(*duration), "provider_drained");
            }
            Self::ProviderLoaded { provider, owner } => {
                tracing::info!(provider, owner, "provider_loaded");
            }
            Self::ProviderUnloaded { provider, owner, requested_by } => {
                tracing::info!(provider, owner, requested_by, "provider_unloaded");
            }
            Self::CatalogueChanged { provider, tools, prompts, resources } => {
                tracing::info!(provider, tools, prompts, resources, "catalogue_changed");
            }
            Self::GroupBreakerChanged { group, member, from, to } if *to == "closed" => {
                tracing::info!(group, member, from, to, "group_breaker_changed");
            }
            Self::GroupBreakerChanged { group, member, from, to } => {
                tracing::warn!(group, member, from, to, "group_breaker_changed");
            }
        }
    }

    fn log_providers(&self) {
        let Self::ConfigurationReloaded {
            providers_added,
            providers_removed,
            providers_updated,
            groups_added,
            groups_removed,
            groups_updated,
            requested_by,
            ..
        } = self
        else {
            return;
        };
        if *requested_by == "boot" {
            return;
        }
        for provider in providers_added {
            tracing::info!(provider, "provider_added");
        }
        for provider in providers_updated {
            tracing::info!(provider, "provider_updated");
        }
        for provider in providers_removed {
            tracing::info!(provider, "provider_removed");
        }
        for group in groups_added {
            tracing::info!(group, "group_added");
        }
        for group in groups_updated {
            tracing::info!(group, "group_updated");
        }
        for group in groups_removed {
            tracing::info!(group, "group_removed");
        }
    }
}

/// Milliseconds with microsecond resolution.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn millis<S: serde::Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(ms(*duration))
}
