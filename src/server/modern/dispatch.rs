//! What each method does in this era.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{ask, introduction, key, listen, versions};
use crate::{
    config::Protocol,
    provider::{Caller, Client as _, Era, LEGACY_VERSIONS, Listing, Relay},
    server::{
        Gateway, Session,
        dispatch::{Answer, Refusal, server_info},
        instructions, lists, tasks,
    },
    wire::{self, Frame, code},
};

impl Gateway {
    /// The answer to a request of this era, before it is made a modern one; `None` when the client cancelled it.
    ///
    /// `calls`: what the request's id is registered with; over HTTP a session of this request alone.
    pub(in crate::server) async fn modern(
        self: &Arc<Self>,
        calls: &Arc<Session>,
        frame: &Frame,
        relay: Relay,
    ) -> Option<Bytes> {
        let Some(call) = calls.begin(frame) else {
            let message = "a request with this id is in flight already";
            return Some(wire::error(frame.id(), code::INVALID_REQUEST, message, None));
        };
        let cancelled = call.cancelled.clone();
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => return None,
            answer = self.modern_method(calls, frame, relay) => answer,
        };
        Some(answer.unwrap_or_else(|refusal| refusal.answer(frame)))
    }

    async fn modern_method(self: &Arc<Self>, calls: &Arc<Session>, frame: &Frame, relay: Relay) -> Answer {
        if self.registry.snapshot().config.server.protocol == Protocol::Legacy {
            let message = "this gateway is set to the revisions with sessions (server.protocol: legacy)".into();
            let data = Some(json!({"supported": LEGACY_VERSIONS, "requested": introduction::version(frame)}));
            return Err(Refusal { code: super::code::UNSUPPORTED_VERSION, message, data });
        }
        let about_task = tasks::MODERN.contains(&frame.method()) && self.has_tasks(Era::Modern);
        if !serves(frame.method()) && !about_task && !self.is_vendors(frame.method()) {
            return Err(Refusal::unknown_method(frame.method()));
        }
        let client = introduction::client(frame)?;
        client.live_on(calls);
        if tasks::MODERN.contains(&frame.method()) {
            tasks::declared(frame)?;
            return self.task(frame, Caller { client, relay }).await;
        }
        if ask::concerns(frame, &client) {
            return self.askable(&client, frame, &relay).await;
        }
        let _over = client.over_with_call();
        let caller = Caller { client: client.clone(), relay: relay.clone() };
        match frame.method() {
            "server/discover" => Ok(self.discover(frame, client.name())),
            "subscriptions/listen" => listen::serve(self, calls, frame, &relay, client.name()).await,
            method if ask::METHODS.contains(&method) => self.deliver_named(frame, caller).await,
            "completion/complete" => self.complete(frame, caller).await,
            method => match listing(method) {
                Some(listing) => {
                    self.whole(frame)?;
                    Ok(wire::result(frame.id(), &lists::list(&self.registry, &client, listing).await))
                }
                None => self.vendor(frame, caller).await,
            },
        }
    }

    /// A call, a prompt or a resource.
    pub(super) async fn deliver_named(&self, frame: &Frame, caller: Caller) -> Answer {
        match frame.method() {
            "tools/call" => self.call_tool(frame, caller).await,
            "prompts/get" => self.named(frame, Listing::Prompts, "name", caller).await,
            _ => self.read_resource(frame, caller).await,
        }
    }

    fn discover(&self, frame: &Frame, client: &str) -> Bytes {
        let result = json!({
            "resultType": "complete",
            "supportedVersions": versions(),
            "instructions": instructions::of(&self.registry, client),
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {key::SERVER: server_info()},
        });
        wire::result(frame.id(), &self.with_capabilities(&result, Era::Modern))
    }
}

fn serves(method: &str) -> bool {
    const METHODS: [&str; 6] = [
        "server/discover",
        "subscriptions/listen",
        "tools/call",
        "prompts/get",
        "resources/read",
        "completion/complete",
    ];
    METHODS.contains(&method) || listing(method).is_some()
}

fn listing(method: &str) -> Option<Listing> {
    Listing::ALL.into_iter().find(|listing| listing.method() == method)
}
