//! `subscriptions/listen`: a request that is answered when the subscription ends, and on whose stream comes what the client
//! opted in to, until then.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::key;
use crate::{
    provider::{Caller, Client as _, Relay},
    server::{
        Gateway, Session, SessionKey, Sessions,
        dispatch::{Answer, Refusal},
        session::MAX_SUBSCRIPTIONS,
        tasks,
    },
    wire::{self, Frame, Span, Splice, code, shallow},
};

/// What one listen request opted in to.
#[derive(Debug)]
pub(in crate::server) struct Listen {
    /// Its id as spelled: the name of the subscription.
    id: Bytes,
    /// Tools, prompts, resources.
    kinds: [bool; 3],
    /// As clients know them.
    tasks: BTreeSet<String>,
}

const KINDS: [&str; 3] = ["toolsListChanged", "promptsListChanged", "resourcesListChanged"];
const URIS: &str = "resourceSubscriptions";
const TASKS: &str = "taskIds";

impl Listen {
    pub(in crate::server) fn wants(&self, kind: usize) -> bool {
        self.kinds.get(kind).copied().unwrap_or_default()
    }

    pub(in crate::server) fn tasks(&self) -> &BTreeSet<String> {
        &self.tasks
    }

    /// The notification as it goes out on this subscription.
    pub(in crate::server) fn mark(&self, notification: Bytes) -> Bytes {
        let Ok(frame) = Frame::parse(notification.clone()) else { return notification };
        let text = frame.bytes();
        let mut edits = Splice::new();
        match frame.params() {
            Some(params) => match shallow::get(text, params, "_meta") {
                Ok(Some(meta)) => edits.add_field(text, meta, key::SUBSCRIPTION, &self.id),
                _ => edits.add_field(text, params, "_meta", &self.meta()),
            },
            None => {
                let params = [b"{\"_meta\":", self.meta().as_slice(), b"}"].concat();
                return wire::notification(frame.method(), &params);
            }
        };
        edits.apply(text).into()
    }

    fn meta(&self) -> Vec<u8> {
        [b"{", shallow::quote(key::SUBSCRIPTION).as_slice(), b":", &self.id, b"}"].concat()
    }
}

/// Forgets the subscription when the request ends, however it does.
struct Registered {
    sessions: Arc<Sessions>,
    key: SessionKey,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.close(&self.key);
    }
}

/// Until the client cancels it, or the gateway or the connection of `calls` ends.
pub(super) async fn serve(gateway: &Gateway, calls: &Session, frame: &Frame, relay: &Relay, name: &str) -> Answer {
    let (listen, uris, granted) = read(gateway, frame)?;
    let meta = listen.meta();
    let news = *gateway.registry.ground.catalogue_news.borrow();
    let expose = gateway.registry.exposures().for_client(name);
    let session = Session::listening(news, listen, name, expose);
    session.live_on(calls);
    let mut stream = session.open_stream();
    let refused = || Refusal::new(code::INTERNAL_ERROR, "the system gave no random bytes for a subscription");
    let key = gateway.sessions.open_listening(session.clone()).ok_or_else(refused)?;
    let _registered = Registered { sessions: gateway.sessions.clone(), key };
    let ack = json!({"notifications": granted}).to_string();
    let ack = wire::notification("notifications/subscriptions/acknowledged", ack.as_bytes());
    if let Some(listen) = session.listen() {
        relay.send(listen.mark(ack));
    }
    // After the acknowledgement: an update may come ahead of the upstream's answer.
    for uri in uris {
        subscribe(gateway, &session, &uri, relay).await;
    }
    gateway.listen_for_tasks(session.home().id, session.listen().map(Listen::tasks).into_iter().flatten());
    loop {
        tokio::select! {
            biased;
            message = stream.recv() => match message {
                Some(message) => drop(relay.send(message)),
                None => break,
            },
            () = session.over().cancelled() => break,
            () = calls.closing().cancelled() => break,
        }
    }
    let result = [b"{\"resultType\":\"complete\",\"_meta\":", meta.as_slice(), b"}"].concat();
    Ok(wire::result(frame.id(), &result))
}

/// The upstream of the resource is told as of old; one that cannot or will not sends no updates.
async fn subscribe(gateway: &Gateway, session: &Arc<Session>, uri: &str, relay: &Relay) {
    let params = json!({"uri": uri}).to_string();
    let Ok(frame) = Frame::parse(wire::request(b"0", "resources/subscribe", params.as_bytes())) else { return };
    let caller = Caller { client: session.clone(), relay: relay.clone() };
    let _ = gateway.subscription(session, &frame, caller, true).await;
}

/// The subscription, its resources, and what of it is granted.
fn read(gateway: &Gateway, frame: &Frame) -> Result<(Listen, Vec<String>, Value), Refusal> {
    let text = frame.bytes();
    let wrong = |what: &str| Refusal::new(code::INVALID_PARAMS, format!("\"params.notifications\" {what}"));
    let filter = frame.params().and_then(|params| shallow::get(text, params, "notifications").ok().flatten());
    let filter = filter.ok_or_else(|| wrong("is missing"))?;
    if shallow::fields(text, filter).is_none() {
        return Err(wrong("is no object"));
    }
    let place = |key: &str| -> Option<Span> { shallow::get(text, filter, key).ok().flatten() };
    let kinds = KINDS.map(|key| place(key).is_some_and(|value| frame.text(value) == b"true"));
    let mut granted = Map::new();
    for (key, _) in KINDS.iter().zip(kinds).filter(|(_, wanted)| *wanted) {
        granted.insert((*key).to_owned(), Value::Bool(true));
    }
    let mut uris = Vec::new();
    if let Some(list) = place(URIS) {
        let items = shallow::elements(text, list).ok_or_else(|| wrong("has resourceSubscriptions that are no list"))?;
        for item in items.into_iter().take(MAX_SUBSCRIPTIONS) {
            let uri = shallow::string(text, item).ok_or_else(|| wrong("has a resource that is no text"))?;
            uris.push(uri.into_owned());
        }
        granted.insert(URIS.to_owned(), json!(uris));
    }
    let mut tasks = BTreeSet::new();
    if let Some(list) = place(TASKS) {
        tasks::declared(frame)?;
        let items = shallow::elements(text, list).ok_or_else(|| wrong("has taskIds that are no list"))?;
        let items = items.into_iter().take(MAX_SUBSCRIPTIONS).filter_map(|item| shallow::string(text, item));
        let given = items.filter(|id| gateway.registry.ground.task_ids.read(id, 0).is_some());
        tasks.extend(given.map(std::borrow::Cow::into_owned));
        granted.insert(TASKS.to_owned(), json!(tasks));
    }
    Ok((Listen { id: frame.id_bytes(), kinds, tasks }, uris, Value::Object(granted)))
}
