//! One snapshot's merged lists, as bytes ready to send, and where each name leads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Group, Snapshot, names};
use crate::{
    config::ToolPrefix,
    provider::{CatalogueNews, Item, Listing, Provider, SharedCatalogue},
    wire::{Splice, shallow},
};

/// Where a listed name leads.
#[derive(Clone)]
pub struct Route {
    pub provider: Arc<Provider>,
    /// What the upstream calls it.
    pub name: Box<str>,
    /// `provider` is one of its members: the one that is called, or before that is known the first that has the tool.
    pub group: Option<Arc<Group>>,
}

/// One merged list.
#[derive(Default)]
pub struct Merged {
    /// A raw JSON array.
    pub array: Bytes,
    /// Where in it the gateway's own end.
    own: usize,
    pub routes: HashMap<Box<str>, Route>,
    pub count: usize,
}

/// The same name from two providers, with `tool_prefix: never`: both are listed with their prefix instead.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Collision {
    pub list: &'static str,
    pub name: String,
    pub providers: Vec<String>,
}

pub struct Index {
    pub generation: u64,
    /// The catalogues that went into it.
    pub news: CatalogueNews,
    lists: [Merged; 4],
    /// Providers of which each client has an instance of its own.
    pub(super) per_client: Vec<Arc<Provider>>,
    pub collisions: Vec<Collision>,
}

/// One entry on its way into a list.
struct Entry<'a> {
    /// Whose name it bears: the provider's or a group's.
    owner: &'a str,
    provider: &'a Arc<Provider>,
    item: &'a Item,
    group: Option<&'a Arc<Group>>,
    /// It has its prefix in any case: the plain name is its group's.
    prefixed: bool,
}

impl Index {
    /// `own`: the gateway's own tools, which come first and whose names nobody else gets.
    ///
    /// `catalogue_of`: what each provider offers.
    pub fn build(
        snapshot: &Snapshot,
        news: CatalogueNews,
        own: &[Item],
        catalogue_of: impl Fn(&Provider) -> Option<SharedCatalogue>,
    ) -> Self {
        let prefix = snapshot.config.server.tool_prefix;
        let mut collisions = Vec::new();
        let catalogues: Vec<_> =
            snapshot.providers.values().filter_map(|provider| Some((provider, catalogue_of(provider)?))).collect();
        let lists = Listing::ALL.map(|listing| {
            let mut entries = Vec::new();
            let of_tools = listing == Listing::Tools;
            for (provider, catalogue) in &catalogues {
                let owner = provider.name.as_str();
                if of_tools && snapshot.config.hides(owner) {
                    continue;
                }
                let prefixed = of_tools && snapshot.config.is_member(owner);
                let offered = catalogue.list(listing).iter().filter(|item| !of_tools || provider.offers(&item.key));
                entries.extend(offered.map(|item| Entry { owner, provider, item, group: None, prefixed }));
            }
            for group in snapshot.groups.values().filter(|_| of_tools) {
                let mut seen = HashSet::new();
                for member in &group.spec.members {
                    let known = catalogues.iter().find(|(provider, _)| provider.name == member.id);
                    let Some((provider, catalogue)) = known else { continue };
                    let offered = catalogue.tools.iter().filter(|item| provider.offers(&item.key));
                    for item in offered.filter(|item| seen.insert(&*item.key)) {
                        let (owner, group) = (group.name.as_str(), Some(group));
                        entries.push(Entry { owner, provider, item, group, prefixed: false });
                    }
                }
            }
            let own = if listing == Listing::Tools { own } else { &[] };
            merge(listing, prefix, &entries, own, &mut collisions)
        });
        let per_client = snapshot.providers.values().filter(|provider| provider.is_per_client()).cloned().collect();
        Self { generation: snapshot.generation, news, lists, per_client, collisions }
    }

    pub fn list(&self, listing: Listing) -> &Merged {
        let [tools, prompts, resources, templates] = &self.lists;
        match listing {
            Listing::Tools => tools,
            Listing::Prompts => prompts,
            Listing::Resources => resources,
            Listing::Templates => templates,
        }
    }

    pub fn route(&self, listing: Listing, name: &str) -> Option<&Route> {
        self.list(listing).routes.get(name)
    }
}

impl Merged {
    /// The elements of `array` that are providers', with their commas.
    pub fn upstream(&self) -> &[u8] {
        let elements = self.array.get(self.own..self.array.len().saturating_sub(1)).unwrap_or_default();
        elements.strip_prefix(b",").unwrap_or(elements)
    }
}

fn merge(
    listing: Listing,
    prefix: ToolPrefix,
    entries: &[Entry<'_>],
    own: &[Item],
    collisions: &mut Vec<Collision>,
) -> Merged {
    let taken = match prefix {
        ToolPrefix::Always => BTreeMap::new(),
        ToolPrefix::Never => owners(entries, own),
    };
    let mut merged = Merged::default();
    // In one go, not by doubling: the list of many providers is the largest thing that an idle gateway holds.
    let added = |entry: &Entry<'_>| entry.provider.name.as_str().len() + names::SEPARATOR.len() + 1;
    let sizes = entries.iter().map(|entry| entry.item.raw.len() + added(entry));
    let mut array =
        Vec::with_capacity(sizes.sum::<usize>() + own.iter().map(|item| item.raw.len() + 1).sum::<usize>() + 2);
    array.push(b'[');
    let mut put = |raw: &[u8], array: &mut Vec<u8>| {
        if array.len() > 1 {
            array.push(b',');
        }
        array.extend_from_slice(raw);
        merged.count += 1;
    };
    own.iter().for_each(|item| put(&item.raw, &mut array));
    let own_end = array.len();
    for Entry { owner, provider, item, group, prefixed } in entries {
        let provider_name = *owner;
        let flat = match listing {
            Listing::Tools | Listing::Prompts => names::flat(provider_name, &item.key),
            Listing::Resources | Listing::Templates => names::flat_uri(provider_name, &item.key),
        };
        let plain =
            prefix == ToolPrefix::Never && !prefixed && taken.get(&*item.key).is_some_and(|owners| owners.len() == 1);
        let listed = if plain { item.key.clone() } else { flat };
        let route = Route { provider: Arc::clone(provider), name: item.key.as_str().into(), group: group.cloned() };
        if merged.routes.contains_key(&*listed) {
            let providers = vec![provider_name.to_owned()];
            collisions.push(Collision { list: listing.field(), name: listed, providers });
            continue;
        }
        if plain {
            put(&item.raw, &mut array);
        } else {
            put(&Splice::new().replace(item.key_place, shallow::quote(&listed)).apply(&item.raw), &mut array);
        }
        merged.routes.insert(listed.into(), route);
    }
    array.push(b']');
    array.shrink_to_fit();
    merged.array = array.into();
    merged.own = own_end;
    for (name, providers) in taken.into_iter().filter(|(_, owners)| owners.len() > 1) {
        collisions.push(Collision { list: listing.field(), name: name.to_owned(), providers });
    }
    merged
}

/// Who lists each plain name.
fn owners<'a>(entries: &[Entry<'a>], own: &'a [Item]) -> BTreeMap<&'a str, Vec<String>> {
    let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for item in own {
        owners.entry(&item.key).or_default().push("hangar".to_owned());
    }
    for Entry { owner, item, .. } in entries.iter().filter(|entry| !entry.prefixed) {
        let providers = owners.entry(&item.key).or_default();
        if providers.last().map(String::as_str) != Some(*owner) {
            providers.push((*owner).to_owned());
        }
    }
    owners
}
