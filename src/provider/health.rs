//! Beside a live instance: probes whether it answers, and keeps its catalogue up to date.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    CallError, Catalogue, Core, Era, ListKind, ListKinds, Listing, Provider, ProviderState, StateEvent, Upstream,
    handshake, negotiation, restarts::back_off,
};
use crate::telemetry::{Event, StopReason};

/// Longest a probe waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time between a closed connection and the exit of its process.
const CLOSE_SEEN: Duration = Duration::from_secs(2);
/// Changes of lists that come within this time are one change.
const LIST_DEBOUNCE: Duration = Duration::from_millis(50);

/// What is wrong with a live instance, that it is DEGRADED: it has to answer, and to have told what it offers.
#[derive(Debug, Default)]
pub(super) struct Unwell {
    probe: Option<String>,
    catalogue: Option<String>,
}

impl Unwell {
    pub(super) fn told(&self) -> Option<String> {
        self.probe.as_ref().or(self.catalogue.as_ref()).cloned()
    }
}

impl Provider {
    /// One probe each interval; jittered, so that a hundred providers do not answer at one moment.
    pub(super) async fn keep_probing(self: Arc<Self>, upstream: Arc<Upstream>) {
        let interval = self.spec.health_check_interval;
        if interval.is_zero() {
            return;
        }
        let mut failed = 0;
        loop {
            tokio::time::sleep(interval.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
            let found = probe(&upstream, interval.min(PROBE_TIMEOUT)).await.err();
            match &found {
                None => failed = 0,
                Some(error) => {
                    failed += 1;
                    tracing::warn!(provider = %self.name, failed, %error, "health_probe_failed");
                }
            }
            self.probed(failed, found);
        }
    }

    fn probed(self: &Arc<Self>, failed: u32, found: Option<CallError>) {
        let mut core = self.core();
        core.unwell.probe = found.map(|error| format!("its health probe failed: {}", error.cause()));
        self.show_health(&mut core);
        if failed == 0 && core.state.serves() {
            core.consecutive_failures = 0;
        }
        // A server that does one thing at a time answers no probe while it works: with a call in flight it may be busy.
        let hopeless = failed >= self.spec.max_consecutive_failures && core.state.serves() && core.in_flight == 0;
        drop(core);
        if hopeless {
            // It hangs: end it, so that the next call gets a fresh one. In its own task, because this one ends with it.
            let provider = self.clone();
            self.ground
                .tasks
                .spawn(async move { provider.stop_one(StopReason::Unhealthy, Duration::ZERO, false).await });
        }
    }

    /// READY or DEGRADED, as it is.
    fn show_health(&self, core: &mut Core) {
        match (core.state, core.unwell.told().is_some()) {
            (ProviderState::Degraded, false) => drop(self.step(core, StateEvent::HealthRestored)),
            (ProviderState::Ready, true) => drop(self.step(core, StateEvent::HealthFailed)),
            _ => {}
        }
    }

    /// Fetches a list again when the upstream says that it changed; one that it fails to give until it does.
    pub(super) async fn keep_catalogue(self: Arc<Self>, upstream: Arc<Upstream>) {
        let (mut owed, mut tries) = (ListKinds::default(), 0);
        loop {
            let first = if owed.is_empty() {
                upstream.news.changed_lists().await
            } else {
                tokio::select! {
                    changed = upstream.news.changed_lists() => changed.and(owed),
                    () = tokio::time::sleep(back_off(tries)) => owed,
                }
            };
            if first.renewed() {
                self.tell_log_level();
                self.tell_started();
            }
            tokio::time::sleep(LIST_DEBOUNCE).await;
            // What was flagged meanwhile is fetched by the next round.
            let mut next = self.catalogue().map(|c| Catalogue::clone(&c)).unwrap_or_default();
            let mut wrong = None;
            owed = ListKinds::default();
            for listing in Listing::ALL {
                if !first.has(ListKind::of(listing)) {
                    continue;
                }
                match handshake::list(&upstream, &next.hello, listing, self.spec.call_timeout).await {
                    Ok(listed) => next.put(listing, listed),
                    Err(error) => {
                        tracing::warn!(provider = %self.name, list = listing.method(), %error, "catalogue_refresh_failed");
                        owed = owed.and(ListKinds::of(ListKind::of(listing)));
                        wrong = Some(format!("its {} cannot be fetched: {}", listing.method(), error.cause()));
                    }
                }
            }
            tries = if wrong.is_some() { tries + 1 } else { 0 };
            // Before it is said to be healthy again.
            self.learned(next);
            let mut core = self.core();
            core.unwell.catalogue = wrong;
            self.show_health(&mut core);
        }
    }

    /// Tells the live instance what the clients want to hear of.
    pub fn tell_log_level(&self) {
        if let (Some(upstream), Some(catalogue)) = (self.live(), self.catalogue()) {
            self.send_log_level(&upstream, &catalogue);
        }
    }

    /// What its clients want to hear of.
    pub(super) fn wanted_level(&self) -> Option<&'static str> {
        match &self.owner {
            Some(owner) => owner.client.as_ref()?.log_level(),
            None => *self.ground.log_level.borrow(),
        }
    }

    /// Gives the level that there is, whether this upstream logs or not.
    pub(super) fn send_log_level(&self, upstream: &Arc<Upstream>, catalogue: &Catalogue) -> Option<&'static str> {
        let level = self.wanted_level()?;
        // A modern upstream hears it with each request.
        if upstream.era() == Era::Legacy
            && catalogue.hello.has(&["logging"])
            && let Ok(call) = upstream.request("logging/setLevel", format!(r#"{{"level":"{level}"}}"#).as_bytes())
        {
            // Nobody waits for it: levels are filtered towards each client in any case.
            self.lives.spawn(call.answer(PROBE_TIMEOUT));
        }
        Some(level)
    }

    /// A catalogue came in; tells upwards what changed and writes it down.
    pub(super) fn learned(&self, catalogue: Catalogue) {
        if let Some(owner) = &self.owner {
            return self.learned_alone(owner, catalogue);
        }
        let known = self.catalogue.load_full();
        let same = known.as_deref() == Some(&catalogue);
        let catalogue = Arc::new(catalogue);
        self.catalogue.store(Some(catalogue.clone()));
        if same {
            return;
        }
        if self.in_force.load(Ordering::Relaxed) {
            self.ground.catalogue_news.send_modify(|news| {
                let Some(before) = known else {
                    news.learned += 1;
                    return;
                };
                let changed = |listing| before.list(listing) != catalogue.list(listing);
                news.tools += u64::from(changed(Listing::Tools));
                news.prompts += u64::from(changed(Listing::Prompts));
                news.resources += u64::from(changed(Listing::Resources) || changed(Listing::Templates));
            });
        }
        self.ground.telemetry.emit(Event::CatalogueChanged {
            provider: self.name.to_string(),
            tools: catalogue.tools.len(),
            prompts: catalogue.prompts.len(),
            resources: catalogue.resources.len() + catalogue.templates.len(),
        });
        let (memory, digest, name) = (self.ground.memory.clone(), self.digest.clone(), self.name.clone());
        self.ground.tasks.spawn_blocking(move || {
            if let Err(error) = memory.remember(&digest, &catalogue) {
                tracing::warn!(provider = %name, %error, "catalogue_not_remembered");
            }
        });
    }

    /// Starts it unless it runs. Clears back-off and DEAD: somebody asked for it by name.
    pub async fn start(self: &Arc<Self>) -> Result<(), CallError> {
        self.forgive();
        self.be_ready().await
    }

    /// Starts a candidate without waiting for the slot of its name. It stands in line for the slot all the same, behind
    /// the instance it is to replace and before every later one.
    pub async fn start_beside(self: &Arc<Self>) -> Result<(), CallError> {
        self.core().beside = true;
        self.start().await
    }

    /// Waits until a connection that was found closed is known to be, so that the next lease is one of a fresh instance.
    pub async fn closed_is_seen(&self) {
        let mut changes = self.state.subscribe();
        // Not seen in this time: the next attempt will tell.
        let _ = tokio::time::timeout(CLOSE_SEEN, changes.wait_for(|state| !state.serves())).await;
    }

    /// Asks the live instance whether it answers; the time it took.
    pub async fn probe_now(&self) -> Option<Result<Duration, CallError>> {
        let own = futures_util::future::join_all(self.instances().iter().map(|own| own.probe_one())).await;
        let probed = own.into_iter().chain([self.probe_one().await]).flatten();
        // One that fails is what matters, else the slowest.
        probed.reduce(|one, other| match (one, other) {
            (Ok(one), Ok(other)) => Ok(one.max(other)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        })
    }

    async fn probe_one(&self) -> Option<Result<Duration, CallError>> {
        let upstream = self.live()?;
        let began = Instant::now();
        Some(probe(&upstream, PROBE_TIMEOUT).await.map(|()| began.elapsed()))
    }
}

/// Any answer is a sign of life, an error too: not every server knows `ping`.
async fn probe(upstream: &std::sync::Arc<Upstream>, within: Duration) -> Result<(), CallError> {
    upstream.request(negotiation::sign_of_life(upstream.era()), b"")?.answer(within).await.map(drop)
}
