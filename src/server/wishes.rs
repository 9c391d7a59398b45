//! What upstreams do for all clients together: resources they tell of, tasks, the least severity they log. Asked for when an
//! instance has started, and given up when the last client that wanted it is gone.

use std::{collections::BTreeSet, sync::Arc};

use super::{LEVELS, Session, Sessions, lists::hears, modern::Listen};
use crate::{
    config::ProviderName,
    provider::{ClientId, Era, Provider, Topic, Upstream},
    registry::Registry,
    wire::shallow,
};

/// The least severity that any client wants.
pub(super) fn least_level(sessions: &Sessions) -> Option<&'static str> {
    let mut least = None;
    sessions.each(|session| least = [least, Session::log_level(session)].into_iter().flatten().min());
    LEVELS.get(usize::from(least?)).copied()
}

/// Of one provider, or of one client's instance, as it calls things itself.
fn topics(registry: &Registry, sessions: &Sessions, provider: &Arc<Provider>) -> BTreeSet<Topic> {
    let (mut uris, mut tasks) = (BTreeSet::new(), BTreeSet::new());
    let audience = provider.audience();
    sessions.each(|session| {
        if hears(session, audience) {
            uris.extend(session.subscriptions());
            tasks.extend(session.listen().map(Listen::tasks).into_iter().flatten().cloned());
        }
    });
    let own = uris.iter().filter_map(|uri| registry.own_uri(provider, uri)).map(Topic::Resource);
    let ids = &registry.ground.task_ids;
    let tasks = tasks.iter().filter_map(|shown| ids.read(shown, 0)).filter(|(of, _)| *of == provider.name.as_str());
    own.chain(tasks.map(|(_, own)| Topic::Task(own.to_owned()))).collect()
}

/// A subscription is the client's with the gateway; the instance that it was made with may be gone. `home`: whose instance
/// has started; `None`: everybody's.
pub(super) fn ask_again(registry: &Registry, sessions: &Sessions, name: &ProviderName, home: Option<ClientId>) {
    let Some(common) = registry.provider(name.as_str()) else { return };
    let instances = home.map_or_else(|| vec![common.clone()], |home| common.instances_of(home));
    for provider in instances {
        if let Some(upstream) = provider.live() {
            ask_instance(registry, sessions, &provider, &upstream);
        }
    }
}

fn ask_instance(registry: &Registry, sessions: &Sessions, provider: &Arc<Provider>, upstream: &Arc<Upstream>) {
    let wanted = topics(registry, sessions, provider);
    if upstream.era() == Era::Modern {
        return upstream.listen_to(wanted);
    }
    if !provider.catalogue().is_some_and(|catalogue| catalogue.hello.has(&["resources", "subscribe"])) {
        return;
    }
    for uri in resources(&wanted) {
        upstream.subscribed(uri, true);
        send(provider, upstream, "resources/subscribe", uri);
    }
}

/// Some clients have gone, and with them what only they wanted.
pub(super) fn give_up(registry: &Arc<Registry>, sessions: &Arc<Sessions>) {
    if let Some(level) = least_level(sessions).filter(|level| Some(*level) != *registry.ground.log_level.borrow()) {
        registry.set_log_level(level);
    }
    for common in registry.snapshot().providers.values() {
        for provider in common.instances().iter().chain([common]) {
            if let Some(upstream) = provider.live() {
                give_up_at(registry, sessions, provider, &upstream);
            }
        }
    }
}

fn give_up_at(registry: &Arc<Registry>, sessions: &Arc<Sessions>, provider: &Arc<Provider>, upstream: &Arc<Upstream>) {
    let wanted = topics(registry, sessions, provider);
    if upstream.era() == Era::Modern {
        return upstream.listen_only_to(&wanted);
    }
    let wanted: BTreeSet<&str> = resources(&wanted).collect();
    for uri in upstream.subscriptions().into_iter().filter(|uri| !wanted.contains(uri.as_str())) {
        upstream.subscribed(&uri, false);
        tokio::spawn(unsubscribe(registry.clone(), sessions.clone(), provider.clone(), upstream.clone(), uri));
    }
}

/// Over HTTP two requests may overtake each other: whoever has subscribed meanwhile is subscribed again.
async fn unsubscribe(
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    provider: Arc<Provider>,
    upstream: Arc<Upstream>,
    uri: String,
) {
    if let Ok(call) = upstream.request("resources/unsubscribe", &params(&uri)) {
        // One that does not answer goes on telling what nobody hears.
        let _ = call.answer(provider.spec.call_timeout).await;
    }
    if resources(&topics(&registry, &sessions, &provider)).any(|wanted| wanted == uri) {
        upstream.subscribed(&uri, true);
        send(&provider, &upstream, "resources/subscribe", &uri);
    }
}

fn resources(topics: &BTreeSet<Topic>) -> impl Iterator<Item = &str> {
    topics.iter().filter_map(|topic| if let Topic::Resource(uri) = topic { Some(uri.as_str()) } else { None })
}

fn send(provider: &Provider, upstream: &Arc<Upstream>, method: &str, uri: &str) {
    if let Ok(call) = upstream.request(method, &params(uri)) {
        // Ends with the instance at the latest. One that refuses now sends no updates.
        tokio::spawn(call.answer(provider.spec.call_timeout));
    }
}

fn params(uri: &str) -> Vec<u8> {
    [b"{\"uri\":", shallow::quote(uri).as_slice(), b"}"].concat()
}
