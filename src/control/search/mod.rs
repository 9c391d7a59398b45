//! `hangar_search_tools`: tools of all providers by words, listed or not.
//!
//! `words` takes texts apart, a [`Shelf`] holds the words of one provider's tools, `rank` looks through all of them.

mod rank;
mod shelf;
mod words;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde_json::json;

pub use self::shelf::Shelf;
use super::{Control, arguments::Search, outcome::Outcome};
use crate::{
    provider::{Catalogue, Provider},
    wire::to_json,
};

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 50;
/// Shelves kept: more than providers and clients with instances of their own are likely to make.
const MOST_SHELVES: usize = 16 * 1024;

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
        let (library, sources) = (self.library.clone(), sources.collect::<Vec<_>>());
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

/// The shelves of the catalogues that are in use, by the addresses of provider and catalogue.
#[derive(Default)]
pub(super) struct Library(Mutex<HashMap<(usize, usize), Kept>>);

/// A provider object has one filter and one description all its life, a catalogue one content. As long as the two are
/// remembered here nothing else can have their addresses.
struct Kept {
    provider: Weak<Provider>,
    catalogue: Weak<Catalogue>,
    shelf: Arc<Shelf>,
}

impl Library {
    fn shelves(&self, sources: Vec<(Arc<Provider>, Arc<Catalogue>)>) -> Vec<Arc<Shelf>> {
        sources.into_iter().map(|(provider, catalogue)| self.shelf(&provider, &catalogue)).collect()
    }

    fn shelf(&self, provider: &Arc<Provider>, catalogue: &Arc<Catalogue>) -> Arc<Shelf> {
        let key = (Arc::as_ptr(provider).addr(), Arc::as_ptr(catalogue).addr());
        if let Some(kept) = self.kept().get(&key) {
            return kept.shelf.clone();
        }
        let offered = catalogue.tools.iter().filter(|item| provider.offers(&item.key));
        let shelf = Arc::new(Shelf::of(provider.name.as_str(), provider.spec.description.as_deref(), offered));
        let mut all = self.kept();
        all.retain(|_, kept| kept.provider.strong_count() > 0 && kept.catalogue.strong_count() > 0);
        if all.len() < MOST_SHELVES {
            let (provider, catalogue) = (Arc::downgrade(provider), Arc::downgrade(catalogue));
            all.insert(key, Kept { provider, catalogue, shelf: shelf.clone() });
        }
        shelf
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<(usize, usize), Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
