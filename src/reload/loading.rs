//! Loading and unloading while running: providers that the file defines but keeps out of service. They are outside the
//! file's difference: no reload adds, changes or removes one.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    fragments::{self, Wanted},
    reloader::Shared,
    retire,
};
use crate::{
    config::{self, Config, Problem, ProviderName, ProviderSpec},
    provider::{Owner, Provider},
    registry::{Snapshot, view},
    telemetry::{Event, StopReason},
};

/// One request on its way through the reloader, who alone changes what is in force.
pub(super) struct Order {
    pub what: What,
    pub name: String,
    /// Who asks: `cli`, `http`, `mcp_tool/claude-code`.
    pub by: Arc<str>,
    pub reply: oneshot::Sender<LoadResult>,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    Load,
    Unload,
}

/// The provider as it is now; `draining`: its instance ends in the background.
pub type LoadResult = Result<Value, LoadRefusal>;

/// Nothing has changed.
#[derive(Debug, Clone, Serialize)]
pub struct LoadRefusal {
    /// `unknown_provider` | `name_taken` | `not_loaded` | `shutdown`
    #[serde(rename = "error")]
    pub code: &'static str,
    pub message: String,
    pub details: Value,
}

impl LoadRefusal {
    pub(super) fn stopping() -> Self {
        Self { code: "shutdown", message: "the gateway is shutting down".to_owned(), details: json!({}) }
    }
}

pub(super) fn serve(shared: &Shared, order: Order) {
    let Order { what, name, by, reply } = order;
    let result = match what {
        What::Load => load(shared, &name, by),
        What::Unload => unload(shared, &name, &by),
    };
    if let Err(LoadRefusal { message, .. }) = &result {
        tracing::warn!(message, "load_refused");
    }
    // A requester that went away needs no answer.
    let _ = reply.send(result);
}

fn load(shared: &Shared, typed: &str, by: Arc<str>) -> LoadResult {
    let registry = &shared.registry;
    let now = registry.snapshot();
    let known = ProviderName::new(typed).and_then(|name| Some((now.config.loadable(typed)?, name)));
    if let Some(taken) = taken(&now, typed, known.is_some()) {
        return Err(taken);
    }
    let Some((definition, name)) = known else { return Err(not_loadable(&now.config, typed)) };
    let spec = in_service(definition);
    let (slot, ground) = (registry.slots.of(&name), registry.ground.clone());
    let provider = Provider::new(Owner::Load(by), name.clone(), spec, slot, ground);
    provider.put_in_force();
    let mut providers = now.providers.clone();
    providers.insert(name.clone(), provider.clone());
    commit(shared, &now, providers);
    let owner = provider.belongs_to.to_string();
    registry.ground.telemetry.emit(Event::ProviderLoaded { provider: name.to_string(), owner });
    Ok(view::summary(&provider))
}

fn unload(shared: &Shared, typed: &str, by: &str) -> LoadResult {
    let now = shared.registry.snapshot();
    let shown: String = typed.chars().take(100).collect();
    let Some(provider) = now.providers.get(typed) else {
        let loaded: Vec<_> = now.providers.values().filter(|p| is_loaded(p)).map(|p| &p.name).collect();
        let message = format!("no provider \"{shown}\" is loaded");
        return Err(LoadRefusal { code: "not_loaded", message, details: json!({"provider": shown, "loaded": loaded}) });
    };
    if !is_loaded(provider) {
        let owner = &provider.belongs_to;
        let message = format!("\"{shown}\" was not loaded: it belongs to {}; {}", owner.in_words(), owner.way_out());
        return Err(LoadRefusal { code: "not_loaded", message, details: json!({"provider": shown, "owner": owner}) });
    }
    let mut providers = now.providers.clone();
    providers.remove(typed);
    commit(shared, &now, providers);
    let owner = provider.belongs_to.to_string();
    let event = Event::ProviderUnloaded { provider: provider.name.to_string(), owner, requested_by: by.to_owned() };
    shared.registry.ground.telemetry.emit(event);
    let draining = retire::retire(&shared.retirements, vec![(provider.clone(), StopReason::Removed)], true);
    Ok(json!({"provider": provider.name, "state": "gone", "draining": !draining.is_empty()}))
}

/// The same configuration with other providers beside it.
fn commit(shared: &Shared, now: &Snapshot, providers: BTreeMap<ProviderName, Arc<Provider>>) {
    shared.registry.commit(Snapshot {
        generation: now.generation + 1,
        sha256: now.sha256.clone(),
        config: now.config.clone(),
        providers,
        groups: now.groups.clone(),
    });
    shared.registry.announce();
}

fn is_loaded(provider: &Provider) -> bool {
    matches!(provider.belongs_to, Owner::Load(_))
}

/// `enabled: false` is what it is loaded in spite of.
fn in_service(definition: &Arc<ProviderSpec>) -> Arc<ProviderSpec> {
    match definition.enabled {
        true => definition.clone(),
        false => Arc::new(ProviderSpec { enabled: true, ..(**definition).clone() }),
    }
}

/// Who stands in the way of a provider of this name; both are named.
fn taken(now: &Snapshot, typed: &str, is_loadable: bool) -> Option<LoadRefusal> {
    let clashes = |name: &ProviderName| config::could_clash(name, typed);
    let provider = now.providers.values().find(|provider| clashes(&provider.name));
    let group = now.groups.keys().find(|name| clashes(name));
    let (there, owner) = match (provider, group) {
        (Some(provider), _) => {
            let owner = &provider.belongs_to;
            (format!("the provider \"{}\", which belongs to {}", provider.name, owner.in_words()), json!(owner))
        }
        (None, Some(group)) => (format!("the group \"{group}\" of the configuration file"), json!("config")),
        (None, None) => return None,
    };
    let wanted = if is_loadable { "the definition in the configuration file" } else { "anything of that name" };
    let message = format!("{there}, is in force already; {wanted} cannot be loaded beside it");
    let shown: String = typed.chars().take(100).collect();
    Some(LoadRefusal { code: "name_taken", message, details: json!({"provider": shown, "owner": owner}) })
}

fn not_loadable(config: &Config, typed: &str) -> LoadRefusal {
    let loadable = config.all_loadable();
    let rated = loadable.iter().map(|known| (strsim::jaro_winkler(known.as_str(), typed), known));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.8);
    let help = best.map(|(_, known)| format!("; did you mean \"{known}\"?")).unwrap_or_default();
    let shown: String = typed.chars().take(100).collect();
    let message = format!(
        "the configuration file keeps no provider \"{shown}\" in `catalog` or with `enabled: false`{help}; nothing else can be loaded"
    );
    LoadRefusal { code: "unknown_provider", message, details: json!({"provider": shown, "known": loadable}) }
}

// === what a reload has to do with them ===

/// Names of `next` that somebody else has in force.
pub(super) fn clashes(now: &Snapshot, next: &config::Loaded, wanted: &Wanted) -> Vec<Problem> {
    let stays = |guest: &Provider| !fragments::is_ours(guest) || wanted.specs.contains_key(&guest.name);
    let guests = now.providers.values().filter(|guest| !guest.belongs_to.is_config() && stays(guest));
    guests.filter_map(|guest| clash(guest, next)).collect()
}

fn clash(guest: &Provider, next: &config::Loaded) -> Option<Problem> {
    let waits = |name: &ProviderName, spec: &ProviderSpec| is_loaded(guest) && *name == guest.name && !spec.enabled;
    let provider = next
        .config
        .providers
        .iter()
        .find(|(name, spec)| config::could_clash(name, guest.name.as_str()) && !waits(name, spec));
    let group = next.config.groups.keys().find(|name| config::could_clash(name, guest.name.as_str()));
    let (section, name) = match (provider, group) {
        (Some((name, _)), _) => ("providers", name),
        (None, Some(name)) => ("groups", name),
        (None, None) => return None,
    };
    let owner = &guest.belongs_to;
    Some(Problem {
        code: "HGR0802",
        path: format!("{section}.{name}"),
        place: next.sources.place_of(&[section, name.as_str()]),
        message: format!("the provider \"{}\" is in force already and belongs to {}", guest.name, owner.in_words()),
        help: Some(format!("give this one another name; or, of the other, {}", owner.way_out())),
    })
}

/// What a new file says of loaded ones, and does not do to them.
pub(super) fn remarks(now: &Snapshot, next: &Config) -> Vec<String> {
    let loaded = now.providers.values().filter(|provider| is_loaded(provider));
    let one = |provider: &Arc<Provider>| {
        let name = &provider.name;
        let end = "it stays as it was loaded; unload it, and load it again, to have it as the file says";
        match next.loadable(name.as_str()) {
            None => {
                Some(format!("\"{name}\" is loaded, and the file defines it no more: it stays until it is unloaded"))
            }
            Some(spec) if *in_service(spec) != *provider.spec => {
                Some(format!("\"{name}\" is loaded, and the file defines it otherwise now: {end}"))
            }
            Some(_) => None,
        }
    };
    loaded.filter_map(one).collect()
}
