//! The registry as JSON: one shape for the `hangar_*` tools, the admin API and the command line.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Registry, Snapshot};
use crate::{
    config::{self, ContainerUser, Launch, ProviderSpec, Sharing, Volume},
    provider::{Owner, Provider, ProviderState},
    telemetry::GroupGauge,
    transport::Pull,
};

/// One provider in a list: `{provider, state, mode, enabled, tools, ...}`.
pub fn summary(provider: &Provider) -> Value {
    let status = provider.whole();
    let catalogue = provider.catalogue();
    let mut view = json!({
        "provider": provider.name,
        "state": status.state,
        "mode": provider.spec.launch.mode(),
        "owner": provider.belongs_to,
        "enabled": true,
        "description": provider.spec.description,
        "pid": status.pid,
        "tools": catalogue.as_ref().map(|c| c.tools.iter().filter(|item| provider.offers(&item.key)).count()),
        "calls_in_flight": status.in_flight,
        "starts": status.starts,
        "consecutive_failures": status.consecutive_failures,
        "last_error": status.last_failure.map(|failure| failure.cause),
    });
    if provider.is_per_client() {
        view["instances"] = instances(provider);
    }
    view
}

/// One whose catalogue is not known: `{provider, state, why, retry_after_ms}`.
pub fn missing(provider: &Provider) -> Value {
    let status = provider.whole();
    json!({
        "provider": provider.name,
        "state": status.state,
        "why": status.last_failure.map_or_else(|| "it has not been started yet".to_owned(), |failure| failure.cause),
        "retry_after_ms": status.retry_after.map(|d| d.as_millis() as u64),
    })
}

/// Instances that are listed of one provider.
const MOST_INSTANCES: usize = 1000;

/// Of clients, in the order in which those came; `session` is a number that means nothing outside this gateway.
fn instances(provider: &Provider) -> Value {
    let one = |own: &std::sync::Arc<Provider>| {
        let status = own.status();
        json!({
            "session": own.home(),
            "pid": status.pid,
            "state": status.state,
            "calls_in_flight": status.in_flight,
            "idle_s": status.idle.as_secs(),
            "last_error": status.last_failure.map(|failure| failure.cause),
        })
    };
    provider.instances().iter().take(MOST_INSTANCES).map(one).collect()
}

/// One that has just been started: the summary, and the pull if there was one since `pulls` was taken.
pub fn started(provider: &Provider, pulls: &mut watch::Receiver<Option<Pull>>) -> Value {
    let mut view = summary(provider);
    if pulls.has_changed().unwrap_or(false)
        && let Some(done) = pulls.borrow_and_update().as_ref().filter(|pull| pull.done)
    {
        view["pull"] = pull_view(done);
    }
    view
}

/// What it is fetching at this moment.
pub fn pulling(provider: &Provider) -> Option<Value> {
    let pull = provider.pulls.borrow().clone()?;
    let pulling = provider.state() == ProviderState::Initializing && !pull.done;
    pulling.then(|| {
        let mut view = pull_view(&pull);
        view["provider"] = json!(provider.name);
        view
    })
}

fn pull_view(pull: &Pull) -> Value {
    json!({
        "image": pull.image,
        "layers": pull.layers,
        "layers_done": pull.layers_done,
        "bytes": pull.bytes,
        "bytes_total": pull.bytes_total,
        "duration_ms": pull.duration.as_millis() as u64,
        "done": pull.done,
    })
}

/// Every provider of the file and every one in force, in order of their names; `enabled: false` ones as such. What waits in
/// `catalog` is not among them.
pub fn list(registry: &Registry) -> Vec<Value> {
    let snapshot = registry.snapshot();
    let one = |(name, spec): (&crate::config::ProviderName, &std::sync::Arc<ProviderSpec>)| match snapshot
        .providers
        .get(name)
    {
        Some(provider) => summary(provider),
        None => json!({
            "provider": name,
            "state": ProviderState::Cold,
            "mode": spec.launch.mode(),
            "owner": Owner::Config,
            "enabled": false,
            "description": spec.description,
        }),
    };
    let mut all: std::collections::BTreeMap<_, _> = snapshot.config.providers.iter().collect();
    all.extend(snapshot.providers.iter().map(|(name, provider)| (name, &provider.spec)));
    all.into_iter().map(one).collect()
}

/// Everything about one provider that is no secret.
pub fn details(provider: &Provider) -> Value {
    let status = provider.whole();
    let spec = &provider.spec;
    let mut view = summary(provider);
    view["uptime_s"] = json!(status.uptime.map(|d| d.as_secs()));
    view["idle_s"] = json!(status.idle.as_secs());
    view["retry_after_ms"] = json!(status.retry_after.map(|d| d.as_millis() as u64));
    view["noise_lines"] = json!(status.noise_lines);
    // One that was called off is told of no more.
    let of_interest = |pull: &&Pull| pull.done || status.state == ProviderState::Initializing;
    if let Some(pull) = provider.pulls.borrow().as_ref().filter(of_interest) {
        view["pull"] = pull_view(pull);
    }
    view["launch"] = launch(&spec.launch);
    view["settings"] = settings(spec);
    if let Some(catalogue) = provider.catalogue() {
        let hello = &catalogue.hello;
        view["protocol_version"] = json!(hello.protocol_version);
        view["server_info"] = serde_json::from_slice(&hello.server_info).unwrap_or_default();
        view["capabilities"] = serde_json::from_slice(&hello.capabilities).unwrap_or_default();
        view["prompts"] = json!(catalogue.prompts.len());
        view["resources"] = json!(catalogue.resources.len());
        view["resource_templates"] = json!(catalogue.templates.len());
    }
    view
}

/// One provider of the file as it is in force, enabled or not.
pub fn spec(spec: &ProviderSpec) -> Value {
    json!({
        "enabled": spec.enabled,
        "description": spec.description,
        "launch": launch(&spec.launch),
        "settings": settings(spec),
    })
}

fn settings(spec: &ProviderSpec) -> Value {
    json!({
        "idle_ttl_s": spec.idle_ttl.as_secs_f64(),
        "health_check_interval_s": spec.health_check_interval.as_secs_f64(),
        "max_consecutive_failures": spec.max_consecutive_failures,
        "max_concurrency": spec.max_concurrency.unwrap_or(0),
        "max_queued": spec.max_queued,
        "max_message_bytes": spec.max_message,
        "max_answer_bytes": spec.max_answer.unwrap_or(0),
        "startup_timeout_s": spec.startup_timeout.as_secs_f64(),
        "call_timeout_s": spec.call_timeout.as_secs_f64(),
        "max_call_time_s": spec.max_call_time.as_secs_f64(),
        "drain_timeout_s": spec.drain_timeout.as_secs_f64(),
        "sharing": if spec.sharing == Sharing::Session { "session" } else { "shared" },
        "max_instances": spec.max_instances,
        "tools": {"allow": spec.tools.allow, "deny": spec.tools.deny},
    })
}

/// How it is launched. Environment and header *names* only; arguments may hold secrets and are counted, not shown.
fn launch(launch: &Launch) -> Value {
    match launch {
        Launch::Subprocess(spec) => json!({
            "mode": "subprocess",
            "program": spec.argv.first(),
            "arguments": spec.argv.len().saturating_sub(1),
            "cwd": spec.cwd,
            "env": spec.environment.env.keys().collect::<Vec<_>>(),
            "env_file": spec.environment.env_files.iter().map(|file| &file.path).collect::<Vec<_>>(),
        }),
        Launch::Docker(spec) => json!({
            "mode": "docker",
            "image": spec.image,
            "pull": pull(spec.pull),
            "network": spec.network,
            "user": user(spec.user.as_ref()),
            "read_only": spec.read_only,
            "tmpfs": spec.tmpfs,
            "cap_add": spec.cap_add,
            "no_new_privileges": spec.no_new_privileges,
            "init": spec.init,
            "resources": {"memory": spec.resources.memory, "cpu": spec.resources.cpu, "pids": spec.resources.pids},
            "volumes": spec.volumes.iter().map(volume).collect::<Vec<_>>(),
            "env": spec.environment.env.keys().collect::<Vec<_>>(),
            "relaxed": spec.relaxed(),
        }),
        Launch::Remote(spec) => json!({
            "mode": "remote",
            "endpoint": origin(&spec.endpoint),
            "headers": spec.headers.keys().collect::<Vec<_>>(),
        }),
    }
}

fn pull(pull: config::Pull) -> &'static str {
    match pull {
        config::Pull::Missing => "missing",
        config::Pull::Always => "always",
        config::Pull::Never => "never",
    }
}

/// As in the file; `None`: the image's own.
fn user(user: Option<&ContainerUser>) -> Option<&str> {
    user.map(|user| match user {
        ContainerUser::Current => "current",
        ContainerUser::Named(name) => name,
    })
}

/// As in the file, with what was left out there.
fn volume(volume: &Volume) -> String {
    let mode = if volume.read_only { "ro" } else { "rw" };
    format!("{}:{}:{mode}", volume.host.display(), volume.container.display())
}

/// Scheme, host, port and path; user, password and query may be secret.
fn origin(endpoint: &str) -> String {
    let bare = endpoint.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, format!("/{p}")));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => String::new(),
    }
}

/// Members of each group by their health.
pub fn group_gauges(snapshot: &Snapshot) -> Vec<GroupGauge> {
    snapshot.groups.values().map(|group| (group.name.to_string(), group.by_health(&snapshot.providers))).collect()
}

/// Counts by state, and what is in force.
pub fn overview(snapshot: &Snapshot) -> Value {
    let mut states = serde_json::Map::new();
    for provider in snapshot.providers.values() {
        let count = states.entry(provider.whole().state.as_str()).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
    }
    json!({
        "generation": snapshot.generation,
        "config_sha256": snapshot.sha256,
        "providers": {"total": snapshot.providers.len(), "by_state": states},
        "owners": owners(snapshot),
        "loadable": snapshot.config.all_loadable().into_iter().filter(|name| !snapshot.providers.contains_key(*name)).collect::<Vec<_>>(),
        "groups": snapshot.groups.len(),
    })
}

/// Of those that the configuration file does not own.
fn owners(snapshot: &Snapshot) -> serde_json::Map<String, Value> {
    let guests = snapshot.providers.values().filter(|provider| !provider.belongs_to.is_config());
    guests.map(|provider| (provider.name.to_string(), json!(provider.belongs_to))).collect()
}

/// `healthy`, or `degraded` with the reasons.
pub fn health(snapshot: &Snapshot) -> (bool, Vec<Value>) {
    let mut reasons = Vec::new();
    for provider in snapshot.providers.values() {
        let status = provider.whole();
        if matches!(status.state, ProviderState::Degraded | ProviderState::Dead) || status.consecutive_failures > 0 {
            let cause = status.last_failure.map(|failure| failure.cause);
            reasons.push(json!({"provider": provider.name, "state": status.state, "cause": cause}));
        }
    }
    for group in snapshot.groups.values() {
        let view = group.view(&snapshot.providers);
        if view["state"] == "unavailable" {
            let cause = format!("{} of {} members are healthy", view["healthy"], group.spec.members.len());
            reasons.push(json!({"group": group.name, "state": view["state"], "cause": cause}));
        }
    }
    (reasons.is_empty(), reasons)
}

/// What the gauges of the metrics show.
pub fn gauges(snapshot: &Snapshot) -> Vec<(String, &'static str, usize)> {
    let one = |provider: &std::sync::Arc<Provider>| {
        let status = provider.whole();
        (provider.name.to_string(), status.state.as_str(), status.in_flight)
    };
    snapshot.providers.values().map(one).collect()
}
