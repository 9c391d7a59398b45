//! One provider's life: started once by whoever needs it first, leased to calls, probed, stopped when idle, retired once.
//!
//! A [`Provider`] is one generation of one name. `state` is the table, `slot` keeps two generations of a name apart,
//! `birth` and `life` start and end instances, `lease` lends the live one to calls, `upstream` is the conversation with it.

mod birth;
mod breaker;
mod catalogue;
mod circuit;
mod era;
mod error;
mod globs;
mod handshake;
mod health;
mod home;
mod instances;
mod lease;
mod life;
mod listen;
mod load;
mod marks;
mod memory;
mod negotiation;
mod news;
mod owner;
mod primitives;
mod relay;
mod restarts;
mod slot;
mod state;
mod task_ids;
mod told;
mod upstream;

#[cfg(feature = "fuzzing")]
pub use upstream::head;

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use breaker::{Breaker, BreakerLimits, BreakerState, Verdict};
pub use catalogue::{Catalogue, Hello, Hint, Hints, Item, Listing, SharedCatalogue};
pub use circuit::{Circuit, Pass};
pub use era::Era;
pub use error::CallError;
pub use globs::Globs;
pub use handshake::{HandshakeError, LATEST_LEGACY, LEGACY_VERSIONS};
pub use home::{Home, HomeKind};
pub use instances::Instance;
pub use lease::Lease;
pub use load::Load;
pub use marks::{Mark, marks};
pub use memory::{CatalogueMemory, digest};
pub use news::{Audience, ListKind, ListKinds, ResourceUpdate, UpstreamNews};
pub use owner::Owner;
pub use relay::{Asked, Asker, Caller, Client, ClientFeature, ClientId, Relay};
pub use slot::{Slot, Slots};
pub use state::{IllegalTransition, ProviderState, StateEvent};
pub use task_ids::TaskIds;
pub use told::{Told, seconds};
pub use upstream::{InFlight, Outgoing, Patience, Topic, Upstream};

use circuit::Doubts;
use health::Unwell;
use instances::{Instances, Owner as ClientsOwn};
use primitives::{Lives, Mutex, MutexGuard};
use restarts::Crashes;

use crate::{
    config::{ProviderName, ProviderSpec},
    telemetry::{Event, StopReason, Telemetry},
    transport::{Marker, OutputRing, PullWatch},
};

/// What all providers of a gateway stand on.
pub struct Ground {
    pub marker: Marker,
    pub telemetry: Arc<Telemetry>,
    pub memory: CatalogueMemory,
    /// What clients call the tasks of upstreams.
    pub task_ids: Arc<TaskIds>,
    /// Short tasks beside the instances: writing a catalogue down.
    pub tasks: TaskTracker,
    /// A catalogue changed: which lists, counted. Coalesces; never loses the last one.
    pub catalogue_news: watch::Sender<CatalogueNews>,
    /// The least severity that any client wants to hear of; `None`: no client has said.
    pub log_level: watch::Sender<Option<&'static str>>,
    /// What instances have come to, on its way to those who have to tell somebody.
    pub instances: mpsc::Sender<InstanceNews>,
    /// `notifications/resources/updated`, on their way to subscribers.
    pub updates: mpsc::Sender<ResourceUpdate>,
}

/// News of one kind that may wait for whoever tells it on.
const NEWS: usize = 1024;

impl Ground {
    /// Nothing stands on it yet. And what it will tell upwards; who drops that hears nothing.
    pub fn new(
        marker: Marker,
        telemetry: Arc<Telemetry>,
        memory: CatalogueMemory,
        task_ids: TaskIds,
    ) -> (Arc<Self>, mpsc::Receiver<InstanceNews>, mpsc::Receiver<ResourceUpdate>) {
        let ((instances, instances_out), (updates, updates_out)) = (mpsc::channel(NEWS), mpsc::channel(NEWS));
        let ground = Self {
            marker,
            telemetry,
            memory,
            task_ids: Arc::new(task_ids),
            tasks: TaskTracker::new(),
            catalogue_news: watch::Sender::default(),
            log_level: watch::Sender::default(),
            instances,
            updates,
        };
        (Arc::new(ground), instances_out, updates_out)
    }
}

#[derive(Debug, Clone)]
pub enum InstanceNews {
    /// It knows nothing of earlier ones' subscriptions. `home`: whose it is; `None`: everybody's.
    Ready { provider: ProviderName, home: Option<ClientId> },
    /// Lists of whoever is at home there are others now.
    Lists { home: ClientId, kinds: ListKinds },
}

/// Counts the changes of each list over all providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogueNews {
    pub tools: u64,
    pub prompts: u64,
    pub resources: u64,
    /// First catalogues of providers that had none: news only to who has listed without them.
    pub learned: u64,
}

/// One generation of one provider.
pub struct Provider {
    pub name: ProviderName,
    pub spec: Arc<ProviderSpec>,
    pub belongs_to: Owner,
    /// Of `spec.launch`; names the remembered catalogue.
    digest: String,
    allow: Arc<Globs>,
    deny: Arc<Globs>,
    slot: Arc<Slot>,
    ground: Arc<Ground>,
    core: Mutex<Core>,
    /// Follows `core.state`; whoever waits for a change waits here.
    state: watch::Sender<ProviderState>,
    /// Wakes the live loop: a stop was ordered, the last lease came back.
    wake: Notify,
    permits: Option<Semaphore>,
    /// Calls waiting for a permit.
    queued: AtomicUsize,
    catalogue: ArcSwapOption<Catalogue>,
    output: Arc<OutputRing>,
    /// The image of the latest start.
    pub pulls: PullWatch,
    /// An instance has ended, or fallen silent, when it was asked for its era; the next ones are greeted first.
    probe_harms: AtomicBool,
    /// Set at its commit; until then it is a candidate that nobody is told about.
    in_force: AtomicBool,
    /// Fires once, at retirement.
    retirement: CancellationToken,
    /// The tasks that bring up, watch and end its instances.
    lives: Lives,
    /// Of clients, where each has its own.
    instances: Option<Instances>,
    /// Of an instance that is a client's own.
    owner: Option<ClientsOwn>,
}

struct Core {
    state: ProviderState,
    /// One-way latch: no lease, no start, ever again.
    retired: Option<StopReason>,
    upstream: Option<Arc<Upstream>>,
    /// Leases given out and not yet returned.
    in_flight: usize,
    last_used: Instant,
    /// Starts so far; a waiting call knows its own start by this number.
    attempt: u64,
    /// Of the attempt that bears the number.
    last_failure: Option<(u64, Failure)>,
    consecutive_failures: u32,
    crashes: Crashes,
    breaker: Breaker,
    /// Why the last call that counted against it failed.
    blamed: String,
    doubts: Doubts,
    /// The start whose end the breaker has counted.
    counted_death: Option<u64>,
    /// What is wrong with the live instance.
    unwell: Unwell,
    retry_at: Option<Instant>,
    order: Option<StopOrder>,
    ready_since: Option<Instant>,
    started: u64,
    /// The next start does not wait for the slot: `verify` tries a candidate beside the instance it is to replace.
    beside: bool,
}

/// Why a start failed or an instance ended.
#[derive(Debug, Clone)]
pub struct Failure {
    pub cause: String,
    pub output: Vec<String>,
    /// There is no room for it: as many clients have an instance as may have one.
    pub full: Option<u32>,
    /// How long the upstream itself wants to be left alone (`Retry-After`).
    pub wait: Option<Duration>,
    /// The gateway's own doing: it does not count against the provider.
    pub internal: bool,
}

#[derive(Debug, Clone, Copy)]
struct StopOrder {
    reason: StopReason,
    given: Instant,
    /// When calls in flight are cut.
    deadline: Instant,
}

/// For `hangar_status`, `/api/providers`, `hangar list`.
#[derive(Debug, Clone)]
pub struct Status {
    pub state: ProviderState,
    pub pid: Option<u32>,
    pub in_flight: usize,
    pub idle: Duration,
    pub uptime: Option<Duration>,
    pub starts: u64,
    pub consecutive_failures: u32,
    pub last_failure: Option<Failure>,
    /// Of a live instance: why it is not healthy.
    pub unwell: Option<String>,
    pub retry_after: Option<Duration>,
    pub circuit: Circuit,
    pub noise_lines: u64,
}

impl Provider {
    /// A COLD provider: no I/O but the look at its remembered catalogue.
    pub fn new(
        belongs_to: Owner,
        name: ProviderName,
        spec: Arc<ProviderSpec>,
        slot: Arc<Slot>,
        ground: Arc<Ground>,
    ) -> Arc<Self> {
        let digest = digest(&spec);
        let catalogue = ground.memory.recall(&digest).filter(|known| known.fits(spec.protocol)).map(Arc::new);
        let filter = [Globs::new(&spec.tools.allow), Globs::new(&spec.tools.deny)].map(Arc::new);
        Arc::new(Self {
            belongs_to,
            instances: Instances::of(spec.sharing),
            catalogue: ArcSwapOption::new(catalogue),
            ..Self::blank(name, spec, digest, filter, slot, ground)
        })
    }

    /// A client's own instance of `parent`, which is in force.
    fn below(parent: &Self, slot: Arc<Slot>, owner: ClientsOwn) -> Arc<Self> {
        let (name, spec, ground) = (parent.name.clone(), parent.spec.clone(), parent.ground.clone());
        let filter = [parent.allow.clone(), parent.deny.clone()];
        Arc::new(Self {
            belongs_to: parent.belongs_to.clone(),
            owner: Some(owner),
            catalogue: ArcSwapOption::new(parent.catalogue()),
            output: OutputRing::below(&parent.output),
            in_force: AtomicBool::new(true),
            ..Self::blank(name, spec, parent.digest.clone(), filter, slot, ground)
        })
    }

    fn blank(
        name: ProviderName,
        spec: Arc<ProviderSpec>,
        digest: String,
        [allow, deny]: [Arc<Globs>; 2],
        slot: Arc<Slot>,
        ground: Arc<Ground>,
    ) -> Self {
        Self {
            permits: spec.max_concurrency.map(|n| Semaphore::new(n as usize)),
            queued: AtomicUsize::new(0),
            catalogue: ArcSwapOption::empty(),
            output: Arc::default(),
            core: Mutex::new(Core::new()),
            state: watch::Sender::new(ProviderState::Cold),
            wake: Notify::new(),
            pulls: PullWatch::new(None),
            probe_harms: AtomicBool::new(false),
            in_force: AtomicBool::new(false),
            retirement: CancellationToken::new(),
            lives: Lives::new(),
            instances: None,
            owner: None,
            belongs_to: Owner::Config,
            allow,
            deny,
            name,
            spec,
            digest,
            slot,
            ground,
        }
    }

    /// Takes the place of an older generation with the same launch: it offers the same things until it is asked again.
    pub fn inherit_catalogue(&self, older: &Provider) {
        if self.digest == older.digest && self.catalogue.load().is_none() {
            self.catalogue.store(older.catalogue().filter(|known| known.fits(self.spec.protocol)));
        }
    }

    /// It is part of the snapshot from now on.
    pub fn put_in_force(&self) {
        self.in_force.store(true, Ordering::Relaxed);
    }

    /// Says that there is an instance which knows nothing of earlier ones' subscriptions.
    pub fn tell_started(&self) {
        // Full: more have started than anybody keeps up with; clients subscribe again when they miss something.
        let _ = self.ground.instances.try_send(InstanceNews::Ready { provider: self.name.clone(), home: self.home() });
    }

    /// From the live upstream, or remembered; `None`: never seen.
    pub fn catalogue(&self) -> Option<SharedCatalogue> {
        self.catalogue.load_full()
    }

    /// Of the live instance, or of the last one that was seen; legacy when none was.
    pub fn era(&self) -> Era {
        self.catalogue.load().as_ref().map(|catalogue| catalogue.hello.era()).unwrap_or_default()
    }

    /// Whether the `tools` filter lets `tool` (the upstream's own name) through.
    pub fn offers(&self, tool: &str) -> bool {
        self.allow.is_match(tool) && !self.deny.is_match(tool)
    }

    /// Whether that filter lets everything through.
    pub fn offers_all(&self) -> bool {
        self.spec.tools.deny.is_empty() && self.spec.tools.allow.iter().any(|glob| glob == "*")
    }

    /// The last lines it wrote beside the protocol.
    pub fn output(&self) -> &Arc<OutputRing> {
        &self.output
    }

    pub fn state(&self) -> ProviderState {
        *self.state.borrow()
    }

    pub fn status(&self) -> Status {
        let core = self.core();
        let now = Instant::now();
        Status {
            state: core.state,
            pid: core.upstream.as_ref().and_then(|u| u.pid()),
            in_flight: core.in_flight,
            idle: now.saturating_duration_since(core.last_used),
            uptime: core.ready_since.map(|since| now.saturating_duration_since(since)),
            starts: core.started,
            consecutive_failures: core.consecutive_failures,
            last_failure: core.last_failure.as_ref().map(|(_, failure)| failure.clone()),
            unwell: core.unwell.told(),
            retry_after: core.retry_after(now),
            circuit: self.circuit(&core, now),
            noise_lines: self.output.noise_count(),
        }
    }

    /// The conversation with the live instance, if there is one: for notifications that wait for nothing.
    pub fn live(&self) -> Option<Arc<Upstream>> {
        let core = self.core();
        core.upstream.clone().filter(|_| core.state.serves())
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // Every critical section below leaves a consistent core also when it panics.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one place where a state is assigned. An illegal event changes nothing and is a bug worth a log line.
    fn step(&self, core: &mut Core, event: StateEvent) -> bool {
        let from = core.state;
        match state::next(from, event) {
            Ok(to) => {
                core.state = to;
                self.state.send_replace(to);
                let (from, to) = (from.as_str(), to.as_str());
                self.ground.telemetry.emit(Event::ProviderStateChanged { provider: self.name.to_string(), from, to });
                true
            }
            Err(error) => {
                tracing::error!(provider = %self.name, %error, "illegal_state_transition");
                false
            }
        }
    }
}

impl Status {
    /// What is wrong with it, or was last.
    pub fn cause(&self) -> Option<String> {
        self.unwell.clone().or_else(|| self.last_failure.as_ref().map(|failure| failure.cause.clone()))
    }

    /// Until a call is let through to it, or starts it.
    pub fn patience(&self) -> Option<Duration> {
        self.retry_after.max(self.circuit.retry_after)
    }
}

impl Failure {
    pub(super) fn of(cause: String, output: Vec<String>) -> Self {
        Self { cause, output, full: None, wait: None, internal: false }
    }
}

impl Core {
    fn new() -> Self {
        Self {
            state: ProviderState::Cold,
            retired: None,
            upstream: None,
            in_flight: 0,
            last_used: Instant::now(),
            attempt: 0,
            last_failure: None,
            consecutive_failures: 0,
            crashes: Crashes::default(),
            breaker: Breaker::default(),
            blamed: String::new(),
            doubts: Doubts::default(),
            counted_death: None,
            unwell: Unwell::default(),
            retry_at: None,
            order: None,
            ready_since: None,
            started: 0,
            beside: false,
        }
    }

    fn retry_after(&self, now: Instant) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}
