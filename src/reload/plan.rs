//! The next snapshot, by pure functions: no I/O, nothing started, nothing stopped.

use std::{collections::BTreeMap, sync::Arc};

use super::fragments::{self, Wanted};
use crate::{
    config::{ConfigDiff, GroupSpec, Loaded, ProviderName, ProviderSpec},
    provider::{Owner, Provider},
    registry::{Group, Registry, Snapshot},
    telemetry::StopReason,
};

/// What a commit puts in force, and what it takes out.
pub struct Plan {
    pub next: Snapshot,
    pub retire: Vec<(Arc<Provider>, StopReason)>,
    /// In `next` and not in the snapshot before it: added, updated or switched on.
    pub fresh: Vec<Arc<Provider>>,
}

/// The same, with what fragments are to have in force found out here.
pub fn plan(registry: &Registry, now: &Snapshot, loaded: &Loaded, diff: &ConfigDiff, generation: u64) -> Plan {
    plan_with(registry, now, loaded, diff, &fragments::wanted(now, loaded), generation)
}

/// `now` must be the snapshot that `diff` was computed against.
pub(super) fn plan_with(
    registry: &Registry,
    now: &Snapshot,
    loaded: &Loaded,
    diff: &ConfigDiff,
    wanted: &Wanted,
    generation: u64,
) -> Plan {
    let mut providers = BTreeMap::new();
    let mut fresh = Vec::new();
    for (name, spec) in &loaded.config.providers {
        if !spec.enabled {
            continue;
        }
        let old = now.providers.get(name);
        let unchanged = diff.unchanged.binary_search(name).is_ok();
        let provider = match old {
            Some(same) if unchanged => same.clone(),
            _ => made(registry, Owner::Config, name, spec, old, &mut fresh),
        };
        providers.insert(name.clone(), provider);
    }
    for (name, spec) in &wanted.specs {
        let old = now.providers.get(name);
        let owner = wanted.owners.get(name).cloned().unwrap_or_default();
        let provider = match old {
            Some(same) if wanted.is_unchanged(name) => same.clone(),
            _ => made(registry, owner, name, spec, old, &mut fresh),
        };
        providers.insert(name.clone(), provider);
    }
    // What others own is not the file's to change.
    let guests = now.providers.iter().filter(|(_, guest)| !guest.belongs_to.is_config() && !fragments::is_ours(guest));
    providers.extend(guests.map(|(name, guest)| (name.clone(), guest.clone())));
    let retire =
        retired(now, &providers, |name| loaded.config.providers.contains_key(name) || wanted.specs.contains_key(name));
    let groups = groups(registry, now, loaded);
    let config = Arc::new(loaded.config.clone());
    Plan { next: Snapshot { generation, sha256: loaded.sha256.clone(), config, providers, groups }, retire, fresh }
}

/// A new one, which offers what the one before it did until it is asked.
fn made(
    registry: &Registry,
    owner: Owner,
    name: &ProviderName,
    spec: &Arc<ProviderSpec>,
    old: Option<&Arc<Provider>>,
    fresh: &mut Vec<Arc<Provider>>,
) -> Arc<Provider> {
    let made = Provider::new(owner, name.clone(), spec.clone(), registry.slots.of(name), registry.ground.clone());
    if let Some(old) = old {
        made.inherit_catalogue(old);
    }
    fresh.push(made.clone());
    made
}

/// Unchanged ones are carried over, with what they have counted and learned.
fn groups(registry: &Registry, now: &Snapshot, loaded: &Loaded) -> BTreeMap<ProviderName, Arc<Group>> {
    let one = |(name, spec): (&ProviderName, &Arc<GroupSpec>)| {
        let same = now.groups.get(name).filter(|group| group.spec == *spec).cloned();
        let telemetry = || registry.ground.telemetry.clone();
        (name.clone(), same.unwrap_or_else(|| Group::new(name.clone(), spec.clone(), telemetry())))
    };
    loaded.config.groups.iter().map(one).collect()
}

/// Every provider of `now` that is not, as the same object, among `next`.
fn retired(
    now: &Snapshot,
    next: &BTreeMap<ProviderName, Arc<Provider>>,
    still_defined: impl Fn(&ProviderName) -> bool,
) -> Vec<(Arc<Provider>, StopReason)> {
    let stays = |provider: &Arc<Provider>| next.get(&provider.name).is_some_and(|p| Arc::ptr_eq(p, provider));
    let leaving = now.providers.values().filter(|provider| !stays(provider));
    leaving
        .map(|provider| {
            let reason = if still_defined(&provider.name) { StopReason::Updated } else { StopReason::Removed };
            (provider.clone(), reason)
        })
        .collect()
}
