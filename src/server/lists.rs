//! Listings, and telling clients that they changed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Session, Sessions, dispatch::listed_uris, wishes};
use crate::{
    config::Expose,
    provider::{Audience, CatalogueNews, Client, Era, HomeKind, InstanceNews, ListKind, Listing, ResourceUpdate},
    registry::{Exposures, Freshness, Registry},
    wire::{self, Splice, shallow},
};

/// Changes that come within this time are told once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The list whose form depends on the client.
const TOOLS: usize = 0;

/// What providers have to tell the server.
pub struct News {
    pub updates: mpsc::Receiver<ResourceUpdate>,
    pub instances: mpsc::Receiver<InstanceNews>,
}

impl News {
    /// Nothing will ever be told.
    pub fn silent() -> Self {
        Self { updates: mpsc::channel(1).1, instances: mpsc::channel(1).1 }
    }
}

/// The result of a list request, raw JSON. Waits for providers that were never seen, for `server.list_timeout_s` at most.
pub(super) async fn list(registry: &Registry, session: &Arc<Session>, listing: Listing) -> Vec<u8> {
    if listing == Listing::Tools {
        let expose = registry.exposures().for_client(session.name());
        // Ahead of the look at it: a change from here on is told.
        session.tools_exposed(expose);
        if expose == Expose::Search {
            let index = registry.index();
            session.has_own_list(ListKind::of(listing));
            session.listed(TOOLS, index.news.tools, index.news.learned);
            return [b"{\"tools\":", &registry.tools_array(&index, expose)[..], b"}"].concat();
        }
    }
    let within = registry.snapshot().config.server.list_timeout;
    let client = session.clone() as Arc<dyn Client>;
    for missing in registry.learn_catalogues(&client, within).await {
        tracing::warn!(provider = %missing.provider, why = missing.why, list = listing.method(), "listed_without_provider");
    }
    registry.refresh_stale(&**session, listing);
    // Ahead of the look at it: what changes from here on is told.
    session.has_own_list(ListKind::of(listing));
    let index = registry.index_for(&**session);
    let kind = kind_of(listing);
    session.listed(kind, counts(index.news)[kind], index.news.learned);
    let field = shallow::quote(listing.field());
    let exposures = registry.exposures();
    let array = match listing {
        Listing::Tools => registry.tools_array(&index, exposures.for_client(session.name())),
        _ => index.list(listing).array.clone(),
    };
    let hints = match session.era() {
        Era::Legacy => String::new(),
        Era::Modern => {
            let Freshness { ttl, public } = registry.freshness(&**session, listing);
            let public = public && (listing != Listing::Tools || exposures.same_for_all());
            let scope = if public { "public" } else { "private" };
            format!(r#","ttlMs":{},"cacheScope":"{scope}""#, ttl.as_millis())
        }
    };
    [b"{", field.as_slice(), b":", &array, hints.as_bytes(), b"}"].concat()
}

/// Runs as long as the gateway: sends `list_changed` and resource updates to the sessions concerned.
pub async fn keep_clients_informed(
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    News { mut updates, mut instances }: News,
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
            Some(update) = updates.recv() => pass_on(&registry, &sessions, &update),
            Some(news) = instances.recv() => match news {
                InstanceNews::Ready { provider, home } => wishes::ask_again(&registry, &sessions, &provider, home),
                InstanceNews::Lists { home, kinds } => sessions.each(|session| {
                    if session.home().id == home {
                        session.lists_changed(kinds);
                    }
                }),
            },
            () = sessions.missed() => {
                // Clients go together, and come back.
                tokio::time::sleep(DEBOUNCE).await;
                wishes::give_up(&registry, &sessions);
            }
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
    session.tell_own_lists();
    let now = *registry.ground.catalogue_news.borrow();
    tell(session, now, &registry.exposures());
}

fn pass_on(registry: &Registry, sessions: &Sessions, update: &ResourceUpdate) {
    let frame = &update.frame;
    if frame.method() == "notifications/tasks" {
        return pass_task_on(registry, sessions, update);
    }
    let place = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "uri").ok().flatten());
    let Some(place) = place else { return };
    let Some(own) = shallow::string(frame.bytes(), place) else { return };
    for uri in listed_uris(update.provider.as_str(), &own) {
        let message: Bytes = Splice::new().replace(place, shallow::quote(&uri)).apply(frame.bytes()).into();
        sessions.each(|session| {
            if session.is_subscribed(&uri) && hears(session, update.audience) {
                session.push(message.clone());
            }
        });
    }
}

fn pass_task_on(registry: &Registry, sessions: &Sessions, update: &ResourceUpdate) {
    let frame = &update.frame;
    let place = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "taskId").ok().flatten());
    let Some(place) = place else { return };
    let Some(own) = shallow::string(frame.bytes(), place) else { return };
    let shown = registry.ground.task_ids.show(update.provider.as_str(), &own, 0);
    let message: Bytes = Splice::new().replace(place, shallow::quote(&shown)).apply(frame.bytes()).into();
    sessions.each(|session| {
        if session.listen().is_some_and(|listen| listen.tasks().contains(&shown)) && hears(session, update.audience) {
            session.push(message.clone());
        }
    });
}

/// Whether an instance is one that it may hear from.
pub(super) fn hears(session: &Session, audience: Audience) -> bool {
    match audience {
        Audience::Everybody => true,
        Audience::Home(home) => session.home().id == home,
        Audience::Homeless => session.home().kind == HomeKind::Call,
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
