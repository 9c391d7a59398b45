//! What each method does, for every front. Legacy era: 2024-11-05 to 2025-11-25.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{Session, Sessions, Waiting, instructions, lists, modern, session::LEVELS, tasks, wishes};
use crate::{
    bridge::{self, Parking},
    config::{Limits, Protocol},
    provider::{CallError, Caller, Client as _, Era, LATEST_LEGACY, LEGACY_VERSIONS, Listing, Relay},
    registry::{Address, Delivery, DeliveryError, OwnTools, Registry, names},
    wire::{self, Frame, FrameKind, Span, Splice, code, shallow},
};

/// The gateway as its fronts see it.
pub struct Gateway {
    pub registry: Arc<Registry>,
    pub sessions: Arc<Sessions>,
    /// Calls of modern clients that wait for their input.
    pub parking: Arc<Parking>,
    pub waiting: Waiting,
}

/// A refusal: JSON-RPC code, text, data.
pub(super) struct Refusal {
    pub code: i32,
    pub message: String,
    pub data: Option<serde_json::Value>,
}

pub(super) type Answer = Result<Bytes, Refusal>;

impl Gateway {
    /// Those in force now.
    pub(super) fn limits(&self) -> Limits {
        self.registry.snapshot().config.server.limits.clone()
    }

    /// Notifications and answers of the client.
    pub fn receive(&self, session: &Arc<Session>, frame: Frame) {
        match (frame.kind(), frame.method()) {
            (FrameKind::Response, _) => session.answer(frame),
            (_, "notifications/cancelled") => session.cancel(&frame),
            (_, "notifications/progress") => session.progress(&frame),
            // Roots are not declared to shared upstreams.
            (_, "notifications/roots/list_changed") => self.registry.roots_changed(&**session, &frame),
            _ => self.tell_vendor(Some(session), &frame),
        }
    }

    /// The answer to a request, complete; `None` when the client cancelled it, for then none must be sent.
    ///
    /// Dropping the future cancels the call upstream. Messages that belong to the call go through `relay` before.
    pub async fn request(&self, session: &Arc<Session>, frame: &Frame, relay: Relay) -> Option<Bytes> {
        let call = match session.begin(frame, self.registry.snapshot().config.server.limits.in_flight) {
            Ok(call) => call,
            Err(refused) => return Some(Refusal::from(refused).answer(frame)),
        };
        let cancelled = call.cancelled.clone();
        let caller = Caller { client: session.clone(), relay };
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => return None,
            answer = self.method(session, frame, caller) => answer,
        };
        Some(answer.unwrap_or_else(|refusal| refusal.answer(frame)))
    }

    async fn method(&self, session: &Arc<Session>, frame: &Frame, caller: Caller) -> Answer {
        if session.greeting().is_none() && !matches!(frame.method(), "initialize" | "ping") {
            return Err(Refusal::new(code::INVALID_REQUEST, "the client has to send \"initialize\" first"));
        }
        match frame.method() {
            "initialize" => self.initialize(session, frame),
            "ping" => Ok(wire::result(frame.id(), b"{}")),
            "tools/call" => self.call_tool(frame, caller).await,
            "prompts/get" => self.named(frame, Listing::Prompts, "name", caller).await,
            "resources/read" => self.read_resource(frame, caller).await,
            "resources/subscribe" => self.subscription(session, frame, caller, true).await,
            "resources/unsubscribe" => self.subscription(session, frame, caller, false).await,
            "completion/complete" => self.complete(frame, caller).await,
            "logging/setLevel" => self.set_level(session, frame),
            tasks::LIST => self.list_tasks(frame, caller).await,
            method if tasks::LEGACY.contains(&method) => self.task(frame, caller).await,
            method => match Listing::ALL.into_iter().find(|listing| listing.method() == method) {
                Some(listing) => {
                    self.whole(frame)?;
                    Ok(wire::result(frame.id(), &lists::list(&self.registry, session, listing).await))
                }
                None => self.vendor(frame, caller).await,
            },
        }
    }

    fn initialize(&self, session: &Arc<Session>, frame: &Frame) -> Answer {
        if self.registry.snapshot().config.server.protocol == Protocol::Modern {
            let asked = self.string(frame, &["protocolVersion"]).map(|asked| asked.text).ok();
            let message = "this gateway is set to the revision without sessions (server.protocol: 2026-07-28)".into();
            let data = Some(json!({"supported": [modern::VERSION], "requested": asked}));
            return Err(Refusal { code: modern::code::UNSUPPORTED_VERSION, message, data });
        }
        let asked = self.string(frame, &["protocolVersion"])?;
        let version = LEGACY_VERSIONS.into_iter().find(|known| *known == asked.text).unwrap_or(LATEST_LEGACY);
        if !session.greet(version, frame) {
            return Err(Refusal::new(code::INVALID_REQUEST, "\"initialize\" was sent before in this session"));
        }
        // What it lists from now on; so it is told of the first change of the way already.
        session.tools_exposed(self.registry.exposures().for_client(session.name()));
        let result = json!({
            "protocolVersion": version,
            "serverInfo": server_info(),
            "instructions": instructions::of(&self.registry, session.name()),
        });
        Ok(wire::result(frame.id(), &self.with_capabilities(&result, Era::Legacy)))
    }

    /// `result` with the capabilities for clients of `era`: the gateway's own, and what its providers declare beside them.
    pub(super) fn with_capabilities(&self, result: &serde_json::Value, era: Era) -> Vec<u8> {
        let mut all = CAPABILITIES.to_vec();
        if let Some(more) = self.registry.snapshot().declared(era) {
            // An object that is not empty: its inside goes behind what is there.
            all.pop();
            all.push(b',');
            all.extend_from_slice(more.get(1..).unwrap_or(b"}"));
        }
        let text = result.to_string();
        let root = Span { start: 0, end: 0 };
        Splice::new().add_field(text.as_bytes(), root, "capabilities", &all).apply(text.as_bytes())
    }

    pub(super) async fn call_tool(&self, frame: &Frame, caller: Caller) -> Answer {
        let name = self.string(frame, &["name"])?;
        let arguments = self.place(frame, &["arguments"])?;
        if let Some(own) = self.registry.own_tool(&name.text, &*caller.client) {
            return self.call_own(own, &name.text, frame, arguments, caller).await;
        }
        self.deliver(frame, Address::Listed(Listing::Tools, &name.text), name.place, caller).await
    }

    async fn call_own(
        &self,
        own: &Arc<dyn OwnTools>,
        name: &str,
        frame: &Frame,
        arguments: Option<Span>,
        caller: Caller,
    ) -> Answer {
        let account =
            bridge::Account::begin(&self.registry, frame, Address::Listed(Listing::Tools, name), &caller.client);
        let result = own.call(name, frame, arguments, caller).await;
        if let Some(account) = account {
            account.own(result.as_deref());
        }
        let result =
            result.ok_or_else(|| Refusal::new(code::INVALID_PARAMS, format!("there is no tool \"{name}\"")))?;
        Ok(wire::result(frame.id(), &result))
    }

    pub(super) async fn named(&self, frame: &Frame, listing: Listing, key: &str, caller: Caller) -> Answer {
        let name = self.string(frame, &[key])?;
        self.deliver(frame, Address::Listed(listing, &name.text), name.place, caller).await
    }

    /// The contents bear the URI that was asked for, not the upstream's own.
    pub(super) async fn read_resource(&self, frame: &Frame, caller: Caller) -> Answer {
        let uri = self.string(frame, &["uri"])?;
        let to = Address::Listed(Listing::Resources, &uri.text);
        let (mut answer, route) = self.delivered(frame, to, Some(uri.place), caller).await?;
        if route.provider.era() == Era::Modern && Era::of(frame) == Era::Legacy {
            answer = legacy_code(answer);
        }
        if *route.name == *uri.text {
            return Ok(answer.with_id(frame.id()));
        }
        let mut edits = Splice::new();
        if let Some(place) = answer.id_span() {
            edits.replace(place, frame.id());
        }
        let text = answer.bytes();
        let contents = answer.result().and_then(|result| shallow::get(text, result, "contents").ok().flatten());
        for content in contents.and_then(|array| shallow::elements(text, array)).unwrap_or_default() {
            if let Ok(Some(place)) = shallow::get(text, content, "uri")
                && shallow::string(text, place).is_some_and(|own| *own == *route.name)
            {
                edits.replace(place, shallow::quote(&uri.text));
            }
        }
        Ok(edits.apply(text).into())
    }

    pub(super) async fn subscription(&self, session: &Arc<Session>, frame: &Frame, caller: Caller, on: bool) -> Answer {
        let uri = self.string(frame, &["uri"])?;
        if on {
            // Before the upstream knows: an update may come ahead of its answer.
            let most = self.registry.snapshot().config.server.limits.subscriptions;
            if !session.subscribe(&uri.text, most) {
                let message =
                    format!("this client is subscribed to {most} resources already (server.limits.subscriptions)");
                return Err(Refusal::new(code::INVALID_REQUEST, message));
            }
        } else {
            session.unsubscribe(&uri.text);
        }
        let to = Address::Listed(Listing::Resources, &uri.text);
        // The upstream knows one subscriber, the gateway: it is told to stop when the last client is gone. An instance of its own
        // is told by its client.
        if !on && self.sessions.any(|other| other.is_subscribed(&uri.text)) {
            let route = self.registry.route(to, &caller.client).await;
            let alone = route.is_ok_and(|route| route.provider.is_per_client());
            let home = session.home().id;
            if !alone || self.sessions.any(|other| other.is_subscribed(&uri.text) && other.home().id == home) {
                return Ok(wire::result(frame.id(), b"{}"));
            }
        }
        let answer = self.delivered(frame, to, Some(uri.place), caller).await;
        if on && !matches!(&answer, Ok((answer, _)) if answer.error().is_none()) {
            session.unsubscribe(&uri.text);
        }
        Ok(answer?.0.with_id(frame.id()))
    }

    pub(super) async fn complete(&self, frame: &Frame, caller: Caller) -> Answer {
        let kind = self.string(frame, &["ref", "type"])?;
        let (listing, key) = match &*kind.text {
            "ref/prompt" => (Listing::Prompts, "name"),
            "ref/resource" => (Listing::Templates, "uri"),
            _ => return Err(Refusal::new(code::INVALID_PARAMS, "\"ref.type\" is neither ref/prompt nor ref/resource")),
        };
        let name = self.string(frame, &["ref", key])?;
        self.deliver(frame, Address::Listed(listing, &name.text), name.place, caller).await
    }

    fn set_level(&self, session: &Session, frame: &Frame) -> Answer {
        let level = self.string(frame, &["level"])?;
        if !session.set_log_level(&level.text) {
            let message = format!("\"level\" must be one of {}", LEVELS.join(", "));
            return Err(Refusal::new(code::INVALID_PARAMS, message));
        }
        // A shared upstream has one level for all clients: the least that any of them wants. What one client does not want
        // is left out on its way to it.
        if let Some(level) = wishes::least_level(&self.sessions) {
            self.registry.set_log_level(level);
        }
        self.registry.log_level_changed(session);
        Ok(wire::result(frame.id(), b"{}"))
    }

    async fn deliver(&self, frame: &Frame, to: Address<'_>, place: Span, caller: Caller) -> Answer {
        Ok(self.delivered(frame, to, Some(place), caller).await?.0.with_id(frame.id()))
    }

    pub(super) async fn delivered(
        &self,
        frame: &Frame,
        to: Address<'_>,
        name_place: Option<Span>,
        caller: Caller,
    ) -> Result<(Frame, crate::registry::Route), Refusal> {
        self.refuse_double_token(frame)?;
        let delivery = Delivery { frame, to, name_place, caller, timeout: None };
        bridge::deliver(&self.registry, delivery).await.map_err(|error| Refusal::undelivered(error, to))
    }

    /// A token spelled twice could mean one call to us and another to the upstream.
    fn refuse_double_token(&self, frame: &Frame) -> Result<(), Refusal> {
        self.place(frame, &["_meta", "progressToken"]).map(drop)
    }

    /// Lists are given whole, so no cursor can be one of ours.
    pub(super) fn whole(&self, frame: &Frame) -> Result<(), Refusal> {
        match self.place(frame, &["cursor"])? {
            Some(cursor) if frame.text(cursor) != b"null" => {
                let message = "\"params.cursor\" is none that this gateway has given: its lists have one page";
                Err(Refusal::new(code::INVALID_PARAMS, message))
            }
            _ => Ok(()),
        }
    }

    fn place(&self, frame: &Frame, path: &[&str]) -> Result<Option<Span>, Refusal> {
        let Some(params) = frame.params() else { return Ok(None) };
        shallow::path(frame.bytes(), params, path).map_err(|e| Refusal::new(code::INVALID_PARAMS, e.to_string()))
    }

    pub(super) fn string(&self, frame: &Frame, path: &[&str]) -> Result<Text, Refusal> {
        let key = path.join(".");
        let missing = || Refusal::new(code::INVALID_PARAMS, format!("\"params.{key}\" is missing"));
        let place = self.place(frame, path)?.ok_or_else(missing)?;
        match shallow::string(frame.bytes(), place) {
            Some(text) => Ok(Text { text: text.into_owned(), place }),
            None => Err(Refusal::new(code::INVALID_PARAMS, format!("\"params.{key}\" is not a string"))),
        }
    }
}

/// What the gateway offers, in either era: whatever its providers have is passed on.
const CAPABILITIES: &[u8] = br#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{},"completions":{}}"#;

pub(super) fn server_info() -> serde_json::Value {
    json!({"name": "hangar", "title": "hangar", "version": env!("CARGO_PKG_VERSION")})
}

/// A string of a request and where it stands.
pub(super) struct Text {
    pub text: String,
    pub place: Span,
}

impl Refusal {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn unknown_method(method: &str) -> Self {
        let message = format!("unknown method \"{}\"", method.chars().take(100).collect::<String>());
        Self::new(code::METHOD_NOT_FOUND, message)
    }

    /// As the answer to `request`.
    pub(super) fn answer(&self, request: &Frame) -> Bytes {
        wire::error(request.id(), self.code, &self.message, self.data.as_ref())
    }

    pub(super) fn undelivered(error: DeliveryError, to: Address<'_>) -> Self {
        let message = error.to_string();
        match error {
            DeliveryError::Unknown { .. } if matches!(to, Address::Listed(Listing::Resources, _)) => {
                let uri = match to {
                    Address::Listed(_, uri) => uri,
                    Address::Tool { tool, .. } => tool,
                    Address::At { name, .. } => name,
                };
                Self { code: code::RESOURCE_NOT_FOUND, message, data: Some(json!({"uri": uri})) }
            }
            DeliveryError::Unknown { .. } => Self::new(code::INVALID_PARAMS, message),
            DeliveryError::Group(group) => {
                Self { code: code::PROVIDER_UNAVAILABLE, message, data: Some(group.details()) }
            }
            DeliveryError::Call(call @ CallError::MissingCapability { .. }) => {
                Self { code: modern::code::MISSING_CAPABILITY, message, data: Some(call.details()) }
            }
            DeliveryError::Call(call) => Self { code: code::PROVIDER_UNAVAILABLE, message, data: Some(call.details()) },
        }
    }
}

/// What is not there has a code of its own in the legacy era.
fn legacy_code(answer: Frame) -> Frame {
    let text = answer.bytes();
    let place = answer.error().and_then(|error| shallow::get(text, error, "code").ok().flatten());
    match place.filter(|place| answer.text(*place) == code::INVALID_PARAMS.to_string().as_bytes()) {
        Some(place) => {
            let not_found = code::RESOURCE_NOT_FOUND.to_string().into_bytes();
            Frame::parse(Splice::new().replace(place, not_found).apply(text).into()).unwrap_or(answer)
        }
        None => answer,
    }
}

/// Where a resource's update is sent: the name under which clients know it.
pub(super) fn listed_uris(provider: &str, own: &str) -> [String; 2] {
    [names::flat_uri(provider, own), own.to_owned()]
}
