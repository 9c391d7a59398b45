//! What concerns one client alone, where it has instances of its own (`sharing: session`).

use std::sync::Arc;

use super::{Index, Registry};
use crate::{
    provider::{Catalogue, Client, Provider, SharedCatalogue},
    wire::Frame,
};

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
        let own: Vec<(_, Arc<Catalogue>)> = index.per_client.iter().filter_map(differs).collect();
        if own.is_empty() {
            return index;
        }
        let snapshot = self.snapshot();
        let catalogue_of = |provider: &Provider| {
            let own = own.iter().find(|(name, _)| *name == provider.name).map(|(_, own)| own.clone());
            own.or_else(|| provider.catalogue())
        };
        Arc::new(Index::build(&snapshot, index.news, &self.own_items(&snapshot), catalogue_of))
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
