//! Prometheus metrics. Names: CONTRACT section 6.

use std::{
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use super::{Event, GroupGauge, GroupMetrics, build};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// A result, `isError: false`.
    Success,
    /// A result with `isError: true`.
    ToolError,
    /// A JSON-RPC error from the upstream.
    UpstreamError,
    /// No answer: the provider's state, death or limit.
    Unavailable,
    Timeout,
    Cancelled,
}

type Labels<const N: usize> = [(&'static str, String); N];
type HistogramFamily = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// `provider` and `tool` of a call; the two labels of the duration, too.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    provider: String,
    tool: String,
    outcome: &'static str,
}

pub struct Metrics {
    registry: Registry,
    rendering: Mutex<()>,
    reloads: Family<Labels<2>, Counter>,
    reload_seconds: Histogram,
    last_reload_successful: Gauge,
    last_success: Gauge<f64, AtomicU64>,
    config_info: Family<Labels<2>, Gauge>,
    provider_state: Family<Labels<2>, Gauge>,
    provider_starts: Family<Labels<1>, Counter>,
    provider_stops: Family<Labels<2>, Counter>,
    cold_start: HistogramFamily,
    calls: Family<CallLabels, Counter>,
    call_seconds: HistogramFamily,
    in_flight: Family<Labels<1>, Gauge>,
    drain_seconds: Histogram,
    drain_timeouts: Counter,
    pub groups: GroupMetrics,
    pub(super) audit: AuditCounters,
    pub sessions: Gauge,
    /// Clients on the connect socket.
    pub connect_clients: Gauge,
    /// Clients there whose hangar was of another version.
    pub connect_version_mismatches: Counter,
    /// Messages from upstreams that belonged to nobody (unknown, late or duplicate ids).
    pub stray_messages: Counter,
    /// Notifications dropped because a client did not read.
    pub dropped_notifications: Counter,
    /// Requests refused by the Host/Origin guard.
    pub refused_requests: Counter,
}

/// What became of the lines for the audit file.
#[derive(Debug, Clone, Default)]
pub(super) struct AuditCounters {
    pub written: Counter,
    pub lost: Counter,
}

/// Every state a provider may be in, as `hangar_provider_state` names it.
const STATES: [&str; 6] = ["cold", "initializing", "ready", "degraded", "stopping", "dead"];

fn fine() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.5, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut m = Self {
            registry: Registry::with_prefix("hangar"),
            rendering: Mutex::default(),
            reloads: Family::default(),
            reload_seconds: fine(),
            last_reload_successful: Gauge::default(),
            last_success: Gauge::default(),
            config_info: Family::default(),
            provider_state: Family::default(),
            provider_starts: Family::default(),
            provider_stops: Family::default(),
            cold_start: Family::new_with_constructor(fine),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(fine),
            in_flight: Family::default(),
            drain_seconds: fine(),
            drain_timeouts: Counter::default(),
            groups: GroupMetrics::default(),
            audit: AuditCounters::default(),
            sessions: Gauge::default(),
            connect_clients: Gauge::default(),
            connect_version_mismatches: Counter::default(),
            stray_messages: Counter::default(),
            dropped_notifications: Counter::default(),
            refused_requests: Counter::default(),
        };
        m.register();
        m
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("config_reloads", "Reloads by trigger and result", self.reloads.clone());
        let help = "Time from the start of a reload to its commit";
        r.register_with_unit("config_reload_duration", help, Unit::Seconds, self.reload_seconds.clone());
        let help = "1 when the last reload succeeded, 0 when it failed";
        r.register("config_last_reload_successful", help, self.last_reload_successful.clone());
        let help = "When a reload last succeeded";
        r.register("config_last_reload_success_timestamp_seconds", help, self.last_success.clone());
        r.register("config_info", "The configuration in force", self.config_info.clone());
        r.register("provider_state", "1 for the state that the provider is in", self.provider_state.clone());
        r.register("provider_starts", "Instances started", self.provider_starts.clone());
        r.register("provider_stops", "Instances ended, by reason", self.provider_stops.clone());
        let help = "Time from the start of an instance until it is ready";
        r.register_with_unit("provider_cold_start", help, Unit::Seconds, self.cold_start.clone());
        r.register("calls", "Calls by provider, tool and outcome", self.calls.clone());
        r.register_with_unit("call_duration", "Time of a call", Unit::Seconds, self.call_seconds.clone());
        r.register("calls_in_flight", "Calls in flight", self.in_flight.clone());
        let help = "Time that a retired provider waited for its calls in flight";
        r.register_with_unit("drain_duration", help, Unit::Seconds, self.drain_seconds.clone());
        r.register("drain_timeouts", "Drains that ended with calls still in flight", self.drain_timeouts.clone());
        self.groups.register(r);
        r.register("audit_records", "Lines written to the audit file", self.audit.written.clone());
        let help = "Lines that did not get into the audit file: the disk was full, or too slow";
        r.register("audit_lost", help, self.audit.lost.clone());
        r.register("sessions", "Client sessions", self.sessions.clone());
        r.register("connect_clients", "Clients on the connect socket", self.connect_clients.clone());
        let help = "Clients on the connect socket with another version of hangar";
        r.register("connect_version_mismatches", help, self.connect_version_mismatches.clone());
        r.register("stray_messages", "Upstream messages that belonged to nobody", self.stray_messages.clone());
        let help = "Notifications dropped because a client did not read them";
        r.register("dropped_notifications", help, self.dropped_notifications.clone());
        r.register("refused_requests", "HTTP requests refused by the Host/Origin guard", self.refused_requests.clone());
        let labels = vec![("version", build::VERSION), ("commit", build::COMMIT), ("build_date", build::DATE)];
        r.register("build", "About this build", Info::new(labels));
    }

    pub(super) fn observe(&self, event: &Event) {
        match event {
            Event::ConfigurationReloaded { requested_by, generation, config_sha256, duration, .. } => {
                self.reload(requested_by, "success", *duration);
                self.last_success.set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
                self.config_info.clear();
                let labels = [("generation", generation.to_string()), ("sha256", config_sha256.clone())];
                self.config_info.get_or_create(&labels).set(1);
            }
            Event::ConfigurationReloadFailed { requested_by, duration, .. } => {
                self.reload(requested_by, "failed", *duration);
            }
            Event::ProviderStarted { provider, duration, .. } => {
                self.provider_starts.get_or_create(&one(provider)).inc();
                self.cold_start.get_or_create(&one(provider)).observe(duration.as_secs_f64());
            }
            Event::ProviderStopped { provider, reason, .. } => {
                let labels = [("provider", provider.clone()), ("reason", reason.as_str().to_owned())];
                self.provider_stops.get_or_create(&labels).inc();
            }
            Event::ProviderDrained { cut, duration, .. } => {
                self.drain_seconds.observe(duration.as_secs_f64());
                if *cut > 0 {
                    self.drain_timeouts.inc();
                }
            }
            Event::ConfigurationReloadRequested { .. }
            | Event::GatewayStarted { .. }
            | Event::GatewayStopped { .. }
            | Event::GatewayRestarting
            | Event::ProviderStateChanged { .. }
            | Event::ProviderFailed { .. }
            | Event::GroupBreakerChanged { .. }
            | Event::ProviderLoaded { .. }
            | Event::ProviderUnloaded { .. }
            | Event::CatalogueChanged { .. } => {}
        }
    }

    fn reload(&self, trigger: &str, result: &str, took: Duration) {
        let labels = [("trigger", trigger.to_owned()), ("result", result.to_owned())];
        self.reloads.get_or_create(&labels).inc();
        self.reload_seconds.observe(took.as_secs_f64());
        self.last_reload_successful.set(i64::from(result == "success"));
    }

    pub(super) fn call(&self, provider: &str, tool: &str, outcome: CallOutcome, took: Duration) {
        let labels = CallLabels { provider: provider.into(), tool: tool.into(), outcome: outcome.as_str() };
        self.calls.get_or_create(&labels).inc();
        self.call_seconds.get_or_create(&one(provider)).observe(took.as_secs_f64());
    }

    /// The text exposition format.
    ///
    /// `providers`: name, state and calls in flight of each provider in force; gauges show these and no others.
    pub fn render(&self, providers: &[(String, &'static str, usize)], groups: &[GroupGauge]) -> String {
        let _one_at_a_time = self.rendering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.groups.show(groups);
        self.provider_state.clear();
        self.in_flight.clear();
        for (provider, now, in_flight) in providers {
            for name in STATES {
                self.provider_state.get_or_create(&state(provider, name)).set(i64::from(name == *now));
            }
            self.in_flight.get_or_create(&one(provider)).set(i64::try_from(*in_flight).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The label set of one provider.
fn one(provider: &str) -> Labels<1> {
    [("provider", provider.to_owned())]
}

fn state(provider: &str, state: &str) -> Labels<2> {
    [("provider", provider.to_owned()), ("state", state.to_owned())]
}

impl CallOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ToolError => "tool_error",
            Self::UpstreamError => "upstream_error",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}
