//! `sharing: session`: each client has an instance of its own, with what it has declared, and it ends with the client.
//!
//! A provider in force is then what they have in common: name, spec and catalogue. Each instance is a [`Provider`] below it,
//! with a life, limits and failures of its own. The provider's own instance is for those who are nobody's session: whoever asks
//! for its tools over the admin API, and clients without sessions of an upstream without sessions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    CallError, Catalogue, Client, ClientFeature, ClientId, Era, Failure, HomeKind, InstanceNews, ListKinds, Provider,
    ProviderState, SharedCatalogue, StateEvent, Status, Upstream,
};
use crate::{config::Sharing, telemetry::StopReason, wire::Frame};

/// How often an instance is looked for again that ended in the moment it was found.
const LOOKUPS: usize = 4;
/// Catalogues of other clients that a new one is compared with.
const MOST_COMPARED: usize = 64;
/// How long an instance that has failed, or was refused, is remembered when nobody asks for it: longer than any back-off.
const REMEMBERED: Duration = Duration::from_secs(60);
const FEATURES: [ClientFeature; 3] = [ClientFeature::Elicitation, ClientFeature::Sampling, ClientFeature::Roots];

/// A home, and which of its instances: 0 is its session's; requests that stand for themselves have the others.
pub(super) type Key = (ClientId, u32);

/// Of a provider that each client has an instance of.
pub(super) struct Instances {
    held: Mutex<Held>,
    /// Each waits for the end of one instance.
    attendants: TaskTracker,
    /// Of instances so far, those that are gone included.
    starts: AtomicU64,
}

#[derive(Default)]
struct Held {
    /// No more are made.
    closed: Option<StopReason>,
    all: BTreeMap<Key, Entry>,
}

struct Entry {
    provider: Arc<Provider>,
    /// As its clients have declared them.
    capabilities: Bytes,
    /// Of requests that stand for themselves.
    calls: usize,
    /// Its one call can be asked by the upstream: a second one would make it uncertain which is meant.
    alone: bool,
}

/// Whose instance it is.
pub(super) struct Owner {
    pub home: ClientId,
    /// `None`: there is no client but those of the calls in flight.
    pub client: Option<Arc<dyn Client>>,
    /// What is declared in the handshake.
    pub capabilities: Bytes,
    parent: Weak<Provider>,
    /// The client's roots have changed since the start began.
    roots_changed: AtomicBool,
}

/// The provider, or the instance of it, that serves one call.
pub struct Instance {
    pub provider: Arc<Provider>,
    _turn: Option<Turn>,
}

/// One call's place in an entry.
struct Turn {
    parent: Arc<Provider>,
    key: Key,
    own: Arc<Provider>,
}

impl Instances {
    pub(super) fn of(sharing: Sharing) -> Option<Self> {
        (sharing == Sharing::Session).then(|| Self {
            held: Mutex::default(),
            attendants: TaskTracker::new(),
            starts: AtomicU64::new(0),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Each critical section leaves a consistent map also when it panics.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<(Key, Arc<Provider>)> {
        self.held().all.iter().map(|(key, entry)| (*key, entry.provider.clone())).collect()
    }

    fn forget(&self, key: Key, provider: &Arc<Provider>) {
        let mut held = self.held();
        if held.all.get(&key).is_some_and(|entry| Arc::ptr_eq(&entry.provider, provider)) {
            held.all.remove(&key);
        }
    }
}

impl Instance {
    fn common(provider: &Arc<Provider>) -> Self {
        Self { provider: provider.clone(), _turn: None }
    }
}

impl Provider {
    /// Whether each client has an instance of its own.
    pub fn is_per_client(&self) -> bool {
        self.instances.is_some()
    }

    /// The instance for a call of `client`: its own, where there is such a thing.
    pub fn instance(self: &Arc<Self>, client: &Arc<dyn Client>) -> Result<Instance, CallError> {
        let Some(instances) = &self.instances else { return Ok(Instance::common(self)) };
        let home = client.home();
        let askable = FEATURES.into_iter().any(|feature| client.has(feature));
        let modern = self.era() == Era::Modern;
        let mut held = instances.held();
        if let Some(reason) = held.closed {
            return Err(self.retired_error(Some(reason)));
        }
        if home.over.is_cancelled() {
            return Err(CallError::ClientGone { provider: self.name.clone() });
        }
        let mut owner = Owner {
            home: home.id,
            client: None,
            capabilities: client.capabilities(),
            parent: Arc::downgrade(self),
            roots_changed: AtomicBool::new(false),
        };
        if home.kind == HomeKind::Session {
            let key = (home.id, 0);
            if let Some(entry) = held.all.get(&key) {
                return Ok(Instance::common(&entry.provider));
            }
            owner.client = Some(client.clone());
            let provider = self.own_instance(key, owner, home.over);
            let (capabilities, calls, alone) = (Bytes::new(), 0, false);
            held.all.insert(key, Entry { provider: provider.clone(), capabilities, calls, alone });
            return Ok(Instance::common(&provider));
        }
        // It speaks for itself in each request, and what one instance asked for in an answer comes back to that one.
        if modern && home.kind == HomeKind::Call {
            return Ok(Instance::common(self));
        }
        let alone = askable && !modern;
        if modern {
            owner.capabilities = Bytes::from_static(b"{}");
        }
        let fits =
            |entry: &Entry| entry.capabilities == owner.capabilities && (entry.calls == 0 || !(alone || entry.alone));
        let lanes = (home.id, 1)..=(home.id, u32::MAX);
        let mut last = 0;
        let mut found = None;
        for ((_, lane), entry) in held.all.range_mut(lanes) {
            last = *lane;
            if fits(entry) {
                (entry.calls, entry.alone) = (entry.calls + 1, alone);
                found = Some((*lane, entry.provider.clone()));
                break;
            }
        }
        let (lane, provider) = match found {
            Some(found) => found,
            None => {
                let (lane, capabilities) = (last + 1, owner.capabilities.clone());
                let provider = self.own_instance((home.id, lane), owner, home.over);
                held.all.insert((home.id, lane), Entry { provider: provider.clone(), capabilities, calls: 1, alone });
                (lane, provider)
            }
        };
        drop(held);
        let turn = Turn { parent: self.clone(), key: (home.id, lane), own: provider.clone() };
        Ok(Instance { provider, _turn: Some(turn) })
    }

    fn own_instance(self: &Arc<Self>, key: Key, owner: Owner, over: CancellationToken) -> Arc<Self> {
        let own = Self::below(self, self.slot.of_client(key), owner);
        if let Some(instances) = &self.instances {
            instances.attendants.spawn(own.clone().attended(self.clone(), key, over));
        }
        own
    }

    /// Until the client, or the provider, is gone, or there is nothing left to remember.
    async fn attended(self: Arc<Self>, parent: Arc<Self>, key: Key, over: CancellationToken) {
        let mut states = self.state.subscribe();
        let reason = loop {
            tokio::select! {
                biased;
                // Told by the provider, with time for the calls in flight.
                () = self.retirement.cancelled() => break None,
                () = over.cancelled() => break Some(StopReason::SessionEnded),
                _ = states.changed() => if self.is_spent(&parent, false) {
                    break Some(StopReason::Idle);
                },
                () = tokio::time::sleep(REMEMBERED) => if self.is_spent(&parent, true) {
                    break Some(StopReason::Idle);
                }
            }
        };
        if let Some(instances) = &parent.instances {
            instances.forget(key, &self);
        }
        match reason {
            Some(reason) => self.stop_one(reason, Duration::ZERO, true).await,
            None => {
                self.lives.close();
                self.lives.wait().await;
            }
        }
    }

    /// It has lived, ended in good order and knows nothing that the provider does not: the next call may as well have a new one.
    /// `long_since`: what went wrong does not matter any more.
    fn is_spent(&self, parent: &Provider, long_since: bool) -> bool {
        let core = self.core();
        let at_rest = matches!(core.state, ProviderState::Cold | ProviderState::Dead) && core.in_flight == 0;
        let spent = at_rest && (long_since || (core.started > 0 && core.consecutive_failures == 0));
        drop(core);
        let (own, common) = (self.catalogue(), parent.catalogue());
        spent && own.as_deref() == common.as_deref()
    }

    /// Ends every instance, as [`Provider::stop_one`] ends one.
    pub async fn stop(self: &Arc<Self>, reason: StopReason, drain: Duration, retire: bool) {
        let Some(instances) = &self.instances else { return self.stop_one(reason, drain, retire).await };
        if retire {
            instances.held().closed.get_or_insert(reason);
        }
        let all = instances.all();
        let stops = all.iter().map(|(_, own)| own.stop_one(reason, drain, retire));
        tokio::join!(self.stop_one(reason, drain, retire), join_all(stops));
        if retire {
            instances.attendants.close();
            instances.attendants.wait().await;
        }
    }

    /// The last rungs of every ladder, at once.
    pub fn hurry(&self) {
        self.hurry_one();
        self.instances().iter().for_each(|own| own.hurry_one());
    }

    /// Those of clients.
    pub fn instances(&self) -> Vec<Arc<Provider>> {
        self.instances.iter().flat_map(|instances| instances.all()).map(|(_, own)| own).collect()
    }

    /// Those of the client that is at home there.
    pub fn instances_of(&self, home: ClientId) -> Vec<Arc<Provider>> {
        let Some(instances) = &self.instances else { return Vec::new() };
        instances.held().all.range((home, 0)..=(home, u32::MAX)).map(|(_, entry)| entry.provider.clone()).collect()
    }

    /// Whose it is; `None`: everybody's.
    pub fn home(&self) -> Option<ClientId> {
        self.owner.as_ref().map(|owner| owner.home)
    }

    /// What it offers to `client`.
    pub fn catalogue_for(&self, client: &dyn Client) -> Option<SharedCatalogue> {
        let own = self.instances_of(client.home().id).first().and_then(|own| own.catalogue());
        own.or_else(|| self.catalogue())
    }

    /// The instance that what a client wants to know of this provider is asked of: its own, where it has one that lasts.
    pub fn lasting(self: &Arc<Self>, client: &Arc<dyn Client>) -> Result<Arc<Self>, CallError> {
        if !self.is_per_client() || client.home().kind == HomeKind::Call {
            return Ok(self.clone());
        }
        self.instance(client).map(|instance| instance.provider)
    }

    /// [`Provider::be_ready`] of that instance.
    pub async fn be_ready_for(self: &Arc<Self>, client: &Arc<dyn Client>) -> Result<(), CallError> {
        self.with_lasting(client, async |own| own.be_ready().await).await
    }

    /// [`Provider::start`] of that instance.
    pub async fn start_for(self: &Arc<Self>, client: &Arc<dyn Client>) -> Result<(), CallError> {
        self.with_lasting(client, async |own| own.start().await).await
    }

    async fn with_lasting(
        self: &Arc<Self>,
        client: &Arc<dyn Client>,
        ready: impl AsyncFn(Arc<Self>) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        for _ in 1..LOOKUPS {
            match ready(self.lasting(client)?).await {
                // Only the instance may have been: the provider itself says so at the next look.
                Err(CallError::Retired { .. }) if self.is_per_client() => {}
                other => return other,
            }
        }
        ready(self.lasting(client)?).await
    }

    /// Its own instance and those of clients as one: the most alive of them counts.
    pub fn whole(&self) -> Status {
        let mut whole = self.status();
        let Some(instances) = &self.instances else { return whole };
        whole.starts += instances.starts.load(Ordering::Relaxed);
        for (_, own) in instances.all() {
            let own = own.status();
            if aliveness(own.state) > aliveness(whole.state) {
                (whole.state, whole.pid, whole.uptime) = (own.state, own.pid, own.uptime);
            }
            whole.in_flight += own.in_flight;
            whole.idle = whole.idle.min(own.idle);
            if own.circuit.retry_after > whole.circuit.retry_after {
                whole.circuit = own.circuit;
            }
            whole.unwell = whole.unwell.or(own.unwell);
            if own.consecutive_failures > whole.consecutive_failures {
                whole.consecutive_failures = own.consecutive_failures;
                (whole.last_failure, whole.retry_after) = (own.last_failure, own.retry_after);
            }
        }
        whole
    }

    /// Counted where it outlives the instance.
    pub(super) fn count_start(&self) {
        let parent = self.owner.as_ref().and_then(|owner| owner.parent.upgrade());
        if let Some(instances) = parent.as_ref().and_then(|parent| parent.instances.as_ref()) {
            instances.starts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A start of a client's own instance, in its place in line: `None` when there are as many as may be.
    pub(super) fn room(&self) -> Result<Option<super::slot::Room>, u32> {
        if self.owner.is_none() {
            return Ok(None);
        }
        let most = self.spec.max_instances;
        self.slot.room(most).map(Some).ok_or(most)
    }

    /// Not a failure of its own: nothing was tried.
    pub(super) fn start_refused(&self, attempt: u64, most: u32) {
        let cause = format!("{most} clients have an instance already (max_instances)");
        let mut core = self.core();
        core.order = None;
        core.last_failure = Some((attempt, Failure { full: Some(most), ..Failure::of(cause, Vec::new()) }));
        self.step(&mut core, StateEvent::StartFailed);
    }

    /// The catalogue of a client's instance came in: the client is told what is not as it knew it.
    pub(super) fn learned_alone(&self, owner: &Owner, catalogue: Catalogue) {
        let Some(parent) = owner.parent.upgrade() else { return };
        let known = self.catalogue().or_else(|| parent.catalogue());
        let starting = self.state() == ProviderState::Initializing;
        // What is remembered may be of another day. As long as an instance lives, it is not.
        let nobody_else = || parent.instances().iter().chain([&parent]).all(|other| !other.state().serves());
        let of_all = parent.catalogue().is_none() || (starting && nobody_else());
        if of_all {
            parent.learned(catalogue.clone());
        }
        let kinds = known.map_or(ListKinds::ALL, |known| ListKinds::that_differ(&known, &catalogue));
        if self.catalogue().as_deref() != Some(&catalogue) {
            // Many clients may be told the same: kept once.
            let others = parent.instances().into_iter().take(MOST_COMPARED).filter_map(|other| other.catalogue());
            let mut known = parent.catalogue().into_iter().chain(others);
            let same = known.find(|known| **known == catalogue);
            self.catalogue.store(Some(same.unwrap_or_else(|| Arc::new(catalogue))));
        }
        match &owner.client {
            _ if of_all || kinds.is_empty() => {}
            Some(client) => client.lists_changed(kinds),
            // Full: as above, and it lists anew when it misses something.
            None => drop(self.ground.instances.try_send(InstanceNews::Lists { home: owner.home, kinds })),
        }
    }

    /// `notifications/roots/list_changed` of `client`, for its legacy instances.
    pub fn roots_changed(&self, client: &dyn Client, notification: &Frame) {
        for own in self.instances_of(client.home().id) {
            let Some(owner) = own.owner.as_ref().filter(|owner| owner.client.is_some()) else { continue };
            match own.live() {
                Some(upstream) => tell_roots(&upstream, notification.params().map_or(b"", |p| notification.text(p))),
                None => {
                    owner.roots_changed.store(true, Ordering::Relaxed);
                    // It may have become ready in between.
                    own.live().iter().for_each(|upstream| own.tell_changed_roots(upstream));
                }
            }
        }
    }

    /// Right after the start: it may have asked for the roots before they changed.
    pub(super) fn tell_changed_roots(&self, upstream: &Upstream) {
        if self.owner.as_ref().is_some_and(|owner| owner.roots_changed.swap(false, Ordering::Relaxed)) {
            tell_roots(upstream, b"");
        }
    }
}

fn aliveness(state: ProviderState) -> u8 {
    match state {
        ProviderState::Ready => 5,
        ProviderState::Degraded => 4,
        ProviderState::Initializing => 3,
        ProviderState::Stopping => 2,
        ProviderState::Cold => 1,
        ProviderState::Dead => 0,
    }
}

fn tell_roots(upstream: &Upstream, params: &[u8]) {
    if upstream.era() == Era::Legacy {
        upstream.notify("notifications/roots/list_changed", params);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(instances) = &self.parent.instances else { return };
        // Another one may have its place by now.
        let mut held = instances.held();
        if let Some(entry) = held.all.get_mut(&self.key).filter(|entry| Arc::ptr_eq(&entry.provider, &self.own)) {
            entry.calls = entry.calls.saturating_sub(1);
        }
    }
}
