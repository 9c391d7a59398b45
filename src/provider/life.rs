//! Bringing an instance up, watching it, and ending it. One task per instance holds its connection from birth to release.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{sleep_until, timeout_at};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    CallError, Catalogue, Core, Era, Failure, HandshakeError, Provider, ProviderState, StateEvent, StopOrder, Upstream,
    error::TAIL,
    handshake,
    negotiation::{self, Opening},
    news::UpstreamNews,
    primitives::at,
    slot::SlotGuard,
    upstream::Ear,
};
use crate::{
    config::{Launch, Sharing},
    telemetry::{Event, StopReason},
    transport::{self, Close, Connection, Exit},
};

#[cfg(all(test, feature = "shuttle"))]
mod interleavings;

/// Back-off between starts of one that fails again and again.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
const BACK_OFF_MOST: Duration = Duration::from_secs(30);

/// Longest that a start which was called off may take to get so far that it can be ended.
const BIRTH: Duration = Duration::from_secs(30);

/// Longest time between the failure of a handshake and the exit that was its reason.
const EXIT_SEEN: Duration = Duration::from_millis(50);
/// The same after a question that made it end.
const PROBED_EXIT_SEEN: Duration = Duration::from_secs(2);

/// The right to run an instance, from before it is opened until everything it started is gone.
enum HeldSlot {
    #[expect(dead_code, reason = "held for its drop")]
    Mine(SlotGuard),
    /// Of a candidate: its turn comes when the instance that it replaces is gone.
    #[expect(dead_code, reason = "held for its drop")]
    InLine(AbortOnDropHandle<()>),
}

/// A start that came to nothing. The connection, when there was one, still has to be closed.
struct Stillborn {
    failure: Option<Failure>,
    connection: Option<Connection>,
    /// It ended by itself when it was asked for its era.
    of_probe: bool,
}

/// How a live instance came to its end.
struct Ended {
    event: StateEvent,
    reason: StopReason,
    exit: End,
}

enum End {
    /// All of it is gone.
    Gone(Exit),
    /// Its own process is gone, and what that left behind is being ended.
    Died(Exit),
}

impl End {
    fn how(&self) -> &Exit {
        let (Self::Gone(exit) | Self::Died(exit)) = self;
        exit
    }
}

impl Provider {
    /// From INITIALIZING until everything this instance held is free again.
    pub(super) async fn life(self: Arc<Self>, attempt: u64) {
        let Some(slot) = self.take_slot().await else { return self.start_failed(attempt, None) };
        // Once its own predecessor is gone: a reload must not run out of room.
        let room = match self.room() {
            Ok(room) => room,
            Err(most) => return self.start_refused(attempt, most),
        };
        let started = Instant::now();
        let mut brought = self.bring_up(self.opening()).await;
        if brought.as_ref().is_err_and(|stillborn| stillborn.of_probe) {
            // Some servers end at a first word that they do not know. This one is not asked again.
            self.probe_harms.store(true, Ordering::Relaxed);
            brought = self.bring_up(self.opening()).await;
        }
        let ended = match brought {
            Ok((mut connection, upstream, catalogue)) => {
                self.ready(&upstream, catalogue, started.elapsed());
                match self.watch(&mut connection, &upstream).await {
                    ended @ Ended { exit: End::Gone(_), .. } => Some((upstream, ended)),
                    // Told at once; but the slot is free when what it left behind is gone, too.
                    ended @ Ended { exit: End::Died(_), .. } => {
                        self.released(attempt, &upstream, ended);
                        connection.exit.await;
                        None
                    }
                }
            }
            Err(stillborn) => {
                self.start_failed(attempt, stillborn.failure);
                if let Some(connection) = stillborn.connection {
                    connection.link.close(Close::Now);
                    connection.exit.await;
                }
                None
            }
        };
        // Whoever sees COLD and starts again must find the slot free, or at least no instance in it.
        drop((room, slot));
        if let Some((upstream, ended)) = ended {
            self.released(attempt, &upstream, ended);
        }
    }

    /// `None`: the start was called off while it waited.
    async fn take_slot(&self) -> Option<HeldSlot> {
        if std::mem::take(&mut self.core().beside) {
            let (slot, alone) = (self.slot.clone(), !self.is_per_client());
            // Takes its place in line now; ends with the instance, whether its turn came or not.
            let waiting = tokio::spawn(async move {
                let _guard = slot.acquire(alone).await;
                pending::<()>().await
            });
            return Some(HeldSlot::InLine(AbortOnDropHandle::new(waiting)));
        }
        let alone = self.spec.sharing == Sharing::Shared;
        tokio::select! {
            slot = self.slot.acquire(alone) => Some(HeldSlot::Mine(slot)),
            () = self.called_off() => None,
        }
    }

    /// What the next instance is told first.
    fn opening(&self) -> Opening {
        let known = self.catalogue().filter(|catalogue| !catalogue.hello.both).map(|catalogue| catalogue.hello.era());
        let known = if self.probe_harms.load(Ordering::Relaxed) { Some(Era::Legacy) } else { known };
        Opening::of(&self.spec, known)
    }

    #[cfg(not(all(test, feature = "shuttle")))]
    async fn bring_up(self: &Arc<Self>, opening: Opening) -> Result<(Connection, Arc<Upstream>, Catalogue), Stillborn> {
        tokio::select! {
            prepared = transport::prepare(&self.name, &self.spec, &self.pulls) => {
                prepared.map_err(|error| self.stillborn(error.to_string(), None))?;
            }
            () = self.called_off() => return Err(Stillborn { failure: None, connection: None, of_probe: false }),
        }
        let limit = self.spec.startup_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let news = Arc::new(UpstreamNews::new(self.name.clone(), self.audience(), self.ground.updates.clone()));
        let (output, telemetry) = (self.output.clone(), self.ground.telemetry.clone());
        let ids = self.ground.task_ids.clone();
        let upstream = Upstream::new(self.name.clone(), self.client_end(), output, telemetry, news, ids);
        let ear = Arc::new(Ear(upstream.clone()));
        let born = transport::open(&self.name, &self.spec, &self.ground.marker, self.output.clone(), ear);
        tokio::pin!(born);
        let (opened, wanted) = tokio::select! {
            opened = &mut born => (Some(opened), true),
            () = sleep_until(deadline) => (None, true),
            () = self.called_off() => (None, false),
        };
        let Some(opened) = opened else {
            let failure = wanted.then(|| Failure::of(not_ready(limit), self.output.tail(TAIL)));
            let connection = self.half_open(born).await;
            return Err(Stillborn { failure, connection, of_probe: false });
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(error) => return Err(self.stillborn(error.to_string(), None)),
        };
        upstream.connect(connection.link.clone());
        let probing = AtomicBool::new(false);
        let greeting = async {
            let hello = negotiation::greet(&upstream, opening, limit, &probing).await?;
            probing.store(false, Ordering::Relaxed);
            handshake::catalogue(&upstream, hello, limit).await
        };
        let greeted = tokio::select! {
            biased;
            greeted = timeout_at(deadline, greeting) => greeted,
            exit = &mut connection.exit => {
                let stillborn = self.stillborn(format!("it {exit} before it was ready"), None);
                return Err(Stillborn { of_probe: probing.into_inner(), ..stillborn });
            }
            () = self.called_off() => {
                return Err(Stillborn { failure: None, connection: Some(connection), of_probe: false });
            }
        };
        match greeted {
            Ok(Ok(catalogue)) => Ok((connection, upstream, catalogue)),
            Ok(Err(error)) => {
                // Not answered at all: how it ended, if it has, decides whether it is started again.
                let ends = !matches!(self.spec.launch, Launch::Remote(_)) && matches!(error, HandshakeError::Call(_));
                let of_probe = probing.into_inner() && ends;
                let patience = if of_probe { PROBED_EXIT_SEEN } else { EXIT_SEEN };
                let stillborn = self.exit_or(error.cause(), connection, patience).await;
                let of_probe = of_probe && stillborn.connection.is_none();
                Err(Stillborn { of_probe, ..stillborn })
            }
            Err(_) => {
                // The next one is not confused by a question that this one may have choked on.
                self.probe_harms.fetch_or(probing.into_inner(), Ordering::Relaxed);
                Err(self.stillborn(not_ready(limit), Some(connection)))
            }
        }
    }

    /// What comes of an opening that nobody waits for any more. Half a process must not be left to itself while the slot
    /// goes to the next generation: it is born, to be ended like any other. A remote is simply let go.
    async fn half_open(
        &self,
        opening: impl Future<Output = Result<Connection, transport::TransportError>>,
    ) -> Option<Connection> {
        match self.spec.launch {
            Launch::Remote(_) => None,
            Launch::Subprocess(_) | Launch::Docker(_) => {
                tokio::time::timeout(BIRTH, opening).await.ok().and_then(Result::ok)
            }
        }
    }

    /// A handshake fails first and the exit is seen a moment later when the upstream died of it: say the exit.
    async fn exit_or(&self, cause: String, mut connection: Connection, within: Duration) -> Stillborn {
        match tokio::time::timeout(within, &mut connection.exit).await {
            Ok(exit) => self.stillborn(format!("it {exit} before it was ready"), None),
            Err(_) => self.stillborn(cause, Some(connection)),
        }
    }

    fn stillborn(&self, cause: String, connection: Option<Connection>) -> Stillborn {
        Stillborn { failure: Some(Failure::of(cause, self.output.tail(TAIL))), connection, of_probe: false }
    }

    fn ready(&self, upstream: &Arc<Upstream>, catalogue: Catalogue, took: Duration) {
        let told = self.send_log_level(upstream, &catalogue);
        self.learned(catalogue);
        {
            let mut core = self.core();
            core.upstream = Some(upstream.clone());
            core.last_used = Instant::now();
            core.ready_since = Some(Instant::now());
            core.started += 1;
            core.retry_at = None;
            self.step(&mut core, StateEvent::HandshakeDone);
            // A stop that was ordered in the last moment of the start.
            if core.retired.is_some() || core.order.is_some() {
                self.step(&mut core, StateEvent::Stop);
            }
        }
        // Said between the two: nobody else could tell an instance that did not live yet.
        if told != self.wanted_level() {
            self.tell_log_level();
        }
        self.tell_changed_roots(upstream);
        self.count_start();
        // A candidate is told of when it is in force.
        if self.in_force.load(Ordering::Relaxed) {
            self.tell_started();
        }
        let (provider, pid) = (self.name.to_string(), upstream.pid());
        self.ground.telemetry.emit(Event::ProviderStarted { provider, pid, duration: took });
    }

    /// `failure: None`: the start was called off.
    fn start_failed(&self, attempt: u64, failure: Option<Failure>) {
        let mut core = self.core();
        core.order = None;
        let Some(failure) = failure else {
            let cause = "its start was called off by a stop".to_owned();
            core.last_failure = Some((attempt, Failure::of(cause, Vec::new())));
            self.step(&mut core, StateEvent::StartFailed);
            return;
        };
        core.count_failure(attempt, failure.clone(), 0);
        let failures = core.consecutive_failures;
        let for_good = failures >= self.spec.max_consecutive_failures;
        self.step(&mut core, if for_good { StateEvent::StartFailedForGood } else { StateEvent::StartFailed });
        drop(core);
        let provider = self.name.to_string();
        self.ground.telemetry.emit(Event::ProviderFailed { provider, failures, error: failure.cause });
    }

    /// Until it is gone, or stopped and gone.
    async fn watch(self: &Arc<Self>, connection: &mut Connection, upstream: &Arc<Upstream>) -> Ended {
        let ends = CancellationToken::new();
        let _helpers = ends.clone().drop_guard();
        self.lives.spawn(ends.clone().run_until_cancelled_owned(self.clone().keep_probing(upstream.clone())));
        if upstream.era() == Era::Modern {
            self.lives.spawn(ends.clone().run_until_cancelled_owned(self.clone().keep_listening(upstream.clone())));
        }
        self.lives.spawn(ends.run_until_cancelled_owned(self.clone().keep_catalogue(upstream.clone())));
        let order = loop {
            let wake_at = self.next_look();
            tokio::select! {
                biased;
                exit = &mut connection.exit => return self.gone(End::Gone(exit)),
                exit = &mut connection.died => return self.gone(End::Died(exit)),
                () = self.wake.notified() => {}
                () = at(wake_at) => {}
            }
            if let Some(order) = self.due_order() {
                break order;
            }
        };
        upstream.end(CallError::Cut { provider: self.name.clone(), reason: order.reason.as_str() });
        connection.link.close(Close::Graceful);
        let exit = End::Gone((&mut connection.exit).await);
        Ended { event: StateEvent::Released, reason: order.reason, exit }
    }

    /// When the live loop has to look again: the idle time is over, or a drain.
    fn next_look(&self) -> Option<Instant> {
        let core = self.core();
        if let Some(order) = core.order {
            return Some(if core.in_flight == 0 { Instant::now() } else { order.deadline });
        }
        let idle = self.spec.idle_ttl;
        // A call in flight is never idle, nor a task; a lease's return stamps the time from which idle is counted.
        (!idle.is_zero()).then(|| if core.is_idle() { core.last_used } else { Instant::now() } + idle)
    }

    /// The order to end now, if it is time. Decided under the lock that leases are given out under.
    fn due_order(&self) -> Option<StopOrder> {
        let mut core = self.core();
        let now = Instant::now();
        if core.order.is_none() {
            let idle = self.spec.idle_ttl;
            if idle.is_zero() || !core.is_idle() || now < core.last_used + idle {
                return None;
            }
            // Its client has a question of it before it, outside of every call.
            if core.upstream.as_ref().is_some_and(|upstream| upstream.is_asking()) {
                core.last_used = now;
                return None;
            }
            self.step(&mut core, StateEvent::Stop);
            core.order = Some(StopOrder { reason: StopReason::Idle, given: now, deadline: now });
        }
        let order = core.order.filter(|order| core.in_flight == 0 || now >= order.deadline)?;
        let cut = core.in_flight;
        drop(core);
        if order.reason != StopReason::Idle {
            let (provider, duration) = (self.name.to_string(), order.given.elapsed());
            self.ground.telemetry.emit(Event::ProviderDrained { provider, cut, duration });
        }
        Some(order)
    }

    /// It ended by itself.
    fn gone(&self, exit: End) -> Ended {
        let stopping = self.core().state == ProviderState::Stopping;
        if stopping {
            let reason = self.core().order.map_or(StopReason::Requested, |order| order.reason);
            return Ended { event: StateEvent::Released, reason, exit };
        }
        Ended { event: StateEvent::Gone, reason: StopReason::Exited, exit }
    }

    fn released(&self, attempt: u64, upstream: &Arc<Upstream>, ended: Ended) {
        let Ended { event, reason, exit } = ended;
        let exit = exit.how();
        let output = upstream.output_tail();
        let failures = {
            let mut core = self.core();
            core.upstream = None;
            core.order = None;
            core.ready_since = None;
            if event == StateEvent::Gone {
                let output = output.clone();
                // One free restart: a server that died after it had worked is started again by the next call at once.
                core.count_failure(attempt, Failure::of(format!("it {exit}"), output), 1);
            }
            // A stop may have been ordered between the exit and now.
            let event = if core.state == ProviderState::Stopping { StateEvent::Released } else { event };
            self.step(&mut core, event);
            core.consecutive_failures
        };
        // After the change of state: whoever is told and calls again at once must not find the dead one.
        upstream.end(CallError::Gone { provider: self.name.clone(), exit: exit.to_string(), output });
        let provider = self.name.to_string();
        if event == StateEvent::Gone {
            let error = exit.to_string();
            self.ground.telemetry.emit(Event::ProviderFailed { provider: provider.clone(), failures, error });
        }
        self.ground.telemetry.emit(Event::ProviderStopped { provider, reason, exit: exit.to_string() });
    }

    /// Ends the instance, if there is one: no new calls, those in flight have until `drain` is over, then the ladder.
    /// With `retire` no other one will ever be started. Resolves when everything is released.
    pub(super) async fn stop_one(self: &Arc<Self>, reason: StopReason, drain: Duration, retire: bool) {
        let mut changes = self.state.subscribe();
        let attempt = self.order_stop(reason, drain, retire);
        if retire {
            self.lives.close();
            self.lives.wait().await;
            return;
        }
        while !self.is_over(attempt) {
            // The sender lives in self.
            let _ = changes.changed().await;
        }
    }

    /// The instance that is on its way down its ladder takes the last rungs at once.
    pub(super) fn hurry_one(&self) {
        if let Some(upstream) = &self.core().upstream {
            upstream.hurry();
        }
    }

    /// Whether the instance of `attempt` is at rest. Calls that waited for its end may have started the next one before
    /// anybody saw it so.
    fn is_over(&self, attempt: u64) -> bool {
        let core = self.core();
        core.attempt != attempt || matches!(core.state, ProviderState::Cold | ProviderState::Dead)
    }

    /// Gives the number of the start whose instance ends.
    fn order_stop(&self, reason: StopReason, drain: Duration, retire: bool) -> u64 {
        let mut core = self.core();
        if retire {
            core.retired.get_or_insert(reason);
            self.retirement.cancel();
        }
        let now = Instant::now();
        let order = StopOrder { reason, given: now, deadline: now + drain };
        match core.state {
            ProviderState::Ready | ProviderState::Degraded => {
                self.step(&mut core, StateEvent::Stop);
                core.order = Some(order);
            }
            ProviderState::Initializing => core.order = Some(order),
            ProviderState::Stopping => {
                if let Some(earlier) = &mut core.order {
                    earlier.deadline = earlier.deadline.min(order.deadline);
                }
            }
            ProviderState::Cold | ProviderState::Dead => {}
        }
        // Calls that wait for a start see the latch now.
        self.state.send_modify(|_| {});
        let attempt = core.attempt;
        drop(core);
        self.wake.notify_one();
        attempt
    }

    /// Resolves when the start that is going on is not wanted any more.
    async fn called_off(&self) {
        loop {
            {
                let core = self.core();
                if core.retired.is_some() || core.order.is_some() {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }
}

impl Core {
    /// `free`: failures in a row that cost no waiting.
    fn count_failure(&mut self, attempt: u64, failure: Failure, free: u32) {
        self.consecutive_failures += 1;
        self.last_failure = Some((attempt, failure));
        let step = self.consecutive_failures.saturating_sub(free);
        self.retry_at = (step > 0).then(|| Instant::now() + back_off(step));
    }
}

/// 0.5 s, doubled each time, 30 s at most; less up to a quarter, so that many do not start at one moment.
fn back_off(failures: u32) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(BACK_OFF_MOST).mul_f64(1.0 - fastrand::f64() / 4.0)
}

fn not_ready(limit: Duration) -> String {
    format!("it was not ready within {:.1} s (startup_timeout_s)", limit.as_secs_f64())
}
