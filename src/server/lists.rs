//! Listings, and telling clients that they changed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Session, Sessions, dispatch::listed_uris};
use crate::{
    config::{Expose, ProviderName},
    provider::{CatalogueNews, Client as _, Era, Listing, ResourceUpdate},
    registry::{Exposures, Registry},
    wire::{self, Splice, shallow},
};

/// Changes that come within this time are told once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The list whose form depends on the client.
const TOOLS: usize = 0;

/// What providers have to tell the server.
pub struct News {
    pub updates: mpsc::Receiver<ResourceUpdate>,
    /// Providers of which an instance has become ready.
    pub started: mpsc::Receiver<ProviderName>,
}

impl News {
    /// Nothing will ever be told.
    pub fn silent() -> Self {
        Self { updates: mpsc::channel(1).1, started: mpsc::channel(1).1 }
    }
}

/// The result of a list request, raw JSON. Waits for providers that were never seen, for `server.list_timeout_s` at most.
pub(super) async fn list(registry: &Registry, session: &Session, listing: Listing) -> Vec<u8> {
    if listing == Listing::Tools {
        let expose = registry.exposures().for_client(session.name());
        // Ahead of the look at it: a change from here on is told.
        session.tools_exposed(expose);
        if expose == Expose::Search {
            let index = registry.index();
            session.listed(TOOLS, index.news.tools, index.news.learned);
            return [b"{\"tools\":", &registry.tools_array(&index, expose)[..], b"}"].concat();
        }
    }
    let within = registry.snapshot().config.server.list_timeout;
    for missing in registry.learn_catalogues(within).await {
        tracing::warn!(provider = %missing.provider, why = missing.why, list = listing.method(), "listed_without_provider");
    }
    let index = registry.index();
    let kind = kind_of(listing);
    session.listed(kind, counts(index.news)[kind], index.news.learned);
    let field = shallow::quote(listing.field());
    let array = match listing {
        Listing::Tools => registry.tools_array(&index, registry.exposures().for_client(session.name())),
        _ => index.list(listing).array.clone(),
    };
    [b"{", field.as_slice(), b":", &array, b"}"].concat()
}

/// Runs as long as the gateway: sends `list_changed` and resource updates to the sessions concerned.
pub async fn keep_clients_informed(
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    News { mut updates, mut started }: News,
) {
    let mut news = registry.ground.catalogue_news.subscribe();
    loop {
        tokio::select! {
            changed = news.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(DEBOUNCE).await;
                let now = *news.borrow_and_update();
                let exposures = registry.exposures();
                sessions.each(|session| tell(session, now, &exposures));
            }
            Some(update) = updates.recv() => pass_on(&sessions, &update),
            Some(provider) = started.recv() => subscribe_again(&registry, &sessions, &provider),
        }
    }
}

/// A subscription is the client's with the gateway; the instance that it was made with may be gone.
fn subscribe_again(registry: &Registry, sessions: &Sessions, name: &ProviderName) {
    let Some((provider, upstream)) = registry.provider(name.as_str()).and_then(|p| Some((p.clone(), p.live()?))) else {
        return;
    };
    if !provider.catalogue().is_some_and(|catalogue| catalogue.hello.has(&["resources", "subscribe"])) {
        return;
    }
    let mut wanted = BTreeSet::new();
    sessions.each(|session| wanted.extend(session.subscriptions()));
    let own: BTreeSet<_> = wanted.iter().filter_map(|uri| registry.own_uri(&provider, uri)).collect();
    if upstream.era() == Era::Modern {
        return upstream.listen_to(own);
    }
    for uri in own {
        let params = [b"{\"uri\":", shallow::quote(&uri).as_slice(), b"}"].concat();
        if let Ok(call) = upstream.request("resources/subscribe", &params) {
            // Ends with the instance at the latest. One that refuses now sends no updates.
            tokio::spawn(call.answer(provider.spec.call_timeout));
        }
    }
}

/// A client is told of each list that it has not fetched since it changed.
fn tell(session: &Session, now: CatalogueNews, exposures: &Exposures) {
    if session.greeting().is_none() {
        return;
    }
    let expose = exposures.for_client(session.name());
    for (kind, (count, name)) in counts(now).into_iter().zip(["tools", "prompts", "resources"]).enumerate() {
        let lacks = match kind {
            TOOLS => session.lacks_tools(count, now.learned, expose),
            _ => session.lacks(kind, count, now.learned),
        };
        if lacks && session.wants_list(kind) {
            let method = format!("notifications/{name}/list_changed");
            // Without a stream it stays untold, and is told when one opens.
            if session.push(wire::notification(&method, b"")) {
                session.told(kind, count);
                if kind == TOOLS {
                    session.tools_exposed(expose);
                }
            }
        }
    }
}

/// What a client missed while it had no stream.
pub(super) fn catch_up(registry: &Registry, session: &Session) {
    let now = *registry.ground.catalogue_news.borrow();
    tell(session, now, &registry.exposures());
}

fn pass_on(sessions: &Sessions, update: &ResourceUpdate) {
    let frame = &update.frame;
    let place = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "uri").ok().flatten());
    let Some(place) = place else { return };
    let Some(own) = shallow::string(frame.bytes(), place) else { return };
    for uri in listed_uris(update.provider.as_str(), &own) {
        let message: Bytes = Splice::new().replace(place, shallow::quote(&uri)).apply(frame.bytes()).into();
        sessions.each(|session| {
            if session.is_subscribed(&uri) {
                session.push(message.clone());
            }
        });
    }
}

fn kind_of(listing: Listing) -> usize {
    match listing {
        Listing::Tools => TOOLS,
        Listing::Prompts => 1,
        Listing::Resources | Listing::Templates => 2,
    }
}

fn counts(news: CatalogueNews) -> [u64; 3] {
    [news.tools, news.prompts, news.resources]
}
