//! What an upstream says, and to whom it goes: to the one call or client it belongs to, or to nobody.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{Pending, Table, Upstream, client_end::OPENING, envelope, listening};
use crate::{
    provider::{Caller, ClientFeature, Era, news::ListKind},
    transport::{Inbound, TransportError},
    wire::{self, Frame, FrameKind, Splice, code, shallow},
};

/// Requests of one upstream that may wait for clients at one time.
const MAX_ASKING: usize = 64;

/// Between two looks for a way to a client.
const LOOK: Duration = Duration::from_millis(20);
/// How long a client may take to answer what belongs to none of its calls.
const WAIT: Duration = Duration::from_secs(600);

/// Handed to the transport; the conversation itself is shared with the calls.
pub(in crate::provider) struct Ear(pub Arc<Upstream>);

impl Inbound for Ear {
    fn message(&self, json: Bytes, answering: Option<u64>) {
        if json.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
            // A batch (revision 2025-03-26): each element is a message of its own.
            let elements = shallow::root(&json).ok().and_then(|array| shallow::elements(&json, array));
            for place in elements.unwrap_or_default() {
                self.one(json.slice(place.range()), answering);
            }
        } else {
            self.one(json, answering);
        }
    }

    fn failed(&self, id: Option<u64>, error: TransportError) {
        let upstream = &self.0;
        let failed: Vec<Pending> = match id {
            Some(id) => upstream.take_pending(id).into_iter().collect(),
            None => upstream.take_all_pending(),
        };
        for call in failed {
            let _ = call.reply.send(Err(upstream.transport_error(error.clone())));
        }
    }
}

impl Ear {
    fn one(&self, json: Bytes, answering: Option<u64>) {
        let frame = match Frame::parse(json.clone()) {
            Ok(frame) => frame,
            Err(error) => {
                self.0.output.noise(&json);
                tracing::debug!(provider = %self.0.provider, %error, "upstream_noise");
                return;
            }
        };
        match frame.kind() {
            FrameKind::Response => self.response(frame),
            FrameKind::Notification => self.notification(&frame, answering),
            FrameKind::Request => self.request(frame, answering),
        }
    }

    fn response(&self, frame: Frame) {
        let call = frame.id_u64().and_then(|id| self.0.take_pending(id));
        match call {
            Some(call) => drop(call.reply.send(Ok(frame))),
            // Unknown, late or twice.
            None => self.stray(),
        }
    }

    fn notification(&self, frame: &Frame, answering: Option<u64>) {
        let upstream = &self.0;
        match frame.method() {
            listening::ACKNOWLEDGED => upstream.listening.acknowledged(frame),
            "notifications/progress" => self.progress(frame),
            "notifications/message" => self.log(frame, answering),
            "notifications/tools/list_changed" => upstream.news.list_changed(ListKind::Tools),
            "notifications/prompts/list_changed" => upstream.news.list_changed(ListKind::Prompts),
            "notifications/resources/list_changed" => upstream.news.list_changed(ListKind::Resources),
            "notifications/resources/updated" => upstream.news.resource_updated(match upstream.era() {
                Era::Legacy => frame.clone(),
                Era::Modern => Frame::parse(envelope::unmarked(frame).into_owned().into()).unwrap_or(frame.clone()),
            }),
            // Of a request of its own. The client's answer, if one comes, is dropped upstream; nothing to pass on yet.
            "notifications/cancelled" => {}
            _ => match self.belongs_to(answering, None) {
                Some(caller) => self.relay(&caller, frame.bytes().clone()),
                None => self.stray(),
            },
        }
    }

    fn progress(&self, frame: &Frame) {
        let token = frame.params().and_then(|p| shallow::get(frame.bytes(), p, "progressToken").ok().flatten());
        let Some(place) = token else { return self.stray() };
        let number = std::str::from_utf8(frame.text(place)).ok().and_then(|text| text.parse::<u64>().ok());
        let owner = number.and_then(|id| {
            let table = self.0.table();
            let call = table.pending.get(&id)?;
            Some((call.caller.clone()?, call.progress.clone()?))
        });
        let Some((caller, token)) = owner else { return self.stray() };
        self.relay(&caller, Splice::new().replace(place, token.to_vec()).apply(frame.bytes()).into());
    }

    fn log(&self, frame: &Frame, answering: Option<u64>) {
        let field = |key| frame.params().and_then(|p| shallow::get(frame.bytes(), p, key).ok().flatten());
        let level = field("level").and_then(|place| shallow::string(frame.bytes(), place)).unwrap_or_default();
        match self.belongs_to(answering, None) {
            Some(caller) if caller.client.wants_log(&level) => self.relay(&caller, frame.bytes().clone()),
            Some(_) => {}
            None => self.0.output.stderr(frame.text(frame.params().unwrap_or(wire::Span { start: 0, end: 0 }))),
        }
    }

    fn relay(&self, caller: &Caller, message: Bytes) {
        if !caller.relay.send(message) {
            self.0.telemetry.metrics.dropped_notifications.inc();
        }
    }

    /// The call that a message belongs to: the one whose answer stream it came on; else a call of the only client that
    /// has any in flight here (and has declared `feature`).
    fn belongs_to(&self, answering: Option<u64>, feature: Option<ClientFeature>) -> Option<Caller> {
        let upstream = &self.0;
        let of_a_call = {
            let table = upstream.table();
            match answering.and_then(|id| table.pending.get(&id)) {
                Some(call) => call.caller.clone().filter(|caller| feature.is_none_or(|f| caller.client.has(f))),
                None => only_client(&table, feature),
            }
        };
        match of_a_call {
            Some(caller) if caller.relay.is_open() || !upstream.client_end.is_session() => Some(caller),
            other => upstream.client_end.general(feature).or(other),
        }
    }

    fn request(&self, frame: Frame, answering: Option<u64>) {
        if self.0.era() == Era::Modern {
            let message = "revision 2026-07-28 has no requests from servers to clients; what is needed is asked for in the \
                           answer (resultType input_required)";
            return self.reply(wire::error(frame.id(), code::METHOD_NOT_FOUND, message, None));
        }
        let feature = match frame.method() {
            "ping" => return self.reply(wire::result(frame.id(), b"{}")),
            "sampling/createMessage" => ClientFeature::Sampling,
            "elicitation/create" => ClientFeature::Elicitation,
            "roots/list" => ClientFeature::Roots,
            other => {
                let message = format!("hangar passes no \"{other}\" requests on to clients");
                return self.reply(wire::error(frame.id(), code::METHOD_NOT_FOUND, &message, None));
            }
        };
        let caller = self.belongs_to(answering, Some(feature));
        if caller.is_none() && !self.0.client_end.may_open(feature) {
            return self.refuse(&frame);
        }
        if self.0.asking.fetch_add(1, Ordering::Relaxed) >= MAX_ASKING {
            self.0.asking.fetch_sub(1, Ordering::Relaxed);
            let message = format!("{MAX_ASKING} requests of this server wait for clients already");
            return self.reply(wire::error(frame.id(), code::INVALID_REQUEST, &message, None));
        }
        let upstream = self.0.clone();
        tokio::spawn(async move {
            let ear = Ear(upstream);
            let caller = match caller {
                Some(caller) => Some(caller),
                None => ear.way_that_opens(feature).await,
            };
            let answer = match &caller {
                Some(caller) => ear.0.asked(&frame, caller).await,
                None => None,
            };
            ear.0.asking.fetch_sub(1, Ordering::Relaxed);
            match (answer, caller) {
                (Some(answer), _) => ear.reply(answer.with_id(frame.id())),
                (None, None) => ear.refuse(&frame),
                (None, Some(_)) => {
                    let message = "the client went away without an answer";
                    ear.reply(wire::error(frame.id(), code::INTERNAL_ERROR, message, None));
                }
            }
        });
    }

    fn refuse(&self, request: &Frame) {
        let provider = self.0.provider.as_str();
        let message = self.0.client_end.refusal(provider);
        let data = serde_json::json!({"error": "not_routed", "provider": provider});
        self.reply(wire::error(request.id(), code::INVALID_REQUEST, &message, Some(&data)));
    }

    /// The client of this instance is there, but nothing leads to it at this moment.
    async fn way_that_opens(&self, feature: ClientFeature) -> Option<Caller> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < OPENING && self.0.client_end.may_open(feature) {
            tokio::time::sleep(LOOK).await;
            if let Some(caller) = self.belongs_to(None, Some(feature)) {
                return Some(caller);
            }
        }
        None
    }

    fn reply(&self, message: Bytes) {
        if let Some(link) = self.0.link.get() {
            // The upstream that asked is gone when this fails.
            let _ = link.send(wire::one_line(message), None);
        }
    }

    fn stray(&self) {
        self.0.telemetry.metrics.stray_messages.inc();
    }
}

impl Upstream {
    /// The client's answer. `None`: there will be none.
    async fn asked(&self, request: &Frame, caller: &Caller) -> Option<Frame> {
        let answer = caller.client.ask(request, &caller.relay);
        if self.client_end.is_session() {
            // It is there when the call, or the stream that the question went through, has ended.
            let home = caller.client.home();
            return tokio::select! {
                answer = answer => answer.ok(),
                () = home.over.cancelled() => None,
                () = self.ended() => None,
                () = tokio::time::sleep(WAIT) => None,
            };
        }
        // Ends with the client's answer, with the stream it would come through, or when that client has no call here any
        // more: on stdio the stream is the client's for good.
        tokio::select! {
            answer = answer => answer.ok(),
            () = caller.relay.closed() => None,
            () = self.without_calls_of(caller.client.id()) => None,
        }
    }
}

fn only_client(table: &Table, feature: Option<ClientFeature>) -> Option<Caller> {
    let fits = |caller: &&Caller| feature.is_none_or(|f| caller.client.has(f));
    let mut callers = table.pending.iter().filter_map(|(id, call)| call.caller.as_ref().map(|c| (id, c)));
    let (mut last, mut found) = callers.find(|(_, c)| fits(c))?;
    for (id, caller) in callers.filter(|(_, c)| fits(c)) {
        if caller.client.id() != found.client.id() {
            return None;
        }
        if id > last {
            (last, found) = (id, caller);
        }
    }
    Some(found.clone())
}
