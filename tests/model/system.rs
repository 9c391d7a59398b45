//! The real thing: a registry and its reloader on a file of their own, child processes under their shims, leases that tasks hold.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use hangar::{
    config::Dotenv,
    provider::{CallError, CatalogueMemory, Ground, Provider, TaskIds},
    registry::Registry,
    reload::{ReloadHandle, ReloadOptions, ReloadReport, Reloader, Trigger},
    telemetry::{StopReason, Telemetry},
    transport::{Marker, set_shim_executable},
};
use proptest_state_machine::StateMachineTest;
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::reference::{Call, Edit, Event, Fate, IDLE, Model, NAMES};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for a process to start that must not.
const WRONGLY: Duration = Duration::from_millis(15);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    set_shim_executable(env!("CARGO_BIN_EXE_hangar"));
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

pub struct System {
    home: TempDir,
    registry: Arc<Registry>,
    reload: ReloadHandle,
    running: watch::Sender<bool>,
    reloader: JoinHandle<()>,
    held: Vec<Held>,
    /// Whatever was in force once and is not any more, with how often it had been started then.
    retired: Vec<Arc<Provider>>,
    /// The model before the event.
    before: Model,
}

/// A lease that a task holds.
struct Held {
    pid: u32,
    /// `None`: it has been told.
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Held {
    fn tell(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

/// Takes a lease and holds it until it is told. Gives the pid of the instance.
async fn hold(provider: Arc<Provider>, leased: oneshot::Sender<Result<u32, CallError>>, end: oneshot::Receiver<()>) {
    match provider.lease(SOON).await {
        Ok(lease) => {
            let _ = leased.send(lease.upstream.pid().ok_or(CallError::Retired { provider: provider.name.clone() }));
            // As an answer does it.
            provider.answered();
            let _ = end.await;
            drop(lease);
        }
        Err(error) => drop(leased.send(Err(error))),
    }
}

fn begin(provider: Arc<Provider>) -> (oneshot::Receiver<Result<u32, CallError>>, oneshot::Sender<()>, JoinHandle<()>) {
    let ((leased, lease), (end, ended)) = (oneshot::channel(), oneshot::channel());
    (lease, end, RUNTIME.spawn(hold(provider, leased, ended)))
}

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the process is the one of this version.
fn is_version(pid: u32, version: u32) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.contains(&format!("--version\0{version}\0"))
}

// === impl System ===

impl System {
    fn boot() -> Self {
        let home = tempfile::Builder::new().prefix("hangar-model-").tempdir().unwrap();
        let marker = Marker { instance: "model".into(), generation: "model".into() };
        let memory = CatalogueMemory::new(None);
        let registry = Registry::new(Ground::new(marker, Telemetry::new(), memory, TaskIds::kept_in(None)).0);
        let (running, stop) = watch::channel(false);
        let path = home.path().join("config.yaml");
        let (reloader, reload) = Reloader::new(registry.clone(), &path, Dotenv::default(), |_| {}, stop);
        let reloader = RUNTIME.spawn(reloader.run());
        let (held, retired, before) = (Vec::new(), Vec::new(), Model { generation: 1, ..Model::default() });
        let system = Self { home, registry, reload, running, reloader, held, retired, before };
        system.put(&[None; 3], "");
        RUNTIME.block_on(system.reload.reload(Trigger::Boot, ReloadOptions::default())).unwrap();
        system
    }

    fn log(&self, name: usize) -> PathBuf {
        self.home.path().join(NAMES[name])
    }

    fn put(&self, file: &[Option<u32>; 3], more: &str) {
        let provider = |(name, version): (usize, &Option<u32>)| {
            let (log, idle) = (self.log(name), if name == IDLE { 0.03 } else { 0.0 });
            let version = (*version)?;
            Some(format!(
                "  {}: {{command: [{}, --lifetime, '100', --log-starts, {}, --version, '{version}'], idle_ttl_s: {idle}, \
                 drain_timeout_s: 60, health_check_interval_s: 0, protocol: legacy}}\n",
                NAMES[name],
                env!("CARGO_BIN_EXE_hangar-test-provider"),
                log.display()
            ))
        };
        let providers: String = file.iter().enumerate().filter_map(provider).collect();
        let text = if providers.is_empty() { "providers: {}\n".to_owned() } else { format!("providers:\n{providers}") };
        let mut file = File::create(self.home.path().join("config.yaml")).unwrap();
        file.write_all((text + more).as_bytes()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    fn provider(&self, name: usize) -> Arc<Provider> {
        self.registry.provider(NAMES[name]).unwrap_or_else(|| panic!("{} is in force", NAMES[name]))
    }

    /// The reload that leads to `after`, and whatever `meanwhile` begins when it is asked for.
    fn reload<T>(&mut self, after: &Model, graceful: bool, meanwhile: impl FnOnce() -> T) -> T {
        let (old, before) = (self.registry.snapshot(), self.before.clone());
        self.put(&after.file, &format!("# {}\n", after.generation));
        let options = ReloadOptions { graceful, ..ReloadOptions::default() };
        let reload = self.reload.clone();
        let asked = RUNTIME.spawn(async move { reload.reload(Trigger::Cli, options).await });
        let begun = meanwhile();
        let report =
            RUNTIME.block_on(async { timeout(SOON, asked).await }).expect("a reload waits for nobody").unwrap();
        check_report(&report.unwrap(), &before, after);
        let new = self.registry.snapshot();
        for (at, name) in NAMES.into_iter().enumerate() {
            let (old, new) = (old.providers.get(name), new.providers.get(name));
            let same = old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new));
            let unchanged = before.file[at].is_some() && before.file[at] == after.file[at];
            assert_eq!(same, unchanged, "{name}: the same object when and only when nothing has changed");
            assert_eq!(new.is_some(), after.file[at].is_some());
            if let (Some(old), false) = (old, same) {
                self.retired.push(old.clone());
            }
        }
        begun
    }

    /// A call, to its end. Gives nothing; it has to be served by that version.
    fn call(&self, name: usize, version: u32) {
        let (lease, end, task) = begin(self.provider(name));
        let pid = RUNTIME.block_on(async { timeout(SOON, lease).await }).expect("a call is served").unwrap();
        let pid = pid.unwrap_or_else(|error| panic!("{}: {error}", NAMES[name]));
        assert!(is_version(pid, version) || !lives(pid), "{pid} is not version {version} of {}", NAMES[name]);
        let _ = end.send(());
        RUNTIME.block_on(task).unwrap();
    }

    fn end(&mut self, at: usize, call: &Call) {
        let mut held = self.held.remove(at);
        match call.fate {
            Fate::Running | Fate::Draining => {
                assert!(lives(held.pid) && is_version(held.pid, call.version), "{call:?} has lost its instance");
            }
            Fate::Cut => wait_until("what was cut is gone", || !lives(held.pid)),
        }
        held.tell();
        RUNTIME.block_on(held.task).unwrap();
    }

    fn crash(&self, name: usize) {
        let provider = self.provider(name);
        let Some(pid) = provider.status().pid else { return };
        let raw = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        let _ = rustix::process::kill_process(raw, rustix::process::Signal::KILL);
        wait_until("the end is seen", || !provider.state().serves() || provider.status().pid != Some(pid));
        wait_until("it is gone", || !lives(pid));
        // What it could not write itself, unless it was ending anyway.
        let text = fs::read_to_string(self.log(name)).unwrap_or_default();
        if !text.contains(&format!("stop {pid}\n")) {
            let mut log = File::options().append(true).open(self.log(name)).unwrap();
            writeln!(log, "stop {pid}").unwrap();
        }
    }

    /// Fails if two instances of a name have lived at the same time. `at_rest`: or if one lives now.
    fn check_log(&self, name: usize, at_rest: bool) {
        let text = fs::read_to_string(self.log(name)).unwrap_or_default();
        // Ended by a signal before they had written that they began.
        let mut unborn = BTreeSet::new();
        let mut live = None;
        for line in text.lines() {
            let (word, pid) = line.split_once(' ').unwrap();
            match (word, live) {
                ("stop", None) => drop(unborn.insert(pid)),
                ("start", None) if unborn.contains(pid) => {}
                ("start", None) => live = Some(pid),
                ("stop", Some(running)) if running == pid => live = None,
                _ => panic!("{}: lives overlap:\n{text}", NAMES[name]),
            }
        }
        assert!(live.is_none() || !at_rest, "{}: starts are not stops:\n{text}", NAMES[name]);
    }
}

fn check_report(report: &ReloadReport, before: &Model, after: &Model) {
    let named = |fits: fn(Option<u32>, Option<u32>) -> bool| {
        let both = before.file.into_iter().zip(after.file);
        let mut names: Vec<_> =
            NAMES.into_iter().zip(both).filter(|(_, (old, new))| fits(*old, *new)).map(|(n, _)| n).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(report.providers_added, named(|old, new| old.is_none() && new.is_some()));
    assert_eq!(report.providers_removed, named(|old, new| old.is_some() && new.is_none()));
    assert_eq!(report.providers_updated, named(|old, new| old.is_some() && new.is_some() && old != new));
    assert_eq!(report.providers_unchanged, named(|old, new| old.is_some() && old == new));
    assert_eq!(report.generation, after.generation);
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self::boot()
    }

    fn apply(mut system: Self, after: &Model, event: Event) -> Self {
        let before = system.before.clone();
        let version = |name: usize| before.file[name].unwrap_or_default();
        match event {
            Event::Reload { graceful, .. } => system.reload(after, graceful, || ()),
            Event::Invalid => {
                let old = system.registry.snapshot();
                system.put(&before.file, "broken: [\n");
                let refused = RUNTIME.block_on(system.reload.reload(Trigger::Cli, ReloadOptions::default()));
                assert_eq!(refused.map(|_| ()).map_err(|error| error.generation), Err(before.generation));
                assert!(Arc::ptr_eq(&old, &system.registry.snapshot()), "a refused reload has moved something");
            }
            Event::Race { name, edit } => {
                assert_ne!(edit, Edit::Keep);
                let provider = system.provider(name);
                let (lease, end, task) = system.reload(after, true, || begin(provider));
                match RUNTIME
                    .block_on(async { timeout(SOON, lease).await })
                    .expect("a call is served or refused")
                    .unwrap()
                {
                    Ok(pid) => assert!(is_version(pid, version(name)) || !lives(pid)),
                    Err(CallError::Retired { .. }) => {}
                    Err(error) => panic!("neither served nor refused: {error}"),
                }
                let _ = end.send(());
                RUNTIME.block_on(task).unwrap();
            }
            Event::Call(name) => system.call(name, version(name)),
            Event::Begin(name) => {
                let (lease, end, task) = begin(system.provider(name));
                let pid =
                    RUNTIME.block_on(async { timeout(SOON, lease).await }).expect("a call is served").unwrap().unwrap();
                assert!(is_version(pid, version(name)));
                system.held.push(Held { pid, end: Some(end), task });
            }
            Event::End(call) => system.end(call, &before.calls[call]),
            Event::Handover(name) => {
                let (mut lease, end, task) = begin(system.provider(name));
                std::thread::sleep(WRONGLY);
                assert!(lease.try_recv().is_err(), "two instances of {} at the same time", NAMES[name]);
                for at in (0..before.calls.len()).rev() {
                    if before.calls[at].name == name && before.calls[at].fate == Fate::Draining {
                        system.end(at, &before.calls[at]);
                    }
                }
                let pid =
                    RUNTIME.block_on(async { timeout(SOON, lease).await }).expect("its turn comes").unwrap().unwrap();
                assert!(is_version(pid, version(name)) || !lives(pid));
                let _ = end.send(());
                RUNTIME.block_on(task).unwrap();
            }
            Event::Start(name) => {
                let provider = system.provider(name);
                let started = RUNTIME.block_on(async { timeout(SOON, provider.start()).await });
                started.expect("a start ends").unwrap();
                provider.answered();
            }
            Event::Stop(name) => {
                let provider = system.provider(name);
                let stopped = provider.stop(StopReason::Requested, Duration::ZERO, false);
                RUNTIME.block_on(async { timeout(SOON, stopped).await }).expect("a stop ends");
            }
            Event::Crash(name) => system.crash(name),
            Event::Pause => std::thread::sleep(Duration::from_millis(40)),
        }
        // A call whose instance has ended has its error, and holds nothing any more.
        let cut = system.held.iter_mut().zip(&after.calls).filter(|(_, call)| call.fate == Fate::Cut);
        cut.for_each(|(held, _)| held.tell());
        system.before = after.clone();
        system
    }

    fn check_invariants(system: &Self, model: &Model) {
        assert_eq!(system.registry.snapshot().generation, model.generation);
        (0..NAMES.len()).for_each(|name| system.check_log(name, false));
        for (held, call) in system.held.iter().zip(&model.calls) {
            assert!(call.fate == Fate::Cut || lives(held.pid), "{call:?} has lost its instance");
        }
        for provider in &system.retired {
            let leased =
                RUNTIME.block_on(async { timeout(SOON, provider.lease(SOON)).await.map(|lease| lease.map(drop)) });
            assert!(matches!(leased, Ok(Err(CallError::Retired { .. }))), "{} is retired: {leased:?}", provider.name);
        }
    }

    fn teardown(mut system: Self, model: Model) {
        for call in model.calls.iter().rev() {
            system.end(system.held.len() - 1, call);
        }
        let _ = system.running.send(true);
        RUNTIME.block_on(async { timeout(SOON, &mut system.reloader).await }).expect("everything ends").unwrap();
        (0..NAMES.len()).for_each(|name| system.check_log(name, true));
    }
}
