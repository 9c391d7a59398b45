//! One row: a gateway with a provider `faulty` and its neighbours under load, what the calls of the faulty one get, and how soon.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    gateway::{Client, Gateway, Home, SOON, UNWATCHED, Value, eventually, json, ms},
    load::{Load, Neighbours, memory},
};

/// A neighbour's call that takes longer than this was disturbed, and not by the machine.
const SANE: Duration = ms(3000);
/// More memory than this is growth. Floods go through buffers of some 100 KiB, oversize lines through some of 16 MiB.
const GROWTH_KIB: u64 = 64 * 1024;
/// Descriptors that may be open later for reasons of their own: kept-alive connections.
const SPARE_FDS: usize = 12;

pub const CHAOS: &str = env!("CARGO_BIN_EXE_hangar-test-chaos");
/// What the faulty one has beside its command.
const KEYS: [&str; 5] = [
    "stop: {grace_s: 0.2, term_s: 0.2}",
    "startup_timeout_s: 2",
    "call_timeout_s: 1",
    "max_consecutive_failures: 3",
    "circuit_breaker: {reset_timeout_s: 1}",
];

pub struct Row {
    name: &'static str,
    fault: &'static str,
    pub home: Arc<Home>,
    pub gateway: Gateway,
    pub client: Arc<Client>,
    load: Option<Load>,
    _neighbours: Neighbours,
    fds: usize,
    told: Value,
    /// How long until it was told, and the most that it may be.
    detected: Option<(Duration, Duration)>,
    again: Option<Duration>,
    growth: u64,
    notes: Vec<String>,
}

/// How a call of the faulty one must fail.
pub struct Told {
    /// `data.error`, `data.fault`.
    pub error: &'static str,
    pub fault: &'static str,
    /// In its message.
    pub says: &'static [&'static str],
    pub within: Duration,
}

/// Milliseconds of a flood, and of the load beside any fault: `HANGAR_FAULTS_S` makes it last.
pub fn flood_ms() -> u64 {
    env::var("HANGAR_FAULTS_S").ok().and_then(|seconds| seconds.parse::<u64>().ok()).map_or(1000, |s| s * 1000)
}

/// The chaos program as the faulty provider; how it starts is told by [`Row::at_start`].
pub fn chaos(home: &Home, keys: &str) -> String {
    let argv = json!([CHAOS, home.path("logs/fault")]);
    format!("  faulty: {{command: {argv}, {}}}\n", with_usual(keys))
}

/// With those of the usual keys that it does not have.
pub fn with_usual(keys: &str) -> String {
    let lacks = |usual: &&str| usual.split_once(": ").is_some_and(|(key, _)| !keys.contains(&format!("{key}:")));
    let usual: Vec<&str> = KEYS.into_iter().filter(lacks).collect();
    format!("{}, {keys}", usual.join(", "))
}

impl Row {
    /// `faulty`: its line of YAML.
    pub fn begin(name: &'static str, fault: &'static str, faulty: impl FnOnce(&Home) -> String) -> Self {
        Self::begin_with(name, fault, "", faulty, &[])
    }

    pub fn begin_with(
        name: &'static str,
        fault: &'static str,
        settings: &str,
        faulty: impl FnOnce(&Home) -> String,
        variables: &[(&str, &str)],
    ) -> Self {
        let (home, neighbours) = (Home::new(), Neighbours::start());
        let providers = faulty(&home) + &neighbours.yaml(&home);
        home.put(&crate::gateway::config(&providers, &format!("{UNWATCHED}{settings}")));
        let mut gateway = Gateway::spawn_in(&home, &home.config(), &[], variables);
        gateway.client.initialize(json!({}));
        // The load calls beside the test.
        let unused = Client::new(std::io::sink(), std::io::empty());
        let client = Arc::new(std::mem::replace(&mut gateway.client, unused));
        let load = Load::begin(&client, gateway.pid());
        let fds = open(gateway.pid());
        Self {
            name,
            fault,
            home,
            gateway,
            client,
            load: Some(load),
            _neighbours: neighbours,
            fds,
            told: Value::Null,
            detected: None,
            again: None,
            growth: GROWTH_KIB,
            notes: Vec::new(),
        }
    }

    /// What the chaos program does when it is started from now on; empty: nothing wrong.
    pub fn at_start(&self, fault: &str) {
        fs::write(self.home.path("logs/fault"), fault).unwrap();
    }

    pub fn send(&self, fault: &str) -> crate::gateway::Pending {
        self.client.start_tool("faulty__t", json!({"do": fault}))
    }

    /// The text of the answer of the faulty one, which is well: the pid of a chaos program.
    pub fn works(&self) -> String {
        self.client.text("faulty__t", json!({}))
    }

    /// This many calls in flight that get no answer.
    pub fn hanging(&self, calls: usize) -> Vec<crate::gateway::Pending> {
        let calls = (0..calls).map(|_| self.send("hang")).collect();
        eventually("they are in flight", SOON, || (self.in_flight() >= 1).then_some(()));
        calls
    }

    fn in_flight(&self) -> u64 {
        let list = self.client.structured("hangar_list", json!({}));
        let found = list["providers"].as_array().unwrap().iter().find(|p| p["provider"] == "faulty").cloned();
        found.and_then(|faulty| faulty["calls_in_flight"].as_u64()).unwrap_or_default()
    }

    /// It is seen to be out of service, without a call that would start it again.
    pub fn is_ended(&self, why: &str) {
        self.gateway.wait_for_log(why);
        eventually("it is ended", SOON, || {
            let list = self.client.structured("hangar_list", json!({}));
            let mut found = list["providers"].as_array().unwrap().iter().filter(|p| p["provider"] == "faulty");
            found.all(|faulty| matches!(faulty["state"].as_str(), Some("cold" | "dead"))).then_some(())
        });
    }

    /// The fault comes with a call, which fails so; and so do those in flight.
    pub fn fails(&mut self, fault: &str, others: Vec<crate::gateway::Pending>, told: &Told) {
        let began = Instant::now();
        let mut calls = vec![self.send(fault)];
        calls.extend(others);
        self.fail(began, calls, told);
    }

    /// Each of these calls fails so; the row keeps what the first was told, and when the last was.
    pub fn fail(&mut self, began: Instant, calls: Vec<crate::gateway::Pending>, told: &Told) {
        for call in calls {
            let answer = call.wait();
            self.check(&answer, told);
        }
        self.detected(began.elapsed(), told.within);
    }

    pub fn check(&mut self, answer: &Value, told: &Told) {
        let (error, data) = (&answer["error"], &answer["error"]["data"]);
        assert_eq!(error["code"], -32050, "{answer}");
        let kind = (&data["error"], &data["fault"], &data["provider"]);
        assert_eq!(kind, (&json!(told.error), &json!(told.fault), &json!("faulty")), "{answer}");
        let message = error["message"].as_str().unwrap();
        for says in told.says.iter().chain(&["\"faulty\""]) {
            assert!(message.contains(says), "no {says:?} in: {message}");
        }
        if self.told.is_null() {
            self.told = json!({"message": message, "error": told.error, "fault": told.fault});
        }
    }

    pub fn detected(&mut self, took: Duration, within: Duration) {
        assert!(took < within, "{}: told after {took:?}, not within {within:?}", self.name);
        self.detected.get_or_insert((took, within));
    }

    /// No call of the faulty one has to fail: what is done about it is all there is to tell.
    pub fn says(&mut self, what: &str) {
        if self.told.is_null() {
            self.told = json!({"message": what});
        }
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Memory that it may take.
    pub fn may_take(&mut self, kib: u64) {
        self.growth = kib;
    }

    /// The fault is over: from now on until a call is answered.
    pub fn serves_again(&mut self) {
        let began = Instant::now();
        eventually("the faulty one serves again", SOON, || {
            self.send("").within(SOON).filter(|answer| answer["result"].is_object())
        });
        self.again = Some(began.elapsed());
    }

    pub fn end(mut self) {
        let seen = self.load.take().unwrap().end(ms(flood_ms() * 7 / 10));
        assert!(seen.failed.is_empty(), "{} of {} calls: {}", seen.failed.len(), seen.calls, seen.failed[0]);
        assert!(seen.calls >= 20, "only {} calls", seen.calls);
        assert!(seen.worst < SANE, "a neighbour's call took {:?}", seen.worst);
        let (before, most) = seen.resident;
        assert!(most < before + self.growth, "{before} KiB before, {most} KiB at most");
        let pid = self.gateway.pid();
        eventually("the descriptors are closed again", SOON, || (open(pid) <= self.fds + SPARE_FDS).then_some(()));
        let line = json!({
            "name": self.name, "fault": self.fault, "told": self.told,
            "detected_ms": self.detected.map(|(took, _)| millis(took)),
            "within_ms": self.detected.map(|(_, within)| millis(within)),
            "calls": seen.calls, "failed": seen.failed.len(), "worst_ms": millis(seen.worst),
            "again_ms": self.again.map(millis), "before_kib": before, "most_kib": most.max(memory(pid, "VmHWM")),
            "notes": self.notes,
        });
        write(&line);
        self.gateway.stop();
    }
}

/// What was measured, where `make faults` wants it.
pub fn write(row: &Value) {
    eprintln!("{row}");
    if let Some(file) = env::var_os("HANGAR_FAULTS") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(format!("{row}\n").as_bytes()).unwrap();
    }
}

pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

pub fn open(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map(|entries| entries.count()).unwrap_or_default()
}
