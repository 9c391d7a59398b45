//! What a reload costs with a thousand providers, measured on the library: no-op, load and diff, plan and commit, and the
//! merged list of a hundred providers. Nothing is started: every provider is cold.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::watch};

use hangar::{
    config::{self, Dotenv, Loaded},
    provider::{Catalogue, CatalogueMemory, Ground, Hello, Item, Listing, TaskIds, digest},
    registry::{Index, Registry, Snapshot},
    reload::{Plan, ReloadHandle, ReloadOptions, Reloader, Trigger, plan},
    telemetry::Telemetry,
    transport::Marker,
    wire::shallow,
};

const MANY: usize = 1000;
const LISTED: usize = 100;
const TOOLS: usize = 20;

/// A configuration on disk. `changed`: the providers before this number have another environment.
fn yaml(count: usize, changed: usize, comment: &str) -> String {
    let one = |n| {
        let size = if n < changed { 11 } else { 10 };
        format!(
            "  provider-{n:04}:\n    command: [sh, -c, \"exec server-{n}\"]\n    args: [--fast, --port, \"{n}\"]\n    \
             env: {{POOL_SIZE: \"{size}\", TOKEN: \"abc{n}\"}}\n    idle_ttl_s: 600\n    description: \"Provider {n}\"\n"
        )
    };
    format!("# {comment}\nproviders:\n{}", (0..count).map(one).collect::<String>())
}

/// Written long ago: taken at once, as a file at rest is.
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let hour = Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - hour).unwrap();
}

/// A gateway without fronts, booted from `config.yaml` in a directory of its own.
struct Gateway {
    home: TempDir,
    runtime: Runtime,
    registry: Arc<Registry>,
    reload: ReloadHandle,
    _running: watch::Sender<bool>,
}

impl Gateway {
    fn boot(text: &str, remember: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.yaml");
        write(&path, text);
        let memory = CatalogueMemory::new(remember.then(|| home.path().join("catalogues")));
        if remember {
            let specs = config::load(&path).unwrap().config.providers;
            specs.values().for_each(|spec| memory.remember(&digest(spec), &catalogue()).unwrap());
        }
        let marker = Marker { instance: "bench".into(), generation: "bench".into() };
        let registry = Registry::new(Ground::new(marker, Telemetry::new(), memory, TaskIds::kept_in(None)).0);
        let (running, stop) = watch::channel(false);
        let (reloader, reload) = Reloader::new(registry.clone(), &path, Dotenv::default(), |_| {}, stop);
        let runtime = Runtime::new().unwrap();
        runtime.spawn(reloader.run());
        let gateway = Self { home, runtime, registry, reload, _running: running };
        gateway.reload(Trigger::Boot);
        gateway
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("config.yaml")
    }

    fn reload(&self, trigger: Trigger) -> usize {
        let report = self.runtime.block_on(self.reload.reload(trigger, ReloadOptions::default())).unwrap();
        report.providers_unchanged.len()
    }
}

fn catalogue() -> Catalogue {
    let tool = |n| {
        let text = format!(
            r#"{{"name":"tool_{n}","description":"Does what number {n} does.","inputSchema":{{"type":"object","properties":{{"path":{{"type":"string"}},"limit":{{"type":"integer"}}}}}}}}"#
        );
        let text = Bytes::from(text);
        Item::read(&text, shallow::root(&text).unwrap(), Listing::Tools).unwrap()
    };
    let hello = Hello {
        protocol_version: "2025-11-25".into(),
        capabilities: Bytes::from_static(br#"{"tools":{}}"#),
        server_info: Bytes::from_static(br#"{"name":"bench","version":"1"}"#),
        instructions: None,
        both: false,
    };
    Catalogue { hello, tools: (0..TOOLS).map(tool).collect(), ..Catalogue::default() }
}

fn no_op(c: &mut Criterion) {
    let gateway = Gateway::boot(&yaml(MANY, 0, "a"), false);
    let mut group = c.benchmark_group("reload of 1000 providers");
    group.bench_function("same bytes (target 5 ms)", |b| {
        b.iter(|| assert_eq!(gateway.reload(Trigger::Sighup), MANY));
    });
    group.bench_function("another comment (target 5 ms)", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for n in 0..iterations {
                write(&gateway.config(), &yaml(MANY, 0, &format!("comment {n}")));
                let began = Instant::now();
                assert_eq!(gateway.reload(Trigger::Sighup), MANY);
                took += began.elapsed();
            }
            took
        });
    });
    let load = || config::load(&gateway.config()).unwrap();
    group.bench_function("of it, load: read, parse, normalise, validate", |b| b.iter(load));
    let (now, next) = (load().config, load().config);
    group.bench_function("of it, diff", |b| b.iter(|| config::diff(black_box(&now), black_box(&next))));
    group.finish();
}

/// Plan and store, against the snapshot that boot has put in force.
fn commit(c: &mut Criterion) {
    let gateway = Gateway::boot(&yaml(MANY, 0, "a"), false);
    let now = gateway.registry.snapshot();
    let mut group = c.benchmark_group("plan and commit of 1000 providers");
    for (name, changed) in [("1 changed (target 1 ms)", 1), ("all changed", MANY)] {
        let path = gateway.home.path().join("next.yaml");
        write(&path, &yaml(MANY, changed, "a"));
        let loaded = config::load(&path).unwrap();
        let diff = config::diff(&now.config, &loaded.config);
        assert_eq!(diff.updated.len(), changed);
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| planned(&gateway, &now, &loaded, &diff)).sum());
        });
    }
    group.finish();
}

fn planned(gateway: &Gateway, now: &Snapshot, loaded: &Loaded, diff: &config::ConfigDiff) -> Duration {
    let began = Instant::now();
    let Plan { next, retire, fresh } = plan(&gateway.registry, now, loaded, diff, 2);
    gateway.registry.commit(next);
    let took = began.elapsed();
    drop((retire, fresh));
    took
}

fn index(c: &mut Criterion) {
    let gateway = Gateway::boot(&yaml(LISTED, 0, "a"), true);
    let snapshot = gateway.registry.snapshot();
    let build = || Index::build(&snapshot, Default::default(), &[], hangar::provider::Provider::catalogue);
    assert_eq!(build().list(Listing::Tools).count, LISTED * TOOLS);
    c.bench_function("index of 100 providers with 20 tools each", |b| b.iter(build));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = no_op, commit, index
}
criterion_main!(benches);
