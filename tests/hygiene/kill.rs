//! kill -9 of the gateway at random moments, with every kind of provider and every kind of descendant.

use std::{
    collections::BTreeSet,
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Dice,
    engine::Engine,
    gateway::{Being, Gateway, Home, PROVIDER, SOON, Signal, eventually, json, ms},
    long_run, rounds,
};

const GRACE: f64 = 0.4;
const TERM: f64 = 0.3;
const STUBBORN: [&str; 10] = [
    "--ignore-eof",
    "--ignore-term",
    "--grandchild",
    "plain,stubborn",
    "--grandchild",
    "setsid,stubborn",
    "--grandchild",
    "double-fork,stubborn",
    "--grandchild",
    "cleared-env,stubborn",
];

/// Providers of every kind, all of them as stubborn as can be. Those whose names begin with `c` are containers.
struct Family {
    home: Arc<Home>,
    engine: Option<Engine>,
    /// Ends the names of the containers' providers: their keepers are found by it.
    mark: String,
    stop: String,
}

impl Family {
    fn new(stop: &str) -> Self {
        let mark = format!("{}x{:x}", std::process::id(), Instant::now().elapsed().subsec_nanos());
        Self { home: Home::new(), engine: Engine::bring(), mark, stop: stop.to_owned() }
    }

    fn providers(&self, version: u64) -> String {
        let (stop, version) = (&self.stop, version.to_string());
        let arguments = [&STUBBORN[..], &["--version", &version]].concat();
        let pids = |name: &str| self.home.path(&format!("logs/{name}.pids")).display().to_string();
        let mut all = self.home.provider("sub", &arguments, stop);
        // As `npx` does it: npm, sh, server; the shell has more to do, so that it stays.
        let inner = [&[PROVIDER, "--lifetime", "120", "--pids", &pids("npx")], &arguments[..]].concat().join(" ");
        let argv = json!(["sh", "-c", format!("sh -c '{inner}; true'; true")]);
        all += &format!("  npx: {{command: {argv}, {stop}}}\n");
        if let Some(engine) = &self.engine {
            let of_container = ["--ignore-eof", "--ignore-term", "--version", &version];
            all += &engine.provider(&format!("cbox{}", self.mark), &of_container, stop);
            let image = engine.image.as_str();
            let run = ["docker", "run", "-i", "--rm", image, "--lifetime", "120"];
            let argv = json!([&run[..], &of_container].concat());
            all += &format!("  crun{}: {{command: {argv}, {stop}}}\n", self.mark);
        }
        all
    }

    /// What gateways keep in the runtime directory: sockets, records, locks.
    fn files(&self) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(self.home.path("run/hangar")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn started_anybody(&self) -> bool {
        fs::read_dir(self.home.path("logs"))
            .unwrap()
            .flatten()
            .any(|entry| entry.metadata().is_ok_and(|about| about.len() > 0))
    }

    /// Living processes of this home's gateways: whose they are (`true`: of a container), and what they are.
    fn living(&self) -> Vec<(bool, String)> {
        let root = self.home.path("").display().to_string();
        let mut found = Vec::new();
        for pid in fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ).into_owned();
            let keeper = line.contains("__keeper") && line.contains(&self.mark);
            let ours = environ.contains(&root) && environ.contains("HANGAR_GENERATION=");
            if (keeper || ours) && Being::of(pid).is_some() {
                found.push((keeper || environ.contains("HANGAR_PROVIDER=c"), format!("{pid} {line}")));
            }
        }
        // What cleared its environment has written itself down.
        let logs = fs::read_dir(self.home.path("logs")).unwrap().flatten().map(|entry| entry.path());
        let beings: BTreeSet<_> = logs
            .filter(|path| path.extension().is_some_and(|e| e == "pids"))
            .flat_map(|file| crate::gateway::processes::recorded(&file))
            .collect();
        found.extend(beings.into_iter().filter(|b| b.lives()).map(|b| (false, format!("{b:?}"))));
        found
    }

    fn listening(&self) -> Vec<String> {
        let root = self.home.path("").display().to_string();
        let all = fs::read_to_string("/proc/net/unix").unwrap();
        all.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
    }

    /// Times after the kill at which processes, and containers with what belongs to them, were gone.
    fn assert_nothing_left(&self, ladder: Duration, what: &str) -> (Duration, Duration) {
        let start = Instant::now();
        let limit = ladder + Duration::from_secs(1);
        loop {
            let left: Vec<_> = self.living().into_iter().filter(|(of_container, _)| !of_container).collect();
            if left.is_empty() {
                break;
            }
            assert!(start.elapsed() < limit, "{what}: after {:?}: {left:#?}", start.elapsed());
            thread::sleep(ms(10));
        }
        let processes = start.elapsed();
        assert_eq!(self.listening(), Vec::<String>::new(), "{what}");
        let limit = ladder.max(Duration::from_secs(1)) + Duration::from_secs(10);
        loop {
            let containers = self.engine.as_ref().map_or(0, |engine| engine.containers(&self.home).len());
            let left = self.living();
            if containers == 0 && left.is_empty() {
                return (processes, start.elapsed());
            }
            assert!(
                start.elapsed() < limit,
                "{what}: {containers} containers and {left:#?} after {:?}",
                start.elapsed()
            );
            thread::sleep(ms(50));
        }
    }
}

/// When the gateway is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Starting,
    Calling,
    Stopping,
    Ending,
    Reloading,
}

const MOMENTS: [Moment; 5] = [Moment::Starting, Moment::Calling, Moment::Stopping, Moment::Ending, Moment::Reloading];

fn round(number: u64, dice: &mut Dice) -> (Duration, Duration) {
    let moment = MOMENTS[usize::try_from(number).unwrap() % MOMENTS.len()];
    let family = Family::new(&format!("stop: {{grace_s: {GRACE}, term_s: {TERM}}}"));
    let mut gateway = Gateway::start(&family.home, &family.providers(0));
    let warm = gateway.client.start_tool("hangar_warm", json!({}));
    let wait = |most: u64, dice: &mut Dice| {
        let time = ms(dice.roll(most));
        thread::sleep(time);
        time
    };
    let waited = if matches!(moment, Moment::Starting) {
        wait(900, dice)
    } else {
        let started = warm.wait();
        assert_eq!(started["result"]["isError"], false, "{started}");
        let sleeping = gateway.client.start_tool("sub__sleep", json!({"ms": 60_000}));
        eventually("the call runs", SOON, || (gateway.provider("sub")["calls_in_flight"] == 1).then_some(()));
        match moment {
            Moment::Stopping => {
                for name in ["npx".to_owned(), format!("cbox{}", family.mark), format!("crun{}", family.mark)] {
                    gateway.client.start_tool("hangar_stop", json!({"provider": name}));
                }
            }
            Moment::Ending => gateway.signal(Signal::TERM),
            Moment::Reloading => {
                family.home.put(&crate::gateway::config(&family.providers(1), crate::gateway::UNWATCHED));
                gateway.client.start_tool("hangar_reload_config", json!({"graceful": dice.roll(2) == 0}));
                gateway.client.start_tool("hangar_warm", json!({}));
            }
            Moment::Starting | Moment::Calling => {}
        }
        drop(sleeping);
        wait(1500, dice)
    };
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    let gone = family.assert_nothing_left(
        Duration::from_secs_f64(GRACE + TERM),
        &format!("round {number}, {moment:?}, {waited:?} into it"),
    );
    // Whoever outlived it has cleared its files away, too; of one that was killed before it had started anybody the next
    // gateway does.
    if family.started_anybody() {
        eventually("no socket is left", ms(1500), || family.files().is_empty().then_some(()));
    } else {
        Gateway::start(&family.home, "").stop();
        assert!(family.files().is_empty(), "{:?}", family.files());
    }
    gone
}

#[test]
fn storm_kill_9_at_random_moments() {
    let rounds = rounds(5);
    let mut dice = Dice(0x5eed_0003);
    let start = Instant::now();
    let (mut processes, mut containers) = (Duration::ZERO, Duration::ZERO);
    for number in 0..rounds {
        let (first, second) = round(number as u64, &mut dice);
        (processes, containers) = (processes.max(first), containers.max(second));
    }
    eprintln!(
        "{rounds} x kill -9: 0 processes within {processes:?}, 0 containers within {containers:?} (ladder {} s); {:?} in all",
        GRACE + TERM,
        start.elapsed()
    );
}

/// The default ladder of 10 s and 9 s, to its end. Takes 20 s: only in the long run.
#[test]
fn storm_kill_9_with_the_full_ladder() {
    if !long_run() {
        eprintln!("left out: it takes 20 s (HANGAR_STORM is not set)");
        return;
    }
    let family = Family::new("stop: {grace_s: 10, term_s: 9}");
    let mut gateway = Gateway::start(&family.home, &family.providers(0));
    gateway.client.tool("hangar_warm", json!({}));
    gateway.signal(Signal::KILL);
    let killed = Instant::now();
    gateway.wait_exit(SOON);
    thread::sleep(Duration::from_secs(18) - killed.elapsed());
    let waiting = family.living();
    assert!(waiting.iter().any(|(of_container, _)| !of_container), "the ladder was cut short: {waiting:#?}");
    let ladder = Duration::from_secs(19) - killed.elapsed();
    let (processes, containers) = family.assert_nothing_left(ladder, "the full ladder");
    eprintln!(
        "full ladder: processes gone {:?}, containers {:?} after the kill",
        processes + Duration::from_secs(18),
        containers + Duration::from_secs(18)
    );
}
