//! The JSON-RPC conversation with one upstream connection: ids, what is in flight, and whose each message is.
//!
//! Ids upstream are our own numbers, and so are progress tokens (the number of the call). What a message does not have to
//! change for that, it keeps byte for byte.

use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{CallError, Caller, ClientId, Era, Hello, Mark, TaskIds, UpstreamNews, error::TAIL};
use crate::{
    config::ProviderName,
    telemetry::Telemetry,
    transport::{Close, Head, Link, OutputRing, TransportError},
    wire::{self, Frame, Splice, shallow},
};

mod client_end;
mod envelope;
mod handles;
mod in_flight;
mod inbound;
mod late;
mod listening;
mod questions;
mod subscribed;

pub(super) use client_end::ClientEnd;
use in_flight::Reached;
pub use in_flight::{InFlight, Patience};
pub(super) use inbound::Ear;
pub use listening::Topic;
pub(super) use listening::{Heard, Listening, RESOURCES, TASKS};

#[cfg(feature = "fuzzing")]
pub use envelope::head;

/// One connection's conversation.
pub struct Upstream {
    provider: ProviderName,
    link: OnceLock<Arc<dyn Link>>,
    era: OnceLock<Era>,
    /// It has declared tasks, in the way of its era.
    tasks: AtomicBool,
    handles: handles::Handles,
    subscribed: Mutex<BTreeSet<String>>,
    task_ids: Arc<TaskIds>,
    /// In the modern era: what is listened to.
    pub(super) listening: Listening,
    ids: AtomicU64,
    table: Mutex<Table>,
    /// Who may be at the other end.
    pub(super) client_end: ClientEnd,
    output: Arc<OutputRing>,
    telemetry: Arc<Telemetry>,
    pub news: Arc<UpstreamNews>,
    /// Requests of the upstream that a client is answering now.
    questions: questions::Questions,
    /// A call has left the table.
    settled: Notify,
}

#[derive(Default)]
struct Table {
    pending: HashMap<u64, Pending>,
    recent: late::Recent,
    /// Set once, when the connection is over: what every call gets from then on.
    ended: Option<CallError>,
}

struct Pending {
    reply: oneshot::Sender<Result<Frame, CallError>>,
    /// `None` for the gateway's own requests.
    caller: Option<Caller>,
    /// The client's own token, raw JSON.
    progress: Option<Bytes>,
    /// About a task (`tasks/...`).
    of_task: bool,
    /// When it last told of its progress.
    heard: Option<Instant>,
    /// And how far it was then.
    reached: Reached,
}

/// A client's request on its way.
pub struct Outgoing<'a> {
    pub frame: &'a Frame,
    /// Changes of `frame` beside the id, the progress token and what it says about its client.
    pub edits: Splice<'a>,
    pub caller: Caller,
    /// What it names, as the upstream calls it.
    pub name: &'a str,
    /// Arguments that headers repeat.
    pub marks: &'a [Mark],
}

impl Upstream {
    pub(super) fn new(
        provider: ProviderName,
        client_end: ClientEnd,
        output: Arc<OutputRing>,
        telemetry: Arc<Telemetry>,
        news: Arc<UpstreamNews>,
        task_ids: Arc<TaskIds>,
    ) -> Arc<Self> {
        Arc::new(Self {
            provider,
            link: OnceLock::new(),
            era: OnceLock::new(),
            tasks: AtomicBool::new(false),
            handles: handles::Handles::default(),
            subscribed: Mutex::default(),
            task_ids,
            listening: Listening::default(),
            ids: AtomicU64::new(1),
            table: Mutex::default(),
            client_end,
            output,
            telemetry,
            news,
            questions: questions::Questions::default(),
            settled: Notify::new(),
        })
    }

    /// The last rungs of the ladder, at once.
    pub(super) fn hurry(&self) {
        if let Some(link) = self.link.get() {
            link.close(Close::Now);
        }
    }

    /// The connection that this conversation runs on; once.
    pub(super) fn connect(&self, link: Arc<dyn Link>) {
        // A second link would be a bug of the one caller; the first stays.
        let _ = self.link.set(link);
    }

    pub(super) fn provider(&self) -> &ProviderName {
        &self.provider
    }

    pub fn pid(&self) -> Option<u32> {
        self.link.get().and_then(|link| link.pid())
    }

    /// What the handshake settled on; legacy until then.
    pub fn era(&self) -> Era {
        self.era.get().copied().unwrap_or_default()
    }

    pub(super) fn settle(&self, hello: &Hello) {
        self.tasks.store(hello.has_tasks(), Ordering::Relaxed);
        // One handshake, one era.
        let _ = self.era.set(hello.era());
    }

    fn has_tasks(&self) -> bool {
        self.tasks.load(Ordering::Relaxed)
    }

    /// Whether the headers of a call repeat its arguments.
    pub fn wants_marks(&self) -> bool {
        self.era() == Era::Modern && self.link.get().is_some_and(|link| link.wants_heads())
    }

    /// Whether it may say something of a call beside the call's own stream, and so after its answer.
    fn speaks_beside(&self) -> bool {
        self.era() == Era::Legacy && self.link.get().is_some_and(|link| link.wants_heads())
    }

    /// Passes a client's request on.
    pub fn forward(self: &Arc<Self>, outgoing: Outgoing<'_>) -> Result<InFlight, CallError> {
        let Outgoing { frame, mut edits, caller, name, marks } = outgoing;
        let head = match self.era() {
            Era::Legacy => {
                for place in envelope::surplus(frame) {
                    edits.replace(place, &b""[..]);
                }
                None
            }
            Era::Modern => {
                if Era::of(frame) == Era::Legacy {
                    envelope::introduce(frame, &caller, &mut edits);
                }
                Some(envelope::head(frame, name, marks))
            }
        };
        let token = frame.params().and_then(|params| {
            // A params object that names its token twice was refused by the front.
            shallow::path(frame.bytes(), params, &["_meta", "progressToken"]).ok().flatten()
        });
        let progress = token.map(|place| frame.bytes().slice(place.range()));
        if let Some((place, own)) = self.read_back(frame, &*caller.client) {
            edits.replace(place, own);
        }
        let of_task = frame.method().starts_with("tasks/");
        self.submit(Some(caller), progress, of_task, head, |id| {
            let number = id.to_string().into_bytes();
            if let Some(place) = token {
                edits.replace(place, number.clone());
            }
            if let Some(place) = frame.id_span() {
                edits.replace(place, number);
            }
            edits.apply(frame.bytes()).into()
        })
    }

    /// A request of the gateway's own. `params` raw JSON, empty: none.
    pub fn request(self: &Arc<Self>, method: &str, params: &[u8]) -> Result<InFlight, CallError> {
        self.request_in(self.era(), method, params)
    }

    /// [`Upstream::request`] while the era is still being found out.
    pub(super) fn request_in(self: &Arc<Self>, era: Era, method: &str, params: &[u8]) -> Result<InFlight, CallError> {
        match era {
            Era::Legacy => {
                self.submit(None, None, false, None, |id| wire::request(id.to_string().as_bytes(), method, params))
            }
            Era::Modern => self.submit(None, None, false, Some(envelope::bare_head(method)), |id| {
                wire::request(id.to_string().as_bytes(), method, &envelope::own_params(params))
            }),
        }
    }

    /// Not answered. Lost when the connection is over.
    pub fn notify(&self, method: &str, params: &[u8]) {
        if let Some(link) = self.link.get() {
            // Nobody waits for a notification; a connection that is over says so to every call.
            let _ = link.send(wire::notification(method, params), None);
        }
    }

    /// A client's notification, as it is but for what a legacy upstream knows already. A modern one over HTTP hears none.
    pub fn pass_on(&self, notification: &Frame) {
        if self.era() == Era::Modern && self.link.get().is_some_and(|link| link.wants_heads()) {
            return;
        }
        let mut edits = Splice::new();
        if self.era() == Era::Legacy {
            for place in envelope::surplus(notification) {
                edits.replace(place, &b""[..]);
            }
        }
        self.send_on(edits.apply(notification.bytes()).into());
    }

    /// A complete message that gets no answer.
    fn send_on(&self, message: Bytes) {
        if let Some(link) = self.link.get() {
            // As with `notify`.
            let _ = link.send(message, None);
        }
    }

    fn submit(
        self: &Arc<Self>,
        caller: Option<Caller>,
        progress: Option<Bytes>,
        of_task: bool,
        head: Option<Head>,
        message: impl FnOnce(u64) -> Bytes,
    ) -> Result<InFlight, CallError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (headed, tells_progress) = (head.is_some(), progress.is_some());
        let (sender, reply) = oneshot::channel();
        {
            let mut table = self.table();
            if let Some(ended) = &table.ended {
                return Err(ended.clone());
            }
            table.pending.insert(
                id,
                Pending { reply: sender, caller, progress, of_task, heard: None, reached: Reached::default() },
            );
        }
        let sent = match self.link.get() {
            Some(link) => {
                let message = message(id);
                match head {
                    Some(head) => link.send_headed(message, Some(id), head),
                    None => link.send(message, Some(id)),
                }
            }
            None => Err(TransportError::Closed),
        };
        if let Err(error) = sent {
            drop(self.take_pending(id));
            return Err(self.table().ended.clone().unwrap_or_else(|| self.transport_error(error)));
        }
        Ok(InFlight { id, upstream: self.clone(), reply, done: false, quiet: false, headed, tells_progress })
    }

    /// The connection is over, or is being closed: every call in flight, and every later one, gets `error`.
    pub(super) fn end(&self, error: CallError) {
        self.table().ended.get_or_insert_with(|| error.clone());
        for call in self.take_all_pending() {
            let _ = call.reply.send(Err(error.clone()));
        }
    }

    /// The link alone, to close it.
    pub(super) fn link(&self) -> Option<&Arc<dyn Link>> {
        self.link.get()
    }

    pub(super) fn output_tail(&self) -> Vec<String> {
        self.output.tail(TAIL)
    }

    fn transport_error(&self, error: TransportError) -> CallError {
        CallError::Transport { provider: self.provider.clone(), error }
    }

    /// The call that waits for the answer to `id`; it waits no longer.
    fn take_pending(&self, id: u64) -> Option<Pending> {
        let call = {
            let mut table = self.table();
            let call = table.pending.remove(&id);
            if let Some(caller) = call.as_ref().and_then(|call| call.caller.as_ref())
                && self.speaks_beside()
            {
                table.recent.ended(&caller.client);
            }
            call
        };
        self.settled.notify_waiters();
        call
    }

    fn take_all_pending(&self) -> Vec<Pending> {
        let calls = self.table().pending.drain().map(|(_, call)| call).collect();
        self.settled.notify_waiters();
        calls
    }

    /// Whether a client has a question of it to answer.
    pub(super) fn is_asking(&self) -> bool {
        self.questions.any()
    }

    /// Resolves when the connection is over.
    async fn ended(&self) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.table().ended.is_some() {
                return;
            }
            settled.await;
        }
    }

    /// Resolves when no call of `client` is in flight here.
    async fn without_calls_of(&self, client: ClientId) {
        loop {
            let mut settled = pin!(self.settled.notified());
            // Before the look, or a call that ends in between is missed.
            settled.as_mut().enable();
            let of_client = |call: &Pending| call.caller.as_ref().is_some_and(|caller| caller.client.id() == client);
            if !self.table().pending.values().any(of_client) {
                return;
            }
            settled.await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that holds the lock can leave the table half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
