//! What an upstream says, and to whom it goes: to the one call or client it belongs to, or to nobody.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Pending, Reached, Table, Upstream, envelope, listening};
use crate::{
    provider::{Caller, ClientFeature, Era, news::ListKind},
    transport::{Inbound, TransportError},
    wire::{self, Frame, FrameKind, Splice, shallow},
};

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

    fn renewed(&self) {
        self.0.news.renewed();
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
        let call = frame.id_u64().and_then(|id| Some((id, self.0.take_pending(id)?)));
        match call {
            Some((id, call)) => {
                let frame = self.0.handed_out(frame, id, &call);
                // Who waited may have gone.
                let _ = call.reply.send(Ok(frame));
            }
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
            "notifications/cancelled" => upstream.taken_back(frame),
            "notifications/tasks" if upstream.era() == Era::Modern => {
                upstream.note_status(frame);
                // As a resource: told to whoever listens for it.
                let bare = Frame::parse(envelope::unmarked(frame).into_owned().into());
                upstream.news.resource_updated(bare.unwrap_or(frame.clone()));
            }
            _ => {
                // Also when there is nobody to tell: it decides whether the provider is idle.
                upstream.note_status(frame);
                match upstream.holder(frame).or_else(|| self.belongs_to(answering, None)) {
                    Some(caller) => self.relay(&caller, upstream.shown(frame, &*caller.client)),
                    None => self.stray(),
                }
            }
        }
    }

    fn progress(&self, frame: &Frame) {
        let token = frame.params().and_then(|p| shallow::get(frame.bytes(), p, "progressToken").ok().flatten());
        let Some(place) = token else { return self.stray() };
        let number = std::str::from_utf8(frame.text(place)).ok().and_then(|text| text.parse::<u64>().ok());
        let owner = number.and_then(|id| {
            let mut table = self.0.table();
            let call = table.pending.get_mut(&id)?;
            // Who does not read it does not wait for it.
            if call.caller.as_ref().is_some_and(|caller| caller.relay.has_room()) {
                call.heard = Some(Instant::now());
                call.reached = frame.params().map(|params| Reached::read(frame, params)).unwrap_or_default();
            }
            Some((call.caller.clone()?, call.progress.clone()?))
        });
        // A task is told of under the token of the call that made it.
        let of_task = || {
            let (client, relay, token) = self.0.progress_of_task(number?)?;
            Some((Caller { client, relay }, token))
        };
        let Some((caller, token)) = owner.or_else(of_task) else { return self.stray() };
        let told: Bytes = Splice::new().replace(place, token.to_vec()).apply(frame.bytes()).into();
        let told = match Frame::parse(told.clone()) {
            Ok(frame) if self.0.has_tasks() => self.0.shown(&frame, &*caller.client),
            _ => told,
        };
        self.relay(&caller, told);
    }

    fn log(&self, frame: &Frame, answering: Option<u64>) {
        let field = |key| frame.params().and_then(|p| shallow::get(frame.bytes(), p, key).ok().flatten());
        let level = field("level").and_then(|place| shallow::string(frame.bytes(), place)).unwrap_or_default();
        match self.belongs_to(answering, None) {
            Some(caller) if caller.client.wants_log(&level) => self.relay(&caller, frame.bytes().clone()),
            Some(_) => {}
            None => match self.late(answering) {
                Some(client) if client.wants_log(&level) => drop(client.tell(frame.bytes().clone())),
                Some(_) => {}
                None => self.0.output.stderr(frame.text(frame.params().unwrap_or(wire::Span { start: 0, end: 0 }))),
            },
        }
    }

    fn relay(&self, caller: &Caller, message: Bytes) {
        if !caller.relay.send(message) {
            self.0.telemetry.metrics.dropped_notifications.inc();
        }
    }

    /// The call that a message belongs to: the one whose answer stream it came on; else a call of the only client that
    /// has any in flight here (and has declared `feature`).
    pub(super) fn belongs_to(&self, answering: Option<u64>, feature: Option<ClientFeature>) -> Option<Caller> {
        let upstream = &self.0;
        let of_a_call = {
            let table = upstream.table();
            match answering {
                // What comes on the stream of a call that is over belongs to nobody, and to no other call.
                Some(id) => {
                    let caller = table.pending.get(&id).and_then(|call| call.caller.clone());
                    caller.filter(|caller| feature.is_none_or(|f| caller.client.has(f)))
                }
                None => only_client(&table, feature),
            }
        };
        match of_a_call {
            Some(caller) if caller.relay.is_open() || !upstream.client_end.is_session() => Some(caller),
            other => upstream.client_end.general(feature).or(other),
        }
    }

    pub(super) fn reply(&self, message: Bytes) {
        if let Some(link) = self.0.link.get() {
            // The upstream that asked is gone when this fails.
            let _ = link.send(message, None);
        }
    }

    fn stray(&self) {
        self.0.telemetry.metrics.stray_messages.inc();
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

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::{
        config::ProviderName,
        provider::{Audience, CatalogueNews, Relay, TaskIds, UpstreamNews, upstream::ClientEnd},
        server::Session,
        telemetry::Telemetry,
        transport::OutputRing,
    };

    #[test]
    fn what_comes_on_the_stream_of_a_call_that_is_over_is_not_for_the_only_other_client() {
        let name = ProviderName::new("p").unwrap();
        let news = Arc::new(UpstreamNews::new(name.clone(), Audience::Everybody, mpsc::channel(1).0));
        let (output, ids) = (Arc::new(OutputRing::default()), Arc::new(TaskIds::kept_in(None)));
        let upstream = Upstream::new(name, ClientEnd::Shared, output, Telemetry::new(), news, ids);
        let (relay, mut messages) = Relay::new();
        let caller = Some(Caller { client: Session::new(CatalogueNews::default()), relay });
        upstream.table().pending.insert(
            2,
            Pending {
                reply: oneshot::channel().0,
                caller,
                progress: None,
                of_task: false,
                heard: None,
                reached: Reached::default(),
            },
        );
        let ear = Ear(upstream);
        let log = |answering| {
            let text = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#;
            ear.message(Bytes::from_static(text), answering);
        };
        log(Some(1));
        assert!(messages.try_recv().is_err());
        log(Some(2));
        assert!(messages.try_recv().is_ok());
    }
}
