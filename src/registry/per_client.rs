//! What concerns one client alone, where it has instances of its own (`sharing: session`).

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard, PoisonError},
};

use super::{Index, Registry};
use crate::{
    config::ProviderName,
    provider::{Client, Provider, SharedCatalogue},
    wire::Frame,
};

/// Indexes kept; clients that declare the same are mostly offered the same, and have one together.
const KEPT: usize = 16;

/// An index with catalogues that are not everybody's.
pub(super) struct Made {
    base: Arc<Index>,
    own: Vec<(ProviderName, SharedCatalogue)>,
    index: Arc<Index>,
}

impl Registry {
    /// The merged lists as `client` has them: an instance of its own may offer something else than the others do.
    pub fn index_for(&self, client: &dyn Client) -> Arc<Index> {
        let index = self.index();
        if index.per_client.is_empty() {
            return index;
        }
        let home = client.home().id;
        let differs = |provider: &Arc<Provider>| {
            let (own, common) = (own_catalogue(provider, home)?, provider.catalogue());
            let same = common.as_ref().is_some_and(|common| Arc::ptr_eq(common, &own) || **common == *own);
            (!same).then(|| (provider.name.clone(), own))
        };
        let own: Vec<_> = index.per_client.iter().filter_map(differs).collect();
        if own.is_empty() {
            return index;
        }
        let same = |made: &&Made| {
            let catalogues =
                made.own.iter().zip(&own).all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1));
            Arc::ptr_eq(&made.base, &index) && made.own.len() == own.len() && catalogues
        };
        if let Some(made) = self.made().iter().find(same) {
            return made.index.clone();
        }
        let snapshot = self.snapshot();
        let catalogue_of = |provider: &Provider| {
            let own = own.iter().find(|(name, _)| *name == provider.name).map(|(_, own)| own.clone());
            own.or_else(|| provider.catalogue())
        };
        let made = Arc::new(Index::build(&snapshot, index.news, &self.own_items(&snapshot), catalogue_of));
        // Built of a snapshot that is not the common one's any more: for this once.
        if snapshot.generation == index.generation {
            let mut kept = self.made();
            kept.retain(|made| Arc::ptr_eq(&made.base, &index));
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(Made { base: index, own, index: made.clone() });
        }
        made
    }

    fn made(&self) -> MutexGuard<'_, VecDeque<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `client` wants to hear of has changed: for its own instances.
    pub fn log_level_changed(&self, client: &dyn Client) {
        let (index, home) = (self.index(), client.home().id);
        index.per_client.iter().flat_map(|p| p.instances_of(home)).for_each(|own| own.tell_log_level());
    }

    /// The roots of `client` have changed: nobody else's instance has to know.
    pub fn roots_changed(&self, client: &dyn Client, notification: &Frame) {
        self.index().per_client.iter().for_each(|provider| provider.roots_changed(client, notification));
    }
}

/// Of its session's instance, or the first of those that its requests have.
fn own_catalogue(provider: &Provider, home: u64) -> Option<SharedCatalogue> {
    provider.instances_of(home).first()?.catalogue()
}
