//! Leases, retirement, slot and lives under every order of events that shuttle comes up with. Everything is real but the
//! instance: a number instead of a process, that is born and ends in a few steps.
//!
//! `make interleavings` (`HANGAR_INTERLEAVINGS`: how many); a deadlock is a failure, too, and means a wake-up that was lost.

use std::{
    cell::RefCell,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use shuttle::{
    future::{block_on, spawn, yield_now},
    rand::{Rng, thread_rng},
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    config::{ProviderName, ProviderSpec},
    provider::{
        Catalogue, CatalogueMemory, Ground, Owner, Slots, TaskIds,
        birth::Stillborn,
        handshake,
        negotiation::{self, Opening},
        news::UpstreamNews,
        upstream::Ear,
    },
    telemetry::Telemetry,
    transport::{ExitCause, Link, Marker, TransportError},
};

const LONG: Duration = Duration::from_secs(600);

thread_local! {
    /// Of the order that is being tried: all of its tasks run on one thread.
    static SCENE: RefCell<Arc<Scene>> = RefCell::default();
}

#[derive(Default)]
struct Scene {
    born: Mutex<Vec<Arc<Body>>>,
    live: AtomicUsize,
    /// A stop may cut calls.
    cuts: AtomicBool,
    /// Addresses of providers of which no instance may be born any more.
    over: Mutex<Vec<usize>>,
}

/// One instance.
#[derive(Default)]
struct Body {
    /// That hold a lease of it.
    calls: AtomicUsize,
    closed: CancellationToken,
    crash: CancellationToken,
    gone: AtomicBool,
}

struct Wire {
    number: u32,
    body: Arc<Body>,
}

fn scene() -> Arc<Scene> {
    SCENE.with_borrow(Arc::clone)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(provider: &Arc<Provider>) -> usize {
    Arc::as_ptr(provider) as usize
}

/// A few turns of everybody else.
async fn steps() {
    for _ in 0..thread_rng().gen_range(0..3) {
        yield_now().await;
    }
}

// === impl Scene ===

impl Scene {
    fn bear(&self, provider: &Arc<Provider>) -> Connection {
        assert_eq!(self.live.fetch_add(1, SeqCst), 0, "two instances of a name");
        assert!(!locked(&self.over).contains(&address(provider)), "a retired provider has started");
        let body = Arc::new(Body::default());
        let mut born = locked(&self.born);
        born.push(body.clone());
        let link = Arc::new(Wire { number: u32::try_from(born.len()).unwrap_or(u32::MAX), body: body.clone() });
        let exit = async move {
            tokio::select! { () = body.closed.cancelled() => {}, () = body.crash.cancelled() => {} }
            steps().await;
            body.gone.store(true, SeqCst);
            scene().live.fetch_sub(1, SeqCst);
            Exit { cause: ExitCause::Closed, rung: None }
        };
        Connection { link, died: Box::pin(pending()), exit: Box::pin(exit) }
    }

    fn body(&self, number: Option<u32>) -> Arc<Body> {
        let at = number.and_then(|number| usize::try_from(number).ok()).expect("an instance has a number");
        locked(&self.born)[at - 1].clone()
    }
}

impl Link for Wire {
    fn send(&self, _: Bytes, _: Option<u64>) -> Result<(), TransportError> {
        Ok(())
    }

    fn abandon(&self, _: u64) {}

    fn negotiated(&self, _: &str) {}

    fn close(&self, _: Close) {
        let spared = self.body.calls.load(SeqCst) == 0 || self.body.crash.is_cancelled();
        assert!(spared || scene().cuts.load(SeqCst), "a call in flight was cut");
        self.body.closed.cancel();
    }

    fn pid(&self) -> Option<u32> {
        Some(self.number)
    }
}

impl Provider {
    pub(super) async fn bring_up(
        self: &Arc<Self>,
        _: Opening,
    ) -> Result<(Connection, Arc<Upstream>, Catalogue), Stillborn> {
        let called_off = |connection| Err(Stillborn { failure: None, connection, of_probe: false });
        tokio::select! {
            () = steps() => {}
            () = self.called_off() => return called_off(None),
        }
        let connection = scene().bear(self);
        let news = Arc::new(UpstreamNews::new(self.name.clone(), self.audience(), self.ground.updates.clone()));
        let (output, telemetry, ids) =
            (self.output.clone(), self.ground.telemetry.clone(), self.ground.task_ids.clone());
        let upstream = Upstream::new(self.name.clone(), self.client_end(), output, telemetry, news, ids);
        upstream.connect(connection.link.clone());
        tokio::select! {
            () = steps() => Ok((connection, upstream, Catalogue::default())),
            () = self.called_off() => called_off(Some(connection)),
        }
    }
}

// === the stage ===

fn ground() -> Arc<Ground> {
    let marker = Marker { instance: "shuttle".into(), generation: "shuttle".into() };
    Ground::new(marker, Telemetry::new(), CatalogueMemory::new(None), TaskIds::kept_in(None)).0
}

fn spec() -> Arc<ProviderSpec> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.yaml");
    let keys =
        "mode: remote, endpoint: 'http://127.0.0.1:1/', idle_ttl_s: 0, health_check_interval_s: 0, max_concurrency: 0";
    std::fs::write(&path, format!("providers: {{p: {{{keys}}}}}\n")).expect("a file");
    let loaded = crate::config::load(&path).expect("a configuration");
    loaded.config.providers.values().next().expect("a provider").clone()
}

/// Two generations of one name.
struct Stage {
    scene: Arc<Scene>,
    old: Arc<Provider>,
    new: Arc<Provider>,
}

impl Stage {
    /// Plays it in as many orders as are wanted.
    fn explore(play: impl Fn(Stage) + Send + Sync + 'static) {
        let rounds = std::env::var("HANGAR_INTERLEAVINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
        // Nobody drives it: timers that are begun never fire, and no time passes.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let (ground, spec) = (ground(), spec());
        let play = move || {
            let scene = Arc::new(Scene::default());
            SCENE.set(scene.clone());
            let slots = Slots::default();
            let name = ProviderName::new("p").expect("a name");
            let provider = || {
                let made = Provider::new(Owner::Config, name.clone(), spec.clone(), slots.of(&name), ground.clone());
                // Nothing to write down.
                made.catalogue.store(Some(Arc::new(Catalogue::default())));
                made
            };
            let (old, new) = (provider(), provider());
            play(Stage { scene, old, new });
        };
        shuttle::check_random(play, rounds);
    }

    /// Retires what there is, and looks at what is left.
    async fn end(self) {
        for provider in [&self.old, &self.new] {
            provider.stop(StopReason::Removed, LONG, true).await;
            locked(&self.scene.over).push(address(provider));
        }
        for provider in [&self.old, &self.new] {
            let refused = provider.lease(LONG).await.map(drop);
            assert!(matches!(refused, Err(CallError::Retired { .. })), "{refused:?}");
        }
        assert_eq!(self.scene.live.load(SeqCst), 0, "starts are not stops");
        assert!(locked(&self.scene.born).iter().all(|body| body.gone.load(SeqCst)));
    }
}

/// Two calls, each of the first of these that is in force.
async fn call(providers: Vec<Arc<Provider>>) {
    for _ in 0..2 {
        for provider in &providers {
            match provider.lease(LONG).await {
                Ok(lease) => {
                    let body = scene().body(lease.upstream.pid());
                    body.calls.fetch_add(1, SeqCst);
                    steps().await;
                    body.calls.fetch_sub(1, SeqCst);
                    provider.answered();
                    drop(lease);
                    break;
                }
                Err(CallError::Retired { .. }) => {}
                // The start that it waited for was called off by the stop, or what was started has crashed by now.
                Err(CallError::NotStarted { cause, .. }) if scene().cuts.load(SeqCst) => {
                    assert!(cause.contains("called off") || cause == "it was closed", "{cause}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn interleavings_of_calls_and_a_retirement() {
    Stage::explore(|stage| {
        let both = || vec![stage.old.clone(), stage.new.clone()];
        let calls = [spawn(call(both())), spawn(call(both()))];
        let (old, scene) = (stage.old.clone(), stage.scene.clone());
        let retirement = spawn(async move {
            steps().await;
            old.stop(StopReason::Updated, LONG, true).await;
            locked(&scene.over).push(address(&old));
        });
        block_on(async {
            for task in calls.into_iter().chain([retirement]) {
                task.await.expect("a task ends");
            }
            stage.end().await;
        });
    });
}

#[test]
fn interleavings_of_calls_stops_and_a_crash() {
    Stage::explore(|stage| {
        stage.scene.cuts.store(true, SeqCst);
        let calls = [spawn(call(vec![stage.old.clone()])), spawn(call(vec![stage.old.clone()]))];
        let (old, scene) = (stage.old.clone(), stage.scene.clone());
        let stops = spawn(async move {
            steps().await;
            old.stop(StopReason::Requested, Duration::ZERO, false).await;
        });
        let crash = spawn(async move {
            steps().await;
            let last = locked(&scene.born).last().cloned();
            last.iter().for_each(|body| body.crash.cancel());
        });
        block_on(async {
            for task in calls.into_iter().chain([stops, crash]) {
                task.await.expect("a task ends");
            }
            stage.end().await;
        });
    });
}
