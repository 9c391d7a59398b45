//! `hangar_search_tools`: tools of all providers by words, listed or not.
//!
//! `words` takes texts apart, a [`Shelf`] holds the words of one provider's tools, `rank` looks through all of them.

mod rank;
mod shelf;
mod words;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::json;

pub use self::shelf::Shelf;
use super::{Control, arguments::Search, outcome::Outcome};
use crate::{
    provider::{Client, Item, Provider},
    registry::{Group, Snapshot},
    wire::to_json,
};

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 50;
/// Shelves kept of one owner: its instances may not all list the same.
const MOST_SHELVES: usize = 4;

/// How an answer begins that names no tool.
const NOTHING: &[u8] = b"{\"tools\":[]";

impl Control {
    pub(super) async fn search(&self, search: Search, client: &Arc<dyn Client>) -> Outcome {
        if rank::wanted(&search.query).is_empty() {
            return super::arguments::refusal("\"query\" holds no word");
        }
        let within = self.registry.snapshot().config.server.list_timeout;
        let missing = self.registry.learn_catalogues(client, within).await;
        let snapshot = self.registry.snapshot();
        let (library, sources) = (self.library.clone(), sources(&snapshot, &**client));
        let limit = search.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        // Thousands of tools that nobody has looked through yet would hold up other calls.
        let searched = tokio::task::spawn_blocking(move || {
            answer(&library.shelves(sources), &search.query, limit, search.schemas.unwrap_or(false))
        });
        let Ok(mut out) = searched.await else {
            return Outcome::error("internal", "the search was cut off", json!({}));
        };
        let missing: Vec<_> = missing.iter().map(|m| json!({"provider": m.provider, "why": m.why})).collect();
        out.extend_from_slice(b",\"not_searched\":");
        out.extend(to_json(&missing));
        if out.starts_with(NOTHING) {
            // Where to look on.
            let providers: Vec<_> = snapshot.providers.keys().collect();
            out.extend_from_slice(b",\"providers\":");
            out.extend(to_json(&providers));
        }
        out.push(b'}');
        Outcome::raw(out, false)
    }
}

/// `{"tools": [{name, provider, tool, description, parameters, required?, score, inputSchema?}], "total": N`; the schema as
/// the upstream wrote it, when it is asked for. Left open: more fields come.
pub fn answer(shelves: &[Arc<Shelf>], query: &str, limit: usize, schemas: bool) -> Vec<u8> {
    let shelves: Vec<&Shelf> = shelves.iter().map(|shelf| &**shelf).collect();
    let found = rank::rank(&shelves, query);
    let mut out = b"{\"tools\":[".to_vec();
    for (at, one) in found.iter().take(limit).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        out.extend_from_slice(&one.tool.head);
        out.extend(format!(",\"score\":{:.2}", one.score).into_bytes());
        if let Some(schema) = one.tool.item.raw_field("inputSchema").filter(|_| schemas) {
            out.extend_from_slice(b",\"inputSchema\":");
            out.extend_from_slice(&schema);
        }
        out.push(b'}');
    }
    out.extend(format!("],\"total\":{}", found.len()).into_bytes());
    out
}

/// The tools that go by one name in front: a provider's, as far as it offers them, or a group's.
#[derive(Clone)]
pub struct Source {
    pub owner: String,
    /// What the file says about it.
    pub about: Option<String>,
    pub items: Vec<Item>,
}

fn sources(snapshot: &Snapshot, client: &dyn Client) -> Vec<Source> {
    let of_provider = |provider: &Arc<Provider>| {
        let catalogue = provider.catalogue_for(client)?;
        let items = catalogue.tools.iter().filter(|item| provider.offers(&item.key)).cloned().collect();
        Some(Source { owner: provider.name.to_string(), about: provider.spec.description.clone(), items })
    };
    let of_group = |group: &Arc<Group>| {
        let (owner, about) = (group.name.to_string(), group.spec.description.clone());
        Source { owner, about, items: group.tools(&snapshot.providers) }
    };
    let seen = snapshot.providers.values().filter(|provider| !snapshot.config.hides(provider.name.as_str()));
    seen.filter_map(of_provider).chain(snapshot.groups.values().map(of_group)).collect()
}

/// The shelves that were needed last, by owner. One serves as long as its tools are the same, whoever lists them.
#[derive(Default)]
pub struct Library(Mutex<HashMap<String, Vec<Arc<Shelf>>>>);

impl Library {
    pub fn shelves(&self, sources: Vec<Source>) -> Vec<Arc<Shelf>> {
        let owners: HashSet<_> = sources.iter().map(|source| source.owner.clone()).collect();
        let shelves = sources.into_iter().map(|source| self.shelf(source)).collect();
        self.kept().retain(|owner, _| owners.contains(owner));
        shelves
    }

    fn shelf(&self, Source { owner, about, items }: Source) -> Arc<Shelf> {
        let of_owner = self.kept().get(&owner).cloned().unwrap_or_default();
        if let Some(shelf) = of_owner.into_iter().find(|shelf| shelf.is_of(about.as_deref(), &items)) {
            return shelf;
        }
        let shelf = Arc::new(Shelf::of(&owner, about.as_deref(), items.iter()));
        let mut kept = self.kept();
        let of_owner = kept.entry(owner).or_default();
        of_owner.insert(0, shelf.clone());
        of_owner.truncate(MOST_SHELVES);
        shelf
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Shelf>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{provider::Listing, wire::shallow};

    fn source(owner: &str, tools: &[&str]) -> Source {
        let item = |name: &&str| {
            let text = bytes::Bytes::from(json!({"name": name}).to_string());
            Item::read(&text, shallow::root(&text).unwrap(), Listing::Tools).unwrap()
        };
        Source { owner: owner.into(), about: None, items: tools.iter().map(item).collect() }
    }

    #[test]
    fn a_shelf_is_made_anew_when_its_tools_are_others_and_forgotten_with_its_owner() {
        let library = Library::default();
        let once = library.shelves(vec![source("a", &["x"]), source("b", &["y"])]);
        let again = library.shelves(vec![source("a", &["x"]), source("b", &["y", "z"])]);
        assert!(Arc::ptr_eq(&once[0], &again[0]) && !Arc::ptr_eq(&once[1], &again[1]));
        let other = Source { about: Some("else".into()), ..source("a", &["x"]) };
        assert!(!Arc::ptr_eq(&once[0], &library.shelves(vec![other])[0]));
        assert!(!library.kept().contains_key("b"));
        for n in 0..3 * MOST_SHELVES {
            library.shelves(vec![source("a", &[&n.to_string()])]);
        }
        assert_eq!(library.kept()["a"].len(), MOST_SHELVES);
    }
}
