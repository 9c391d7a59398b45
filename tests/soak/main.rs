//! Everything that clients, providers and operators do, for a long time: nothing that should not fail does, and what the gateway
//! holds comes back to what it was.
//!
//! `make soak` for two hours in the release build (`HANGAR_SOAK_S`); otherwise a short run. A warm-up, a quiet time whose figures
//! are the baseline, the load, and a quiet time again. Samples: `HANGAR_SOAK_OUT`, by default `target/tmp/soak.jsonl`.

mod client;
#[path = "../support/gateway.rs"]
mod gateway;
mod load;
mod reloads;
#[path = "../support/remote_process.rs"]
mod remote_process;
mod sample;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway::{Gateway, Home, UNWATCHED};
use load::Rig;
use reloads::Wanted;
use remote_process::Remote;
use sample::{Log, Sample};

const SHORT_S: u64 = 12;
/// Longer than an idle connection to a remote server is kept.
const PATIENCE: Duration = Duration::from_secs(150);

/// Providers of `Home::provider` that no reload touches: those that never idle are what is left of children in a quiet time.
const STEADY: [(&str, &[&str], &str); 8] = [
    ("still0", &[], "idle_ttl_s: 0"),
    ("still1", &[], "idle_ttl_s: 0"),
    ("newer", &["--era", "modern"], "idle_ttl_s: 0"),
    ("both", &["--era", "both"], "idle_ttl_s: 3, health_check_interval_s: 1"),
    ("member0", &[], "idle_ttl_s: 0"),
    ("member1", &[], "idle_ttl_s: 2"),
    ("now_and_then", &[], "idle_ttl_s: 1"),
    ("own", &[], "sharing: session, idle_ttl_s: 3, max_instances: 64"),
];
const NEVER_IDLE: usize = 4;

struct Times {
    load: Duration,
    warm_up: Duration,
    /// Between two samples.
    step: Duration,
    /// So long everything has to stay as it is to be a baseline. Threads for blocking work live for 10 s.
    still: Duration,
}

impl Times {
    fn wanted() -> Self {
        let load = std::env::var("HANGAR_SOAK_S").ok().and_then(|s| s.parse().ok()).unwrap_or(SHORT_S);
        let (step, still) = if load > 60 { (10, 15) } else { (1, 4) };
        let seconds = Duration::from_secs;
        Self { load: seconds(load), warm_up: seconds((load / 3).min(300)), step: seconds(step), still: seconds(still) }
    }
}

/// A session that is silent for so long is forgotten.
const SESSION_IDLE: Duration = Duration::from_secs(4);

#[test]
fn soak_all_that_is_held_comes_back() {
    let times = Times::wanted();
    let home = Home::new();
    fs::create_dir(home.path("audit")).unwrap();
    fs::create_dir(home.path("run/hangar")).unwrap();
    let remotes = [Remote::start(&["--resources"]), Remote::start(&["--era", "modern", "--answer", "sse"])];
    let lifetime = (times.load + times.warm_up + Duration::from_secs(600)).as_secs().to_string();
    let fixed = fixed(&home, &lifetime, &remotes);
    let wanted = Wanted::new(fixed, settings(&home), lifetime);
    home.put(&wanted.text(&home));
    let mut gateway = Gateway::spawn_options(&home, &["--http", "--port", "0"]);
    gateway.wait_for_log("gateway_started");
    let log = gateway.log();
    let address = log.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().parse().unwrap();

    let rig = Arc::new(Rig::new(home.clone(), address, wanted));
    let out = std::env::var_os("HANGAR_SOAK_OUT")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("soak.jsonl"), PathBuf::from);
    let mut log = Log::new(&out);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pid = gateway.pid();
    let before = runtime.block_on(async {
        load_for("warm-up", times.warm_up, &rig, &mut log, pid, &times).await;
        quiet(&rig, &mut log, pid, &times).await
    });
    rig.zero();
    let began = Instant::now();
    runtime.block_on(load_for("load", times.load, &rig, &mut log, pid, &times));
    let took = began.elapsed();
    let after = runtime.block_on(back_to(before, &rig, &mut log, pid));
    report(&rig, &log, before, after, took);
    assert!(gateway.exited().is_none());
    rig.assert_good(took);
    assert_same(&log, before, after, times.load);
    gateway.stop();
    for (name, ..) in STEADY {
        if name != "own" {
            home.assert_never_two(name);
        }
        home.assert_starts_equal_stops(name);
    }
    assert!(home.start_count("falls") > 2, "it hardly fell");
    for (name, _, keys) in STEADY {
        if keys.contains("idle_ttl_s: 0") {
            assert_eq!(home.start_count(name), 1, "{name} is the same process all the time");
        }
    }
}

fn fixed(home: &Home, lifetime: &str, remotes: &[Remote; 2]) -> String {
    let steady = STEADY.iter().map(|(name, args, keys)| {
        let args: Vec<&str> = args.iter().copied().chain(["--lifetime", lifetime]).collect();
        home.provider(name, &args, keys)
    });
    // Ends by itself, with code 99, for as long as there are calls.
    let falls = home.provider("falls", &["--lifetime", "7"], "idle_ttl_s: 4, max_consecutive_failures: 1000000");
    steady
        .chain([falls, remotes[0].provider("far0", ", idle_ttl_s: 3"), remotes[1].provider("far1", ", idle_ttl_s: 3")])
        .collect()
}

fn settings(home: &Home) -> String {
    let audit = home.path("audit/audit.jsonl");
    format!(
        "{UNWATCHED}server: {{session_idle_s: {}}}\naudit: {{file: {}, max_size: 1m, keep: 2}}\n",
        SESSION_IDLE.as_secs(),
        audit.display()
    )
}

/// The load, with samples; all of it has ended after that, and the configuration is what it was.
async fn load_for(phase: &str, time: Duration, rig: &Arc<Rig>, log: &mut Log, pid: u32, times: &Times) {
    let running = load::begin(rig);
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        tokio::time::sleep(left.min(times.step)).await;
        log.take(phase, pid, &rig.figures());
    }
    running.end().await;
}

/// Waits until nothing changes any more.
async fn quiet(rig: &Rig, log: &mut Log, pid: u32, times: &Times) -> Sample {
    let key = |sample: &Sample| (sample.fds, sample.threads, sample.children);
    let (began, mut since, mut last) = (Instant::now(), Instant::now(), Sample::of(pid));
    while since.elapsed() < times.still || last.children != NEVER_IDLE {
        assert!(began.elapsed() < PATIENCE, "it does not come to rest: {last:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = log.take("quiet", pid, &rig.figures());
        if key(&now) != key(&last) {
            since = Instant::now();
        }
        last = now;
    }
    last
}

/// Waits until the gateway holds no more than before, or for as long as that may take.
async fn back_to(before: Sample, rig: &Rig, log: &mut Log, pid: u32) -> Sample {
    let began = Instant::now();
    loop {
        let now = log.take("after", pid, &rig.figures());
        let back = now.fds <= before.fds && now.threads <= before.threads && now.children == before.children;
        if back || began.elapsed() > PATIENCE {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn report(rig: &Rig, log: &Log, before: Sample, after: Sample, took: Duration) {
    let percent = |ticks: u64| ticks as f64 / took.as_secs_f64();
    eprintln!("load: {}", rig.figures());
    eprintln!("before: {before:?}\nafter:  {after:?}");
    eprintln!(
        "over {:.0} s: gateway {:.1} % of a core, what it started and has ended {:.1} %",
        took.as_secs_f64(),
        percent(after.cpu - before.cpu),
        percent(after.children_cpu - before.children_cpu)
    );
    eprintln!(
        "slope over the second half: RSS {:.0} kiB/h, anonymous {:.0} kiB/h; under load RSS {:?} kiB, fds {:?}, threads {:?}",
        log.slope(|sample| sample.rss),
        log.slope(|sample| sample.anonymous),
        log.range(|sample| sample.rss),
        log.range(|sample| sample.fds as u64),
        log.range(|sample| sample.threads as u64),
    );
}

fn assert_same(log: &Log, before: Sample, after: Sample, load: Duration) {
    assert!(after.fds <= before.fds, "descriptors: {before:?} {after:?}");
    assert!(after.threads <= before.threads, "threads: {before:?} {after:?}");
    assert_eq!(after.children, before.children, "children: {before:?} {after:?}");
    // malloc keeps what it has had; a leak of 100 bytes a call is 100 MB after two hours, and 200 kB after a short run.
    let room = before.rss / 4 + 8 * 1024;
    assert!(after.rss <= before.rss + room, "memory: {before:?} {after:?}");
    // Under an hour the noise is larger than any slope that says something.
    if load >= Duration::from_secs(3600) {
        let slope = log.slope(|sample| sample.anonymous);
        assert!(slope < 4096.0, "memory grows by {slope:.0} kiB an hour");
    }
}
