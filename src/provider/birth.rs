//! Bringing an instance up: its place in line, its connection, its first words; and what became of a start.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Catalogue, Era, Failure, HandshakeError, Provider, StateEvent, Upstream,
    error::TAIL,
    handshake,
    health::Unwell,
    negotiation::{self, Opening},
    news::UpstreamNews,
    slot::SlotGuard,
    upstream::Ear,
};
use crate::{
    config::{Launch, Sharing},
    telemetry::Event,
    transport::{self, Connection, TransportError},
};

/// Longest that a start which was called off may take to get so far that it can be ended.
const BIRTH: Duration = Duration::from_secs(30);

/// Longest time between the failure of a handshake and the exit that was its reason.
const EXIT_SEEN: Duration = Duration::from_millis(50);
/// The same after a question that made it end.
const PROBED_EXIT_SEEN: Duration = Duration::from_secs(2);

/// The right to run an instance, from before it is opened until everything it started is gone.
pub(super) enum HeldSlot {
    #[expect(dead_code, reason = "held for its drop")]
    Mine(SlotGuard),
    /// Of a candidate: its turn comes when the instance that it replaces is gone.
    #[expect(dead_code, reason = "held for its drop")]
    InLine(AbortOnDropHandle<()>),
}

/// A start that came to nothing. The connection, when there was one, still has to be closed.
pub(super) struct Stillborn {
    pub(super) failure: Option<Failure>,
    pub(super) connection: Option<Connection>,
    /// It ended by itself when it was asked for its era.
    pub(super) of_probe: bool,
}

impl Provider {
    /// `None`: the start was called off while it waited.
    pub(super) async fn take_slot(&self) -> Option<HeldSlot> {
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
    pub(super) fn opening(&self) -> Opening {
        let known = self.catalogue().filter(|catalogue| !catalogue.hello.both).map(|catalogue| catalogue.hello.era());
        let known = if self.probe_harms.load(Ordering::Relaxed) { Some(Era::Legacy) } else { known };
        Opening::of(&self.spec, known)
    }

    #[cfg(not(all(test, feature = "shuttle")))]
    pub(super) async fn bring_up(
        self: &Arc<Self>,
        opening: Opening,
    ) -> Result<(Connection, Arc<Upstream>, Catalogue), Stillborn> {
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
            Err(error) => {
                let internal = matches!(error, TransportError::Lacking(_));
                let failure = Failure { internal, ..Failure::of(error.to_string(), self.output.tail(TAIL)) };
                return Err(Stillborn { failure: Some(failure), connection: None, of_probe: false });
            }
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
                let wait = error.retry_after();
                let mut stillborn = self.exit_or(error.cause(), connection, patience).await;
                if let Some(failure) = &mut stillborn.failure {
                    failure.wait = wait;
                }
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

    pub(super) fn ready(&self, upstream: &Arc<Upstream>, catalogue: Catalogue, took: Duration) {
        let told = self.send_log_level(upstream, &catalogue);
        self.learned(catalogue);
        {
            let mut core = self.core();
            core.upstream = Some(upstream.clone());
            core.last_used = Instant::now();
            core.ready_since = Some(Instant::now());
            core.started += 1;
            core.retry_at = None;
            core.unwell = Unwell::default();
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
    pub(super) fn start_failed(&self, attempt: u64, failure: Option<Failure>) {
        let mut core = self.core();
        core.order = None;
        let Some(failure) = failure else {
            let cause = "its start was called off by a stop".to_owned();
            core.last_failure = Some((attempt, Failure::of(cause, Vec::new())));
            self.step(&mut core, StateEvent::StartFailed);
            return;
        };
        core.start_failed(attempt, failure.clone(), Instant::now());
        let failures = core.consecutive_failures;
        let for_good = !failure.internal && failures >= self.spec.max_consecutive_failures;
        self.step(&mut core, if for_good { StateEvent::StartFailedForGood } else { StateEvent::StartFailed });
        drop(core);
        let provider = self.name.to_string();
        self.ground.telemetry.emit(Event::ProviderFailed { provider, failures, error: failure.cause });
    }

    /// Resolves when the start that is going on is not wanted any more.
    pub(super) async fn called_off(&self) {
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

fn not_ready(limit: Duration) -> String {
    format!("it was not ready within {:.1} s (startup_timeout_s)", limit.as_secs_f64())
}
