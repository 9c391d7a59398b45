//! Methods that no revision knows. Nobody but a provider can understand them, so they are passed on where there is only one.

use std::sync::Arc;

use super::{
    Gateway, Session,
    dispatch::{Answer, Refusal},
};
use crate::{
    provider::{Caller, Client as _, Era},
    registry::Address,
    wire::{Frame, FrameKind},
};

/// Of some revision. A method that is not served is then one of the other era, or of clients, and not a vendor's.
const KNOWN: [&str; 10] = [
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "elicitation/create",
];
const KNOWN_FAMILIES: [&str; 2] = ["tasks/", "notifications/"];

/// What the gateway hears itself, and what upstreams are told by it or cannot be told.
const ITS_OWN: [&str; 4] = [
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    // Roots are not declared to shared upstreams.
    "notifications/roots/list_changed",
];

impl Gateway {
    /// Whether a request that is not served otherwise has somebody to answer it.
    pub(super) fn is_vendors(&self, method: &str) -> bool {
        let known = KNOWN.contains(&method) || KNOWN_FAMILIES.iter().any(|family| method.starts_with(family));
        !known && self.registry.only_provider().is_some()
    }

    pub(super) async fn vendor(&self, frame: &Frame, caller: Caller) -> Answer {
        let only = self.registry.only_provider().filter(|_| self.is_vendors(frame.method()));
        let only = only.ok_or_else(|| Refusal::unknown_method(frame.method()))?;
        let to = Address::At { provider: only.name.as_str(), name: "" };
        Ok(self.delivered(frame, to, None, caller).await?.0.with_id(frame.id()))
    }

    /// Starts nothing. `session`: of a client that has one.
    pub(super) fn tell_vendor(&self, session: Option<&Arc<Session>>, frame: &Frame) {
        let greeted = session.is_none_or(|session| session.greeting().is_some());
        let passes = frame.kind() == FrameKind::Notification
            && !ITS_OWN.contains(&frame.method())
            && (greeted || Era::of(frame) == Era::Modern);
        let Some(only) = self.registry.only_provider().filter(|_| passes) else { return };
        let own = session.map(|session| only.instances_of(session.home().id)).unwrap_or_default();
        for upstream in own.iter().chain([&only]).filter_map(|provider| provider.live()) {
            upstream.pass_on(frame);
        }
    }
}
