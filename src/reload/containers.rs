//! Providers that running containers offer to be (`discovery.docker`): what the engine says now is put in force beside
//! everything else, and taken out again when its container has ended. An engine that does not answer changes nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{ReloadHandle, loading, reloader::Shared, retire};
use crate::{
    config::{self, ContainerSettings, ProviderName, ProviderSpec},
    provider::{Owner, Provider},
    registry::Snapshot,
    telemetry::{Event, StopReason},
    transport::{OfferEvents, Offered, offers},
};

/// The list is the truth; the engine's events only say when to look at once.
const POLL: Duration = Duration::from_secs(5);
/// One start makes several events.
const SETTLE: Duration = Duration::from_millis(200);
/// Events that are waited for before a look; engines can be busy all day.
const MOST_AT_ONCE: usize = 20;
/// Before the engine is asked again for its events.
const AGAIN: Duration = Duration::from_secs(1);

/// For `status`. Nothing of it where containers are not looked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContainerDiscovery {
    /// Why the engine was not asked; what it said last stays in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_error: Option<String>,
    /// Containers whose offer is not in force, and why.
    pub refused: BTreeMap<String, String>,
}

/// What the engine says now, on its way through the reloader.
pub(super) struct Found {
    offers: Vec<Offered>,
    settings: ContainerSettings,
    done: oneshot::Sender<()>,
}

/// Runs until the gateway stops (the caller drops it). `discovery.docker` of the configuration in force decides what it does.
pub async fn watch_containers(handle: ReloadHandle) {
    let mut commits = handle.attempted();
    let mut events: Option<OfferEvents> = None;
    loop {
        commits.borrow_and_update();
        match handle.snapshot().config.discovery.containers.clone() {
            None => {
                events = None;
                handle.forget_containers().await;
                if commits.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Some(settings) => look(&handle, settings, &mut events).await,
        }
        let told = async {
            match &mut events {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        let over = tokio::select! {
            // A reload may have changed the settings, or set a name free.
            changed = commits.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            event = told => event.is_none(),
            () = sleep(POLL) => false,
        };
        if over {
            events = None;
            sleep(AGAIN).await;
        } else if let Some(stream) = &mut events {
            for _ in 0..MOST_AT_ONCE {
                if !timeout(SETTLE, stream.next()).await.is_ok_and(|event| event.is_some()) {
                    break;
                }
            }
        }
    }
}

async fn look(handle: &ReloadHandle, settings: ContainerSettings, events: &mut Option<OfferEvents>) {
    match offers(events.is_none()).await {
        Ok((offers, fresh)) => {
            if fresh.is_some() {
                *events = fresh;
            }
            handle.found_containers(|done| Found { offers, settings, done }).await;
        }
        Err(why) => handle.tell_containers(|told| told.engine_error = Some(why)),
    }
}

/// In the reloader's task, which alone changes what is in force.
pub(super) fn serve(shared: &Shared, found: Found) {
    let Found { offers, settings, done } = found;
    let now = shared.registry.snapshot();
    // Ordered before a reload that has switched the search off: too late.
    if now.config.discovery.containers.as_ref() == Some(&settings) {
        let (wanted, refused) = wanted(&now, &offers, &settings);
        put_in_force(shared, &now, wanted);
        shared.tell_containers(|told| *told = ContainerDiscovery { engine_error: None, refused });
    }
    let _ = done.send(());
}

/// None is looked for any more.
pub(super) fn forget(shared: &Shared) {
    let now = shared.registry.snapshot();
    if now.config.discovery.containers.is_none() {
        put_in_force(shared, &now, BTreeMap::new());
        shared.tell_containers(|told| *told = ContainerDiscovery::default());
    }
}

type Wanted = BTreeMap<ProviderName, (String, Arc<ProviderSpec>)>;

/// Who has a name keeps it; of two containers, the one whose offer is in force, or else the first by its own name.
fn wanted(now: &Snapshot, offers: &[Offered], settings: &ContainerSettings) -> (Wanted, BTreeMap<String, String>) {
    let (mut wanted, mut refused) = (Wanted::new(), BTreeMap::new());
    let holds = |offer: &Offered| {
        let holder = offer.labels.get("name").and_then(|name| now.providers.get(name.as_str()));
        holder.is_some_and(|holder| holder.belongs_to == Owner::Docker(offer.container.as_str().into()))
    };
    let (first, then): (Vec<_>, Vec<_>) = offers.iter().partition(|offer| holds(offer));
    for offer in first.into_iter().chain(then) {
        match read(offer, settings).and_then(|(name, spec)| free(now, &wanted, &name).map(|()| (name, spec))) {
            Ok((name, spec)) => drop(wanted.insert(name, (offer.container.clone(), spec))),
            Err(why) => drop(refused.insert(offer.container.clone(), why)),
        }
    }
    (wanted, refused)
}

fn read(offer: &Offered, settings: &ContainerSettings) -> Result<(ProviderName, Arc<ProviderSpec>), String> {
    let address = match &settings.network {
        Some(network) => {
            offer.addresses.get(network).ok_or_else(|| format!("it has no address on network {network}"))?
        }
        None => offer.addresses.values().next().ok_or("it has no address of its own on any network")?,
    };
    config::offered(&offer.labels, address)
}

fn free(now: &Snapshot, wanted: &Wanted, name: &ProviderName) -> Result<(), String> {
    let clashes = |other: &ProviderName| config::could_clash(name, other.as_str());
    let taken = |whose: String| Err(format!("the name \"{name}\" is taken, or one as good as it: {whose}"));
    if let Some((other, (container, _))) = wanted.iter().find(|(other, _)| clashes(other)) {
        return taken(format!("\"{other}\" belongs to the container {container}"));
    }
    let in_force = now.providers.values().find(|other| !is_ours(other) && clashes(&other.name));
    if let Some(other) = in_force {
        return taken(format!("\"{}\" belongs to {}", other.name, other.belongs_to.in_words()));
    }
    let config = &now.config;
    let mut of_file = config.providers.keys().chain(config.groups.keys()).chain(config.catalog.keys());
    match of_file.find(|other| clashes(other)) {
        Some(other) => taken(format!("\"{other}\" belongs to the configuration file")),
        None => Ok(()),
    }
}

fn is_ours(provider: &Provider) -> bool {
    matches!(provider.belongs_to, Owner::Docker(_))
}

fn put_in_force(shared: &Shared, now: &Snapshot, wanted: Wanted) {
    let registry = &shared.registry;
    let (before, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        now.providers.iter().map(|(name, provider)| (name.clone(), provider.clone())).partition(|(_, p)| is_ours(p));
    let (mut providers, mut fresh) = (others, Vec::new());
    for (name, (container, spec)) in wanted {
        let owner = Owner::Docker(container.as_str().into());
        let provider = match before.get(&name) {
            Some(same) if same.spec == spec && same.belongs_to == owner => same.clone(),
            old => {
                let (slot, ground) = (registry.slots.of(&name), registry.ground.clone());
                let made = Provider::new(owner, name.clone(), spec, slot, ground);
                old.into_iter().for_each(|old| made.inherit_catalogue(old));
                made.put_in_force();
                fresh.push(made.clone());
                made
            }
        };
        providers.insert(name, provider);
    }
    let stays = |provider: &Arc<Provider>| providers.get(&provider.name).is_some_and(|p| Arc::ptr_eq(p, provider));
    let leaving: Vec<_> = before.into_values().filter(|provider| !stays(provider)).collect();
    if leaving.is_empty() && fresh.is_empty() {
        return;
    }
    loading::commit(shared, now, providers);
    let telemetry = &registry.ground.telemetry;
    let told = |provider: &Provider| (provider.name.to_string(), provider.belongs_to.to_string());
    for (provider, owner) in leaving.iter().map(|provider| told(provider)) {
        telemetry.emit(Event::ProviderUnloaded { provider, owner, requested_by: "docker".to_owned() });
    }
    for (provider, owner) in fresh.iter().map(|provider| told(provider)) {
        telemetry.emit(Event::ProviderLoaded { provider, owner });
    }
    let leaving = leaving.into_iter().map(|provider| (provider, StopReason::Removed)).collect();
    retire::retire(&shared.retirements, leaving, true);
}

impl Shared {
    /// The log hears of what is new.
    pub(super) fn tell_containers(&self, change: impl FnOnce(&mut ContainerDiscovery)) {
        let mut told = self.containers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = told.clone();
        change(&mut told);
        if let Some(why) = told.engine_error.as_ref().filter(|_| before.engine_error.is_none()) {
            tracing::warn!(why, "container_engine_away");
        }
        for (container, why) in
            told.refused.iter().filter(|(container, why)| before.refused.get(*container) != Some(*why))
        {
            tracing::warn!(container, why, "container_refused");
        }
    }
}
