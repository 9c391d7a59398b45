//! `hangar_search_tools`: tools of all providers by words, listed or not.
//!
//! `words` takes texts apart, a [`Shelf`] holds the words of one provider's tools, `rank` looks through all of them.

mod rank;
mod shelf;
mod words;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::json;

pub use self::shelf::Shelf;
use super::{Control, arguments::Search, outcome::Outcome};
use crate::{
    provider::{Catalogue, Provider},
    wire::to_json,
};

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 50;
/// Shelves kept; those that were made first go first.
const MOST_SHELVES: usize = 1024;

impl Control {
    pub(super) async fn search(&self, search: Search) -> Outcome {
        if rank::wanted(&search.query).is_empty() {
            return super::arguments::refusal("\"query\" holds no word");
        }
        let within = self.registry.snapshot().config.server.list_timeout;
        let missing = self.registry.learn_catalogues(within).await;
        let snapshot = self.registry.snapshot();
        let sources =
            snapshot.providers.values().filter_map(|provider| Some((provider.clone(), provider.catalogue()?)));
        let shelves = self.library.shelves(sources);
        let limit = search.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        let mut out = answer(&shelves, &search.query, limit, search.schemas.unwrap_or(false));
        let missing: Vec<_> = missing.iter().map(|m| json!({"provider": m.provider, "why": m.why})).collect();
        out.extend_from_slice(b",\"not_searched\":");
        out.extend(to_json(&missing));
        out.push(b'}');
        Outcome::raw(out, false)
    }
}

/// `{"tools": [{name, provider, tool, description, parameters, required?, score, inputSchema?}], "total": N`; the schema as
/// the upstream wrote it, when it is asked for.
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

/// The shelves of the catalogues that are in use.
#[derive(Default)]
pub(super) struct Library(Mutex<Vec<Kept>>);

/// A provider object has one filter and one description all its life, a catalogue one content.
struct Kept {
    provider: Weak<Provider>,
    catalogue: Weak<Catalogue>,
    shelf: Arc<Shelf>,
}

impl Library {
    fn shelves(&self, sources: impl Iterator<Item = (Arc<Provider>, Arc<Catalogue>)>) -> Vec<Arc<Shelf>> {
        sources.map(|(provider, catalogue)| self.shelf(&provider, &catalogue)).collect()
    }

    fn shelf(&self, provider: &Arc<Provider>, catalogue: &Arc<Catalogue>) -> Arc<Shelf> {
        let is_it = |kept: &&Kept| {
            std::ptr::eq(kept.provider.as_ptr(), Arc::as_ptr(provider))
                && std::ptr::eq(kept.catalogue.as_ptr(), Arc::as_ptr(catalogue))
        };
        if let Some(kept) = self.kept().iter().find(is_it) {
            return kept.shelf.clone();
        }
        let offered = catalogue.tools.iter().filter(|item| provider.offers(&item.key));
        let shelf = Arc::new(Shelf::of(provider.name.as_str(), provider.spec.description.as_deref(), offered));
        let mut all = self.kept();
        all.retain(|kept| kept.provider.strong_count() > 0 && kept.catalogue.strong_count() > 0);
        if all.len() >= MOST_SHELVES {
            all.remove(0);
        }
        let (provider, catalogue) = (Arc::downgrade(provider), Arc::downgrade(catalogue));
        all.push(Kept { provider, catalogue, shelf: shelf.clone() });
        shelf
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
