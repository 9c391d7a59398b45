//! The running gateway as one immutable [`Snapshot`], swapped whole; names and where they lead; delivery of calls.
//!
//! Readers take one atomic load and then see one generation, whatever is committed meanwhile.

mod capabilities;
mod continuations;
mod delivery;
mod exposure;
mod freshness;
pub mod groups;
mod index;
pub mod names;
mod own;
mod per_client;
pub mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;

pub use continuations::Continuations;
pub use delivery::{Address, Delivery, answer_outcome};
pub use exposure::{Exposures, TRIO};
pub use freshness::Freshness;
pub use groups::{Group, NoMember};
pub use index::{Collision, Index, Merged, Route};
pub use own::OwnTools;

use crate::{
    config::{Config, ProviderName},
    provider::{CatalogueNews, Client, Ground, Item, Provider, ProviderState, Slots, Told},
};

/// One generation. `providers` are the enabled ones of `config`.
pub struct Snapshot {
    pub generation: u64,
    /// Over the bytes of all sources.
    pub sha256: String,
    pub config: Arc<Config>,
    pub providers: BTreeMap<ProviderName, Arc<Provider>>,
    pub groups: BTreeMap<ProviderName, Arc<Group>>,
}

pub struct Registry {
    current: ArcSwap<Snapshot>,
    index: ArcSwap<Index>,
    exposures: ArcSwap<Exposures>,
    made: Mutex<VecDeque<per_client::Made>>,
    pub slots: Slots,
    pub ground: Arc<Ground>,
    own_tools: OnceLock<Arc<dyn OwnTools>>,
    pub continuations: Continuations,
}

/// A provider that a listing had to do without.
#[derive(Debug, Clone)]
pub struct Missing {
    pub provider: ProviderName,
    pub why: String,
}

impl Registry {
    /// The empty gateway, generation 0.
    pub fn new(ground: Arc<Ground>) -> Arc<Self> {
        let empty = Snapshot {
            generation: 0,
            sha256: String::new(),
            config: Arc::default(),
            providers: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        let index = Index::build(&empty, CatalogueNews::default(), &[], Provider::catalogue);
        let exposures = Exposures::of(&empty);
        Arc::new(Self {
            current: ArcSwap::from_pointee(empty),
            index: ArcSwap::from_pointee(index),
            exposures: ArcSwap::from_pointee(exposures),
            made: Mutex::default(),
            slots: Slots::default(),
            ground,
            own_tools: OnceLock::new(),
            continuations: Continuations::default(),
        })
    }

    /// The gateway's own tools; once, before the first client.
    pub fn set_own_tools(&self, tools: Arc<dyn OwnTools>) {
        // The one caller is `app`; a second call would change nothing.
        let _ = self.own_tools.set(tools);
    }

    pub fn own_tools(&self) -> Option<&Arc<dyn OwnTools>> {
        self.own_tools.get()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    pub fn provider(&self, name: &str) -> Option<Arc<Provider>> {
        self.current.load().providers.get(name).cloned()
    }

    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.current.load().groups.get(name).cloned()
    }

    /// The one provider that there is. `None`: there is none, or there are several.
    pub fn only_provider(&self) -> Option<Arc<Provider>> {
        let snapshot = self.current.load();
        let mut all = snapshot.providers.values();
        all.next().filter(|_| all.next().is_none()).cloned()
    }

    /// Puts `next` in force: one store. Only the reloader calls it.
    pub fn commit(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
    }

    /// What all upstreams are to log from now on: those that live now, and those that start later.
    pub fn set_log_level(&self, level: &'static str) {
        self.ground.log_level.send_replace(Some(level));
        self.current.load().providers.values().for_each(|provider| provider.tell_log_level());
    }

    /// Tells clients that every list may have changed.
    pub fn announce(&self) {
        self.ground.catalogue_news.send_modify(|news| {
            news.tools += 1;
            news.prompts += 1;
            news.resources += 1;
        });
    }

    /// The merged lists of the current snapshot and catalogues; built when either has changed.
    pub fn index(&self) -> Arc<Index> {
        // Catalogues are stored before their news is counted, so an index may be newer than its number, never older.
        let news = *self.ground.catalogue_news.borrow();
        let snapshot = self.current.load();
        let index = self.index.load();
        if index.generation == snapshot.generation && index.news == news {
            return index.clone();
        }
        let fresh = Arc::new(Index::build(&snapshot, news, &self.own_items(&snapshot), Provider::catalogue));
        self.index.store(fresh.clone());
        for Collision { list, name, providers } in &fresh.collisions {
            tracing::warn!(list, name, ?providers, "name_collision");
        }
        fresh
    }

    /// The gateway's own tools that any client is offered.
    fn own_items(&self, snapshot: &Snapshot) -> Vec<Item> {
        let exposures = Exposures::of(snapshot);
        let own = self.own_tools.get().map(|own| own.items()).unwrap_or_default();
        own.iter().filter(|item| exposures.reserves(&item.key)).cloned().collect()
    }

    /// Starts every provider whose catalogue is not known, for `client`, and waits for all of them, for `within` at most: one
    /// that hangs holds nobody back. Gives those whose catalogue is still not known.
    pub async fn learn_catalogues(&self, client: &Arc<dyn Client>, within: Duration) -> Vec<Missing> {
        let snapshot = self.snapshot();
        let unknown: Vec<_> = snapshot.providers.values().filter(|p| p.catalogue().is_none()).collect();
        if unknown.is_empty() {
            return Vec::new();
        }
        let lessons = unknown.iter().map(|provider| async move {
            // A listing does not revive the dead.
            let asked = provider.lasting(client).unwrap_or_else(|_| (*provider).clone());
            if asked.state() == ProviderState::Dead {
                return Some(format!(
                    "it is dead: {}",
                    asked.status().last_failure.map(|f| f.cause).unwrap_or_default()
                ));
            }
            match tokio::time::timeout(within, provider.be_ready_for(client)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(asked.told(error).to_string()),
                Err(_) => Some(format!("it was not ready within {:.1} s", within.as_secs_f64())),
            }
        });
        let causes = join_all(lessons).await;
        let missing = unknown.iter().zip(causes).filter_map(|(provider, why)| {
            Some(Missing { provider: provider.name.clone(), why: why.filter(|_| provider.catalogue().is_none())? })
        });
        missing.collect()
    }

    /// For errors about a name that is not there: the closest name of a provider or group.
    pub fn closest_provider(&self, name: &str) -> Option<ProviderName> {
        let snapshot = self.current.load();
        let rated = snapshot
            .providers
            .keys()
            .chain(snapshot.groups.keys())
            .map(|known| (strsim::jaro_winkler(known.as_str(), name), known));
        let best = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 > 0.8).then(|| best.1.clone())
    }
}

/// Why a call was not delivered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeliveryError {
    #[error("there is no {kind} \"{name}\"{}", .help.as_ref().map(|h| format!("; did you mean \"{h}\"?")).unwrap_or_default())]
    Unknown { kind: &'static str, name: String, help: Option<String> },
    #[error(transparent)]
    Call(#[from] Told),
    #[error(transparent)]
    Group(#[from] NoMember),
}
