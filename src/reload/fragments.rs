//! Providers that fragments own (`discovery.files`): part of the same reload, and of its report, but never a reason to refuse
//! it. A fragment that is wrong keeps its last good provider.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::{self, ConfigDiff, Fragment, Loaded, ProviderName, ProviderSpec},
    provider::{Owner, Provider},
    registry::Snapshot,
};

type Specs = BTreeMap<ProviderName, Arc<ProviderSpec>>;

/// What fragments are to have in force, and what that changes.
#[derive(Default)]
pub(super) struct Wanted {
    pub specs: Specs,
    pub owners: BTreeMap<ProviderName, Owner>,
    pub diff: ConfigDiff,
    pub remarks: Vec<String>,
}

pub(super) fn wanted(now: &Snapshot, loaded: &Loaded) -> Wanted {
    let mut wanted = Wanted::default();
    let before: Vec<_> = now.providers.values().filter(|provider| is_ours(provider)).collect();
    match &loaded.fragments {
        // Not there in this moment.
        None => before.iter().for_each(|provider| {
            wanted.keep(provider);
            let message = "stays as it is: the directory of fragments is not there, or cannot be read";
            wanted.remarks.push(format!("\"{}\" {message}", provider.name));
        }),
        Some(found) => found.iter().for_each(|(name, fragment)| wanted.take(now, name, fragment)),
    }
    let before: Specs = before.into_iter().map(|provider| (provider.name.clone(), provider.spec.clone())).collect();
    config::providers_diff(&before, &wanted.specs, &mut wanted.diff);
    wanted
}

pub(super) fn is_ours(provider: &Provider) -> bool {
    matches!(provider.belongs_to, Owner::File(_))
}

impl Wanted {
    fn keep(&mut self, provider: &Provider) {
        self.specs.insert(provider.name.clone(), provider.spec.clone());
        self.owners.insert(provider.name.clone(), provider.belongs_to.clone());
    }

    fn take(&mut self, now: &Snapshot, name: &ProviderName, fragment: &Fragment) {
        let Some(spec) = &fragment.spec else {
            return now.providers.get(name).filter(|last| is_ours(last)).into_iter().for_each(|last| self.keep(last));
        };
        if !spec.enabled {
            return;
        }
        let is_guest = |other: &Provider| !is_ours(other) && !other.belongs_to.is_config();
        let mut others = now.providers.values();
        match others.find(|other| is_guest(other) && config::could_clash(name, other.name.as_str())) {
            Some(other) => self.remarks.push(format!(
                "the fragment {} is not in force: the provider \"{}\" is, and belongs to {}",
                fragment.file,
                other.name,
                other.belongs_to.in_words()
            )),
            None => {
                self.specs.insert(name.clone(), spec.clone());
                self.owners.insert(name.clone(), Owner::File(fragment.file.as_str().into()));
            }
        }
    }

    pub(super) fn changes_something(&self) -> bool {
        !(self.diff.added.is_empty() && self.diff.removed.is_empty() && self.diff.updated.is_empty())
    }

    /// Whether the fragment of this name is the very one that is in force.
    pub(super) fn is_unchanged(&self, name: &ProviderName) -> bool {
        self.diff.unchanged.binary_search(name).is_ok()
    }

    /// The file's own difference with that of the fragments. A name that moves from one to the other is updated.
    pub(super) fn with(&self, diff: &ConfigDiff) -> ConfigDiff {
        let mut out = diff.clone();
        out.added.extend(self.diff.added.iter().cloned());
        out.removed.extend(self.diff.removed.iter().cloned());
        out.updated.extend(self.diff.updated.iter().cloned());
        out.unchanged.extend(self.diff.unchanged.iter().cloned());
        let moved: Vec<_> = out.added.iter().filter(|name| out.removed.contains(name)).cloned().collect();
        out.added.retain(|name| !moved.contains(name));
        out.removed.retain(|name| !moved.contains(name));
        out.updated.extend(moved.into_iter().map(|name| (name, vec!["owner"])));
        out.added.sort_unstable();
        out.removed.sort_unstable();
        out.updated.sort_unstable();
        out.unchanged.sort_unstable();
        out
    }
}
