//! The one task that changes what is in force. Boot is its first reload, from the empty snapshot.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::{
    DotenvReport, ReloadError, ReloadOptions, ReloadReport, Trigger, fragments,
    loading::{self, LoadRefusal, LoadResult, Order, What},
    plan::{self, Plan},
    retire,
    source::{self, Outcome},
};
use crate::{
    config::{self, Config, Dotenv, DotenvRead, Loaded, Problem, Sources},
    provider::Provider,
    registry::{Registry, Snapshot},
    telemetry::{Event, StopReason},
};

/// Requests that may wait; one more is told to come again.
const QUEUE: usize = 64;

pub type ReloadResult = Result<ReloadReport, ReloadError>;

enum Request {
    Reload(Wanted),
    Load(Order),
}

struct Wanted {
    trigger: Trigger,
    options: ReloadOptions,
    reply: oneshot::Sender<ReloadResult>,
}

/// Asks for reloads; knows how the last one went.
#[derive(Clone)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    path: PathBuf,
    dotenv: Dotenv,
    pub(super) registry: Arc<Registry>,
    last: Mutex<Option<LastReload>>,
    /// What the load in force took from the `.env` file.
    variables: Mutex<DotenvRead>,
    /// What the last attempt was about; I/O failures do not move it.
    attempted: watch::Sender<Sources>,
    pub(super) retirements: TaskTracker,
}

/// For `status`: the last run that was no dry run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LastReload {
    pub time: String,
    pub status: &'static str,
    pub requested_by: Trigger,
    pub generation: u64,
    pub message: Option<String>,
    /// Of the last run that succeeded; of fragments that are wrong, too.
    pub warnings: Vec<String>,
    /// Dotted keys that wait for a restart, as of the last run that succeeded.
    pub restart_required: Vec<&'static str>,
}

pub struct Reloader {
    requests: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    /// The configuration that the process was started with: what needs a restart is told against this one.
    booted: Option<Arc<Config>>,
    /// The load that the current snapshot was made from.
    in_force: Option<Loaded>,
    apply: Box<dyn Fn(&Config) + Send>,
    /// Becomes true when the gateway stops.
    stop: watch::Receiver<bool>,
}

impl Reloader {
    /// `path`: the config file. `dotenv`: where variables come from that the process has not. `apply`: puts settings outside of `providers` in force (the log level).
    /// `stop`: becomes true when the gateway stops.
    pub fn new(
        registry: Arc<Registry>,
        path: &Path,
        dotenv: Dotenv,
        apply: impl Fn(&Config) + Send + 'static,
        stop: watch::Receiver<bool>,
    ) -> (Self, ReloadHandle) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            dotenv,
            registry,
            last: Mutex::default(),
            variables: Mutex::default(),
            attempted: watch::Sender::new(Sources::default()),
            retirements: TaskTracker::new(),
        });
        let handle = ReloadHandle { requests: sender, shared: shared.clone() };
        (Self { requests, shared, booted: None, in_force: None, apply: Box::new(apply), stop }, handle)
    }

    /// Until the gateway stops; then retires everything.
    pub async fn run(mut self) {
        let dotenv = self.shared.dotenv.now();
        let (file, source) = (dotenv.path.as_ref().map(|path| path.display().to_string()), dotenv.source());
        tracing::info!(path = %self.shared.path.display(), dotenv = file, dotenv_source = source, "config_reload_worker_started");
        loop {
            let first = tokio::select! {
                biased;
                // Resolves when the gateway stops, or its `main` is gone.
                _ = self.stop.wait_for(|stop| *stop) => break,
                request = self.requests.recv() => request,
            };
            let Some(first) = first else { break };
            self.serve(first).await;
        }
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            match request {
                Request::Reload(wanted) => drop(wanted.reply.send(Err(self.shared.stopping(wanted.trigger)))),
                Request::Load(order) => drop(order.reply.send(Err(LoadRefusal::stopping()))),
            }
        }
        retire::retire_all(&self.shared.registry.snapshot()).await;
        self.shared.retirements.close();
        self.shared.retirements.wait().await;
    }

    /// `first` and everything that waits behind it: one run for all that ask for the same.
    async fn serve(&mut self, first: Request) {
        let (mut waiting, mut loads) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Reload(wanted) => waiting.push(wanted),
                Request::Load(order) => loads.push(order),
            }
            next = self.requests.try_recv().ok();
        }
        while let Some(head) = waiting.first() {
            let (options, trigger) = (head.options, head.trigger);
            let (served, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|r| r.options == options);
            waiting = rest;
            let result = self.run_once(trigger, options).await;
            for request in served {
                let mut result = result.clone();
                match &mut result {
                    Ok(report) => report.requested_by = request.trigger,
                    Err(error) => error.requested_by = request.trigger,
                }
                // A requester that went away needs no answer.
                let _ = request.reply.send(result);
            }
        }
        loads.into_iter().for_each(|order| loading::serve(&self.shared, order));
    }

    async fn run_once(&mut self, trigger: Trigger, options: ReloadOptions) -> ReloadResult {
        let began = Instant::now();
        let ReloadOptions { graceful, dry_run, verify } = options;
        let registry = self.shared.registry.clone();
        let telemetry = registry.ground.telemetry.clone();
        let generation = registry.snapshot().generation;
        if !dry_run {
            let requested_by = trigger.as_str();
            let event = Event::ConfigurationReloadRequested { requested_by, generation, graceful, dry_run, verify };
            telemetry.emit(event);
        }
        let outcome = source::load_stable(&self.shared.path, &self.shared.dotenv, self.in_force.as_ref()).await;
        if !dry_run {
            self.shared.remember_attempt(&outcome);
        }
        let result = match outcome {
            Ok(loaded) => self.put_in_force(loaded, trigger, options, began).await,
            Err(error) => Err(self.shared.load_refusal(trigger, *error)),
        };
        if !dry_run {
            self.shared.account(&result, trigger, began);
        }
        result
    }

    async fn put_in_force(
        &mut self,
        loaded: Loaded,
        trigger: Trigger,
        options: ReloadOptions,
        began: Instant,
    ) -> ReloadResult {
        let registry = self.shared.registry.clone();
        let now = registry.snapshot();
        let wanted = fragments::wanted(&now, &loaded);
        let clashes = loading::clashes(&now, &loaded, &wanted);
        if !clashes.is_empty() {
            return Err(self.shared.clash_refusal(trigger, clashes, loaded.sha256));
        }
        let diff = config::diff(&now.config, &loaded.config);
        let changed = *now.config != loaded.config || wanted.changes_something() || now.generation == 0;
        let generation = now.generation + u64::from(changed);
        let plan = plan::plan_with(&registry, &now, &loaded, &diff, &wanted, generation);
        let mut report = ReloadReport::of(&wanted.with(&diff), trigger);
        report.name_owners(&wanted.owners);
        report.config_sha256 = loaded.sha256.clone();
        report.warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        report.warnings.extend(wanted.remarks);
        report.warnings.extend(loading::remarks(&now, &loaded.config));
        let before = self.in_force.as_ref().map(|loaded| &loaded.dotenv);
        report.dotenv = DotenvReport::of(before, &loaded.dotenv, options.dry_run);
        // What is in force at boot is in force whole.
        let booted = self.booted.as_ref().map(|booted| config::diff(booted, &loaded.config).restart_required);
        report.restart_required = booted.unwrap_or_default();
        if options.verify {
            let verified = tokio::select! {
                verified = verify(&plan.fresh) => verified.map_err(|problems| {
                    self.shared.verify_refusal(trigger, problems, loaded.sha256.clone())
                }),
                _ = self.stop.wait_for(|stop| *stop) => Err(self.shared.stopping(trigger)),
            };
            if let Err(refusal) = verified {
                discard(&self.shared.retirements, plan.fresh);
                return Err(refusal);
            }
        }
        if options.dry_run {
            discard(&self.shared.retirements, plan.fresh);
            report.dry_run = true;
            report.generation = now.generation;
            report.duration_ms = milliseconds(began);
            return Ok(report);
        }
        let relist = report.changes_something() || now.config.server != loaded.config.server;
        self.commit(plan, loaded, &mut report, options.graceful, began);
        if changed && relist {
            registry.announce();
        }
        Ok(report)
    }

    fn commit(&mut self, plan: Plan, loaded: Loaded, report: &mut ReloadReport, graceful: bool, began: Instant) {
        let Plan { next, retire, fresh } = plan;
        report.generation = next.generation;
        self.booted.get_or_insert_with(|| next.config.clone());
        fresh.iter().for_each(|provider| provider.put_in_force());
        self.shared.registry.commit(next);
        fresh.iter().filter(|provider| provider.live().is_some()).for_each(|provider| provider.tell_started());
        report.duration_ms = milliseconds(began);
        report.dotenv.tell();
        if report.requested_by != Trigger::Boot {
            report.warnings.iter().for_each(|warning| tracing::warn!(warning, "configuration_warning"));
        }
        (self.apply)(&loaded.config);
        *self.shared.variables.lock().unwrap_or_else(PoisonError::into_inner) = loaded.dotenv.clone();
        self.in_force = Some(loaded);
        // The watch reads its settings again.
        self.shared.attempted.send_modify(|_| {});
        report.draining = retire::retire(&self.shared.retirements, retire, graceful);
    }
}

/// Starts every candidate beside the instance it is to replace; all problems, in order of their names.
async fn verify(fresh: &[Arc<Provider>]) -> Result<(), Vec<Problem>> {
    let starts = fresh.iter().map(|provider| async move {
        let error = provider.start_beside().await.err()?;
        Some(Problem {
            code: "HGR0801",
            path: format!("providers.{}", provider.name),
            place: None,
            message: error.to_string(),
            help: Some("the running configuration stays in force; mend the provider, or reload without verify".into()),
        })
    });
    let problems: Vec<_> = join_all(starts).await.into_iter().flatten().collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Candidates that will not be in force.
fn discard(tasks: &TaskTracker, fresh: Vec<Arc<Provider>>) {
    let candidates = fresh.into_iter().map(|provider| (provider, StopReason::Removed)).collect();
    retire::retire(tasks, candidates, false);
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

impl ReloadHandle {
    /// Answered by a run that began after this call.
    pub async fn reload(&self, trigger: Trigger, options: ReloadOptions) -> ReloadResult {
        let (reply, answer) = oneshot::channel();
        let stopping = || self.shared.stopping(trigger);
        self.requests.send(Request::Reload(Wanted { trigger, options, reply })).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Puts a provider in service that the file defines and keeps out of it. `by`: who asks.
    pub async fn load(&self, name: &str, by: &str) -> LoadResult {
        self.order(What::Load, name, by).await
    }

    /// Takes one out of service that was put there so.
    pub async fn unload(&self, name: &str, by: &str) -> LoadResult {
        self.order(What::Unload, name, by).await
    }

    async fn order(&self, what: What, name: &str, by: &str) -> LoadResult {
        let (reply, answer) = oneshot::channel();
        let order = Order { what, name: name.to_owned(), by: by.into(), reply };
        self.requests.send(Request::Load(order)).await.map_err(|_| LoadRefusal::stopping())?;
        answer.await.map_err(|_| LoadRefusal::stopping())?
    }

    pub fn last(&self) -> Option<LastReload> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the load in force took from the `.env` file.
    pub fn variables(&self) -> DotenvRead {
        self.shared.variables.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The config file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    pub(super) fn attempted(&self) -> watch::Receiver<Sources> {
        self.shared.attempted.subscribe()
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.registry.snapshot()
    }
}

impl Shared {
    /// What could not be read has not been tried; and a dry run tries nothing, or a change that somebody looked at first
    /// would never be applied by the watch.
    fn remember_attempt(&self, outcome: &Outcome) {
        if source::was_read(outcome) {
            self.attempted.send_replace(source::sources(outcome).clone());
        }
    }

    fn stopping(&self, requested_by: Trigger) -> ReloadError {
        self.refusal(requested_by, "shutdown", "the gateway is shutting down")
    }

    fn refusal(&self, requested_by: Trigger, stage: &'static str, message: &str) -> ReloadError {
        let now = self.registry.snapshot();
        ReloadError {
            status: "failed",
            stage,
            message: message.to_owned(),
            problems: Vec::new(),
            generation: now.generation,
            config_sha256: now.sha256.clone(),
            requested_by,
        }
    }

    fn load_refusal(&self, trigger: Trigger, error: config::LoadError) -> ReloadError {
        let count = error.problems.len();
        let first = error.problems.first().map(ToString::to_string).unwrap_or_default();
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let message = format!("the running configuration stays in force: {first}{more}");
        let refusal = self.refusal(trigger, error.stage, &message);
        ReloadError { problems: error.problems, config_sha256: error.sha256, ..refusal }
    }

    fn clash_refusal(&self, trigger: Trigger, problems: Vec<Problem>, config_sha256: String) -> ReloadError {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let message = format!("the running configuration stays in force: {first}");
        ReloadError { problems, config_sha256, ..self.refusal(trigger, "validate", &message) }
    }

    fn verify_refusal(&self, trigger: Trigger, problems: Vec<Problem>, config_sha256: String) -> ReloadError {
        let names: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let message = format!("the running configuration stays in force: {} did not start", names.join(", "));
        ReloadError { problems, config_sha256, ..self.refusal(trigger, "verify", &message) }
    }

    fn account(&self, result: &ReloadResult, trigger: Trigger, began: Instant) {
        let (duration, requested_by) = (began.elapsed(), trigger.as_str());
        let event = match result {
            Ok(report) => Event::ConfigurationReloaded {
                requested_by,
                generation: report.generation,
                config_sha256: report.config_sha256.clone(),
                providers_added: report.providers_added.clone(),
                providers_removed: report.providers_removed.clone(),
                providers_updated: report.providers_updated.clone(),
                unchanged: report.providers_unchanged.len(),
                groups_added: report.groups_added.clone(),
                groups_removed: report.groups_removed.clone(),
                groups_updated: report.groups_updated.clone(),
                duration,
            },
            Err(error) => Event::ConfigurationReloadFailed {
                requested_by,
                generation: error.generation,
                config_sha256: error.config_sha256.clone(),
                stage: error.stage,
                message: error.message.clone(),
                duration,
            },
        };
        self.registry.ground.telemetry.emit(event);
        let mut slot = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (restart_required, warnings) = match (result, slot.take()) {
            (Ok(report), _) => (report.restart_required.clone(), report.warnings.clone()),
            (Err(_), before) => before.map(|before| (before.restart_required, before.warnings)).unwrap_or_default(),
        };
        *slot = Some(LastReload {
            time: jiff::Timestamp::now().to_string(),
            status: if result.is_ok() { "success" } else { "failed" },
            requested_by: trigger,
            generation: self.registry.snapshot().generation,
            message: result.as_ref().err().map(|error| error.message.clone()),
            restart_required,
            warnings,
        });
    }
}
