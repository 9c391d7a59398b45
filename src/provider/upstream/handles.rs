//! Handles that an upstream gives out while it works on: tasks, and elicitations that end elsewhere. Whose each is, so that
//! what is told of it later reaches that client; and what a task is called by clients ([`crate::provider::TaskIds`]), in every message that
//! names it.
//!
//! Only of an upstream that declares tasks are ids looked for.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Pending, Upstream};
use crate::{
    provider::{Caller, Client, ClientId, Relay},
    wire::{Frame, Span, Splice, modern::key, shallow},
};

/// Handles of one upstream that are remembered; later ones are not, and what is told of them is nobody's.
const MOST: usize = 10_000;
/// Ends of tasks that nobody has yet; an answer that is still on its way is not far behind.
const EARLY: usize = 64;
/// For a task that says nothing of its time, and for elicitations.
const USUAL: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// An error with this code names elicitations that the user ends elsewhere.
const URL_ELICITATION: &[u8] = b"-32042";

#[derive(Default)]
pub(in crate::provider) struct Handles(Mutex<Known>);

#[derive(Default)]
struct Known {
    held: HashMap<Handle, Held>,
    /// Of calls that were answered by a task: by our number, which is the token upstream.
    progress: HashMap<u64, Told>,
    /// Tasks whose end was told before the answer that gives them out: the latest ones.
    early: VecDeque<Handle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Handle {
    Task(Box<str>),
    Elicitation(Box<str>),
}

struct Held {
    client: Weak<dyn Client>,
    id: ClientId,
    until: Instant,
    /// A task that has not come to its end.
    running: bool,
}

/// Whose progress it is.
struct Told {
    client: Weak<dyn Client>,
    /// The client's own, raw JSON.
    token: Bytes,
    task: Handle,
}

impl Upstream {
    /// The answer to a call as its client knows things; what it gives out is remembered.
    pub(super) fn handed_out(&self, answer: Frame, number: u64, call: &Pending) -> Frame {
        let Some(caller) = &call.caller else { return answer };
        if let Some(error) = answer.error() {
            self.note_elicitations(&answer, error, caller);
            return answer;
        }
        let Some(result) = answer.result().filter(|_| self.has_tasks()) else { return answer };
        let text = answer.bytes();
        let place = |path: &[&str]| shallow::path(text, result, path).ok().flatten();
        let is_task =
            || place(&["resultType"]).and_then(|kind| shallow::string(text, kind)).is_some_and(|k| k == "task");
        let made = place(&["task"]).filter(|_| !call.of_task);
        let whole = (call.of_task || is_task()).then_some(result);
        if let Some(task) = made.or(whole) {
            let began = (!call.of_task).then_some(()).and(call.progress.clone()).map(|token| (number, token));
            self.note_task(&answer, task, caller, began);
        }
        let own =
            [made, whole].into_iter().flatten().filter_map(|task| shallow::get(text, task, "taskId").ok().flatten());
        self.renamed(&answer, own.chain(related(&answer)).collect(), caller)
    }

    /// A message of the upstream's own accord as the client knows things.
    pub(super) fn shown(&self, frame: &Frame, client: &dyn Client) -> Bytes {
        if !self.has_tasks() {
            return frame.bytes().clone();
        }
        let named = named(frame).into_iter().chain(related(frame));
        self.rename(frame, named.collect(), client.tag()).unwrap_or_else(|| frame.bytes().clone())
    }

    /// What a client says of a task, as the upstream knows it: the edit, where there is something to change.
    pub(super) fn read_back(&self, frame: &Frame, client: &dyn Client) -> Option<(Span, Vec<u8>)> {
        let place = self.has_tasks().then(|| related(frame))??;
        let shown = shallow::string(frame.bytes(), place)?;
        let (provider, own) = self.task_ids.read(&shown, client.tag())?;
        (provider == self.provider.as_str()).then(|| (place, shallow::quote(own)))
    }

    fn renamed(&self, frame: &Frame, places: Vec<Span>, caller: &Caller) -> Frame {
        let renamed = self.rename(frame, places, caller.client.tag());
        renamed.and_then(|bytes| Frame::parse(bytes).ok()).unwrap_or_else(|| frame.clone())
    }

    fn rename(&self, frame: &Frame, places: Vec<Span>, tag: u64) -> Option<Bytes> {
        let mut edits = Splice::new();
        let mut any = false;
        for place in places {
            let Some(own) = shallow::string(frame.bytes(), place) else { continue };
            edits.replace(place, shallow::quote(&self.task_ids.show(self.provider.as_str(), &own, tag)));
            any = true;
        }
        any.then(|| edits.apply(frame.bytes()).into())
    }

    /// Whose a message is that is about a handle, and the stream to tell it on: of a call that waits, or the general one.
    pub(super) fn holder(&self, frame: &Frame) -> Option<Caller> {
        let handle = self.subject(frame)?;
        let client = self.handles.known().held.get(&handle)?.client.upgrade()?;
        let id = client.id();
        let waiting = {
            let table = self.table();
            let calls =
                table.pending.iter().filter_map(|(number, call)| Some((call.of_task, number, call.caller.as_ref()?)));
            let of_client = calls.filter(|(_, _, caller)| caller.client.id() == id);
            of_client.max_by_key(|(of_task, number, _)| (*of_task, **number)).map(|(_, _, caller)| caller.relay.clone())
        };
        let relay = waiting.or_else(|| client.general())?;
        Some(Caller { client, relay })
    }

    fn subject(&self, frame: &Frame) -> Option<Handle> {
        if frame.method() == "notifications/elicitation/complete" {
            let id = shallow::get(frame.bytes(), frame.params()?, "elicitationId").ok().flatten()?;
            return Some(Handle::Elicitation(shallow::string(frame.bytes(), id)?.into()));
        }
        if !self.has_tasks() {
            return None;
        }
        let id = named(frame).or_else(|| related(frame))?;
        Some(Handle::Task(shallow::string(frame.bytes(), id)?.into()))
    }

    /// A status that the upstream tells of its own accord.
    pub(super) fn note_status(&self, frame: &Frame) {
        let (Some(params), Some(handle)) = (frame.params(), self.subject(frame)) else { return };
        let state = state(frame, params);
        let mut known = self.handles.known();
        match known.held.get_mut(&handle) {
            // What has come to its end does not go on, whatever an older message says that came later.
            Some(held) => (held.running, held.until) = (held.running && state.0, state.1),
            None if !state.0 => {
                known.early.truncate(EARLY - 1);
                known.early.push_front(handle.clone());
            }
            None => {}
        }
        known.ended(&handle, state.0);
    }

    /// Whose progress it is that is told under our number `number`, of a call that was answered by a task.
    pub(super) fn progress_of_task(&self, number: u64) -> Option<(Arc<dyn Client>, Relay, Bytes)> {
        let (client, token) = {
            let known = self.handles.known();
            let told = known.progress.get(&number)?;
            (told.client.upgrade()?, told.token.clone())
        };
        let relay = client.general()?;
        Some((client, relay, token))
    }

    fn note_task(&self, answer: &Frame, task: Span, caller: &Caller, began: Option<(u64, Bytes)>) {
        let id = shallow::get(answer.bytes(), task, "taskId").ok().flatten();
        let Some(id) = id.and_then(|place| shallow::string(answer.bytes(), place)) else { return };
        let handle = Handle::Task(id.into());
        let (mut running, until) = state(answer, task);
        let mut known = self.handles.known();
        running &= !known.early.contains(&handle) && known.held.get(&handle).is_none_or(|held| held.running);
        if !known.hold(handle.clone(), Held::new(caller, until, running)) {
            return;
        }
        if let Some((number, token)) = began {
            let client = Arc::downgrade(&caller.client);
            known.progress.insert(number, Told { client, token, task: handle.clone() });
        }
        known.ended(&handle, running);
    }

    fn note_elicitations(&self, answer: &Frame, error: Span, caller: &Caller) {
        let text = answer.bytes();
        let code = shallow::get(text, error, "code").ok().flatten();
        if code.is_none_or(|code| answer.text(code) != URL_ELICITATION) {
            return;
        }
        let list = shallow::path(text, error, &["data", "elicitations"]).ok().flatten();
        for one in list.and_then(|list| shallow::elements(text, list)).unwrap_or_default() {
            let id = shallow::get(text, one, "elicitationId").ok().flatten();
            self.note_elicitation(id.and_then(|id| shallow::string(text, id)), caller);
        }
    }

    /// Of a request that names one, or an error.
    pub(super) fn note_elicitation(&self, id: Option<Cow<'_, str>>, caller: &Caller) {
        if let Some(id) = id {
            let held = Held::new(caller, Instant::now() + USUAL, false);
            self.handles.known().hold(Handle::Elicitation(id.into()), held);
        }
    }

    /// Its own ids of the tasks that it has made for `client`.
    pub fn tasks_of(&self, client: ClientId) -> HashSet<Box<str>> {
        let known = self.handles.known();
        let of_client = known.held.iter().filter(|(_, held)| held.id == client);
        of_client
            .filter_map(|(handle, _)| if let Handle::Task(id) = handle { Some(id.clone()) } else { None })
            .collect()
    }

    /// Whether it works on something that no call waits for.
    pub(in crate::provider) fn works_on(&self) -> bool {
        let now = Instant::now();
        self.has_tasks() && self.handles.known().held.values().any(|held| held.running && held.until > now)
    }
}

impl Handles {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// `false`: there are too many.
    fn hold(&mut self, handle: Handle, held: Held) -> bool {
        if self.held.len() >= MOST && !self.held.contains_key(&handle) {
            let now = Instant::now();
            self.held.retain(|_, held| held.until > now);
            let held = &self.held;
            self.progress.retain(|_, told| held.contains_key(&told.task));
            if self.held.len() >= MOST {
                return false;
            }
        }
        self.held.insert(handle, held);
        true
    }

    /// There is no progress after the end.
    fn ended(&mut self, handle: &Handle, running: bool) {
        if !running {
            self.progress.retain(|_, told| told.task != *handle);
        }
    }
}

impl Held {
    fn new(caller: &Caller, until: Instant, running: bool) -> Self {
        Self { client: Arc::downgrade(&caller.client), id: caller.client.id(), until, running }
    }
}

/// Whether the task goes on, and how long it is of interest.
fn state(frame: &Frame, task: Span) -> (bool, Instant) {
    let field = |key: &str| shallow::get(frame.bytes(), task, key).ok().flatten();
    let status = field("status").and_then(|place| shallow::string(frame.bytes(), place));
    let running = !matches!(status.as_deref(), Some("completed" | "failed" | "cancelled"));
    let ttl = field("ttl").or_else(|| field("ttlMs")).and_then(|place| {
        let number = std::str::from_utf8(frame.text(place)).ok()?.parse::<f64>().ok()?;
        Duration::try_from_secs_f64(number / 1000.0).ok()
    });
    (running, Instant::now() + ttl.unwrap_or(USUAL).min(LONGEST))
}

/// The task that a notification is about.
fn named(frame: &Frame) -> Option<Span> {
    let names = matches!(frame.method(), "notifications/tasks/status" | "notifications/tasks");
    shallow::get(frame.bytes(), frame.params().filter(|_| names)?, "taskId").ok().flatten()
}

/// The task that `_meta` says a message belongs to.
fn related(frame: &Frame) -> Option<Span> {
    let body = frame.params().or(frame.result())?;
    // The long way only for what may have one.
    memchr::memmem::find(frame.text(body), b"related-task")?;
    shallow::path(frame.bytes(), body, &["_meta", key::RELATED_TASK, "taskId"]).ok().flatten()
}
