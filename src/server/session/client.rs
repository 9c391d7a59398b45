//! The session as upstreams know their client.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{ASKS, LEVELS, Question, Session};
use crate::{
    provider::{Asked, Client, ClientFeature, ClientId, Era, Home, HomeKind, ListKind, ListKinds, Relay},
    wire::{self, Frame, Splice, shallow},
};

impl Client for Session {
    fn id(&self) -> ClientId {
        self.id
    }

    fn name(&self) -> &str {
        self.greeting.get().map(|greeting| &*greeting.client_name).unwrap_or_default()
    }

    fn era(&self) -> Era {
        self.greeting.get().map(|greeting| greeting.era).unwrap_or_default()
    }

    fn tag(&self) -> u64 {
        match self.era() {
            Era::Legacy => self.tag,
            Era::Modern => 0,
        }
    }

    fn home(&self) -> Home {
        let kind = match self.greeting.get().map(|greeting| greeting.era) {
            Some(Era::Modern) => HomeKind::Call,
            _ => HomeKind::Session,
        };
        self.home.get().cloned().unwrap_or_else(|| Home { id: self.id, kind, over: self.over().clone() })
    }

    fn general(&self) -> Option<Relay> {
        let stream = self.inner().stream.clone().filter(|stream| !stream.is_closed());
        stream.map(Relay::into_stream)
    }

    fn lists_changed(&self, kinds: ListKinds) {
        if self.greeting.get().is_none() {
            return;
        }
        for kind in ListKind::ALL.into_iter().filter(|kind| kinds.has(*kind)) {
            self.own_lists.fetch_or(kind as u8, Ordering::Relaxed);
        }
        self.tell_own_lists();
    }

    fn has(&self, feature: ClientFeature) -> bool {
        self.greeting.get().is_some_and(|greeting| greeting.features & (1 << feature as u8) != 0)
    }

    fn capabilities(&self) -> Bytes {
        match self.greeting.get().map(|greeting| &*greeting.declared) {
            None | Some([]) => Bytes::from_static(b"{}"),
            Some(declared) => Bytes::copy_from_slice(declared),
        }
    }

    fn log_level(&self) -> Option<&'static str> {
        LEVELS.get(usize::from(Session::log_level(self)?)).copied()
    }

    fn wants_log(&self, level: &str) -> bool {
        let index = LEVELS.iter().position(|known| *known == level).unwrap_or(LEVELS.len());
        match self.log_level() {
            Some(least) => index >= usize::from(least),
            // A legacy client gets what the server likes to send, a modern one nothing that it did not ask for.
            None => self.greeting.get().is_none_or(|greeting| greeting.era == Era::Legacy),
        }
    }

    fn tell(&self, message: Bytes) -> bool {
        self.push(message)
    }

    fn ask(&self, request: &Frame, via: &Relay) -> Asked {
        let id = ASKS.fetch_add(1, Ordering::Relaxed);
        let (asked, from) = Asked::new(id);
        let number = id.to_string().into_bytes();
        let token = request
            .params()
            .and_then(|params| shallow::path(request.bytes(), params, &["_meta", "progressToken"]).ok().flatten());
        let mut edits = Splice::new();
        for place in [request.id_span(), token].into_iter().flatten() {
            edits.replace(place, number.clone());
        }
        {
            let mut inner = self.inner();
            // Of calls that ended without the client's answer.
            inner.asks.retain(|_, waiting| !waiting.from.answer.is_closed());
            let token = token.map(|place| request.bytes().slice(place.range()));
            inner.asks.insert(id, Question { from, token });
        }
        if !via.send(edits.apply(request.bytes()).into()) {
            self.inner().asks.remove(&id);
        }
        asked
    }

    fn take_back(&self, id: u64, via: &Relay) {
        self.inner().asks.remove(&id);
        let params = format!(r#"{{"requestId":{id},"reason":"the server does not wait for the answer any more"}}"#);
        // It does not read, or is gone: so is its answer.
        let _ = via.send(wire::notification("notifications/cancelled", params.as_bytes()));
    }
}
