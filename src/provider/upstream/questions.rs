//! What an upstream asks of clients, each of the one that it can only mean, until that has answered, is gone, or the upstream
//! takes it back. What a client tells of its progress goes back to the upstream that asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Ear, Upstream, client_end::OPENING};
use crate::{
    provider::{Asked, CallError, Caller, ClientFeature, Era},
    wire::{self, Frame, Splice, code, shallow},
};

/// Requests of one upstream that may wait for clients at one time.
const MOST: usize = 64;
/// Between two looks for a way to a client.
const LOOK: Duration = Duration::from_millis(20);
/// How long a client may take to answer what belongs to none of its calls.
const WAIT: Duration = Duration::from_secs(600);
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Questions that a server asks together come within this time of each other.
const TOGETHER: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Questions {
    /// By raw id; fires when the upstream takes it back.
    open: Mutex<HashMap<Bytes, CancellationToken>>,
    /// Ever, for whoever looks twice whether there was one in between.
    opened: AtomicU64,
    /// Those that their client cannot be asked, and that wait for others beside them.
    lacking: AtomicUsize,
}

/// One of them; dropped, it is over.
struct Open {
    upstream: Arc<Upstream>,
    id: Bytes,
    taken_back: CancellationToken,
}

/// How one ended.
enum Outcome {
    Answered(Frame),
    /// There will be no answer.
    Unanswered,
    TakenBack,
}

/// What a client must have declared to be asked for `method`; `None`: no method that we know.
fn feature(method: &str) -> Option<ClientFeature> {
    match method {
        "sampling/createMessage" => Some(ClientFeature::Sampling),
        "elicitation/create" => Some(ClientFeature::Elicitation),
        "roots/list" => Some(ClientFeature::Roots),
        _ => None,
    }
}

impl Ear {
    pub(super) fn request(&self, frame: Frame, answering: Option<u64>) {
        if self.0.era() == Era::Modern {
            let message = "revision 2026-07-28 has no requests from servers to clients; what is needed is asked for in the \
                           answer (resultType input_required)";
            return self.reply(wire::error(frame.id(), code::METHOD_NOT_FOUND, message, None));
        }
        if frame.method() == "ping" {
            return self.reply(wire::result(frame.id(), b"{}"));
        }
        let feature = feature(frame.method());
        // A client of the other era is asked for what its revision knows, and for nothing else.
        let fits = |caller: &Caller| feature.is_some() || caller.client.era() == Era::Legacy;
        // What belongs to a task is its client's, whether that has a call here or not.
        let has = |caller: &Caller| feature.is_none_or(|feature| caller.client.has(feature));
        let holder = self.0.holder(&frame).filter(has);
        let of_task = holder.is_some();
        let caller = holder.or_else(|| self.belongs_to(answering, feature)).filter(fits);
        if caller.is_none() && !self.0.client_end.may_open(feature) {
            return self.refuse(&frame, answering, feature);
        }
        let Some(open) = self.0.open_question(&frame) else {
            let message = format!("this id is in use already, or {MOST} requests of this server wait for clients");
            return self.reply(wire::error(frame.id(), code::INVALID_REQUEST, &message, None));
        };
        if let Some(caller) = caller.as_ref().filter(|_| feature == Some(ClientFeature::Elicitation)) {
            let id =
                frame.params().and_then(|params| shallow::get(frame.bytes(), params, "elicitationId").ok().flatten());
            self.0.note_elicitation(id.and_then(|id| shallow::string(frame.bytes(), id)), caller);
        }
        let ear = Self(self.0.clone());
        tokio::spawn(async move {
            let caller = match caller {
                Some(caller) => Some(caller),
                None => ear.way_that_opens(feature).await,
            };
            match caller {
                Some(caller) => open.pass_on(frame, caller, of_task).await,
                None => {
                    drop(open);
                    ear.refuse(&frame, None, feature);
                }
            }
        });
    }

    fn refuse(&self, frame: &Frame, answering: Option<u64>, feature: Option<ClientFeature>) {
        let Some(feature) = feature else {
            let method = frame.method().chars().take(100).collect::<String>();
            let message = format!(
                "\"{method}\" is passed on only when exactly one client, of a revision with requests of servers, has a call in \
                 flight here"
            );
            return self.reply(wire::error(frame.id(), code::METHOD_NOT_FOUND, &message, None));
        };
        if self.0.questions.lacking.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.0.questions.lacking.fetch_sub(1, Ordering::Relaxed);
            return self.not_routed(frame);
        }
        // A server may ask several things at once, of which this client can be asked one: then its call goes on.
        // It may be answered before that time is over.
        let (ear, frame) = (Self(self.0.clone()), frame.clone());
        let (others, opened) = (self.0.questions.any(), self.0.questions.opened.load(Ordering::Relaxed));
        tokio::spawn(async move {
            if !others {
                tokio::time::sleep(TOGETHER).await;
            }
            ear.0.questions.lacking.fetch_sub(1, Ordering::Relaxed);
            let others = others || opened != ear.0.questions.opened.load(Ordering::Relaxed);
            if !others && ear.end_call_that_lacks(answering, feature) {
                let message = "the client of this call has not declared the capability; the call was cancelled";
                return ear.reply(wire::error(frame.id(), code::INVALID_REQUEST, message, None));
            }
            ear.not_routed(&frame);
        });
    }

    fn not_routed(&self, frame: &Frame) {
        let provider = self.0.provider.as_str();
        let message = self.0.client_end.refusal(provider);
        let data = serde_json::json!({"error": "not_routed", "provider": provider});
        self.reply(wire::error(frame.id(), code::INVALID_REQUEST, &message, Some(&data)));
    }

    /// The client of this instance is there, but nothing leads to it at this moment.
    async fn way_that_opens(&self, feature: Option<ClientFeature>) -> Option<Caller> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < OPENING && self.0.client_end.may_open(feature) {
            tokio::time::sleep(LOOK).await;
            if let Some(caller) = self.belongs_to(None, feature) {
                return Some(caller);
            }
        }
        None
    }

    /// A modern client's call that needs what the client has not declared has an error of its own (-32021). `false`: it is
    /// not certain whose call that is, or it is a legacy client's.
    fn end_call_that_lacks(&self, answering: Option<u64>, feature: ClientFeature) -> bool {
        let upstream = &self.0;
        let call = {
            let table = upstream.table();
            let mut calls = table.pending.iter().filter_map(|(id, call)| Some((*id, call.caller.as_ref()?)));
            let certain = match answering {
                Some(answering) => calls.find(|(id, _)| *id == answering),
                None => calls.next().filter(|_| calls.next().is_none()),
            };
            certain.filter(|(_, caller)| caller.client.era() == Era::Modern).map(|(id, _)| id)
        };
        let Some((id, call)) = call.and_then(|id| Some((id, upstream.take_pending(id)?))) else { return false };
        let provider = upstream.provider.clone();
        let _ = call.reply.send(Err(CallError::MissingCapability { provider, feature }));
        if let Some(link) = upstream.link.get() {
            link.abandon(id);
        }
        let params = format!(r#"{{"requestId":{id},"reason":"its client cannot be asked"}}"#);
        upstream.notify("notifications/cancelled", params.as_bytes());
        true
    }
}

impl Upstream {
    /// `None`: there is one with this id, or there are too many.
    fn open_question(self: &Arc<Self>, frame: &Frame) -> Option<Open> {
        let id = frame.id_bytes();
        let taken_back = CancellationToken::new();
        let mut questions = self.questions.all();
        if questions.len() >= MOST || questions.contains_key(&id) {
            return None;
        }
        questions.insert(id.clone(), taken_back.clone());
        self.questions.opened.fetch_add(1, Ordering::Relaxed);
        drop(questions);
        Some(Open { upstream: self.clone(), id, taken_back })
    }

    /// `notifications/cancelled`: it does not wait for the answer to a request of its own any more.
    pub(super) fn taken_back(&self, frame: &Frame) {
        let id = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "requestId").ok().flatten());
        if let Some(id) = id
            && let Some(question) = self.questions.all().get(frame.text(id))
        {
            question.cancel();
        }
    }
}

impl Open {
    /// Ends with the client's answer, with the stream it would come through, or when that client has no call here any more:
    /// on stdio the stream is the client's for good. The one client of an instance is there as long as its session is, when
    /// the call, or the stream that the question went through, has ended.
    async fn pass_on(self, frame: Frame, caller: Caller, of_task: bool) {
        let Caller { client, relay } = caller;
        let frame = Frame::parse(self.upstream.shown(&frame, &*client)).unwrap_or(frame);
        let Asked { id, mut answer, mut progress } = client.ask(&frame, &relay);
        let upstream = self.upstream.clone();
        let (lasts, over) = (upstream.client_end.is_session(), client.home().over);
        let patience = tokio::time::sleep(if lasts { WAIT } else { FOR_EVER });
        tokio::pin!(patience);
        let outcome = loop {
            tokio::select! {
                biased;
                Some(report) = progress.recv() => self.upstream.send_on(report),
                answer = &mut answer => break answer.map_or(Outcome::Unanswered, Outcome::Answered),
                () = self.taken_back.cancelled() => break Outcome::TakenBack,
                () = over.cancelled(), if lasts => break Outcome::Unanswered,
                () = upstream.ended(), if lasts => break Outcome::Unanswered,
                () = &mut patience, if lasts => break Outcome::Unanswered,
                () = relay.closed(), if !lasts => break Outcome::Unanswered,
                () = upstream.without_calls_of(client.id()), if !lasts && !of_task => break Outcome::Unanswered,
            }
        };
        if !matches!(outcome, Outcome::Answered(_)) {
            client.take_back(id, &relay);
        }
        let reply = match outcome {
            Outcome::Answered(answer) => {
                let mut edits = Splice::new();
                if let Some(place) = answer.id_span() {
                    edits.replace(place, &*self.id);
                }
                if let Some((place, own)) = self.upstream.read_back(&answer, &*client) {
                    edits.replace(place, own);
                }
                edits.apply(answer.bytes()).into()
            }
            Outcome::Unanswered => {
                let message = "the client went away without an answer";
                wire::error(&self.id, code::INTERNAL_ERROR, message, None)
            }
            // Whoever takes a request back gets no answer to it.
            Outcome::TakenBack => return,
        };
        let ear = Ear(self.upstream.clone());
        drop(self);
        ear.reply(reply);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.upstream.questions.all().remove(&self.id);
    }
}

impl Questions {
    pub(super) fn any(&self) -> bool {
        !self.all().is_empty()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Bytes, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
