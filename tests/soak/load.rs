//! The load: each task is a kind of client, and looks at what it gets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, NO_ANSWER, Outcome, Piped, heard, request, said},
    gateway::Home,
    reloads::{MOVING, Wanted},
};

/// Providers whose calls never fail.
const ALWAYS: [&str; 7] = ["still0", "still1", "newer", "both", "far0", "far1", "team"];
/// Calls of each kind of client that must have gone well, a second, at least.
const FLOORS: [(&str, f64); 13] = [
    ("call", 20.0),
    ("modern call", 2.0),
    ("connect call", 2.0),
    ("large", 0.2),
    ("progress", 0.2),
    ("cancelled", 0.2),
    ("vanished", 0.2),
    ("abandoned", 0.2),
    ("own", 0.05),
    ("subscription", 0.05),
    ("listing", 0.2),
    ("observed", 0.1),
    ("reload", 0.1),
];

pub struct Rig {
    pub home: Arc<Home>,
    address: SocketAddr,
    wanted: Wanted,
    nonce: AtomicU64,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Vec<String>>,
}

pub struct Running {
    rig: Arc<Rig>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

pub fn begin(rig: &Arc<Rig>) -> Running {
    let mut running = Running { rig: rig.clone(), stop: CancellationToken::new(), tasks: JoinSet::new() };
    for n in 0..8 {
        running.add(move |rig, stop| async move { rig.calls(n, stop).await });
    }
    for n in 0..2 {
        running.add(move |rig, stop| async move { rig.modern_calls(n, stop).await });
    }
    running.add(|rig, stop| async move { rig.piped(stop).await });
    running.add(|rig, stop| async move { rig.every(20.0, "connect left", stop, Rig::piped_and_killed).await });
    running.add(|rig, stop| async move { rig.every(2.0, "large", stop, Rig::large).await });
    running.add(|rig, stop| async move { rig.every(0.5, "progress", stop, Rig::progress).await });
    running.add(|rig, stop| async move { rig.every(0.5, "cancelled", stop, Rig::cancel).await });
    running.add(|rig, stop| async move { rig.every(0.5, "vanished", stop, Rig::vanish).await });
    running.add(|rig, stop| async move { rig.every(1.0, "abandoned", stop, Rig::abandon).await });
    running.add(|rig, stop| async move { rig.every(4.0, "own", stop, Rig::own).await });
    running.add(|rig, stop| async move { rig.every(3.0, "subscription", stop, Rig::subscribe).await });
    running.add(|rig, stop| async move { rig.every(1.0, "listing", stop, Rig::list).await });
    running.add(|rig, stop| async move { rig.every(0.3, "uncertain", stop, Rig::uncertain).await });
    running.add(|rig, stop| async move { rig.every(4.5, "now and then", stop, Rig::now_and_then).await });
    running.add(|rig, stop| async move { rig.every(3.0, "observed", stop, Rig::observe).await });
    running.add(|rig, stop| async move { rig.every(3.0, "reload", stop, Rig::reload).await });
    running
}

// === impl Running ===

impl Running {
    fn add<F: Future<Output = Outcome<()>> + Send + 'static>(
        &mut self,
        client: impl FnOnce(Arc<Rig>, CancellationToken) -> F,
    ) {
        let (rig, work) = (self.rig.clone(), client(self.rig.clone(), self.stop.clone()));
        self.tasks.spawn(async move {
            if let Err(fault) = work.await {
                rig.fault(fault);
            }
        });
    }

    /// Each finishes what it is at.
    pub async fn end(mut self) {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            done.expect("a client does not panic");
        }
        let client = Client::modern(self.rig.address);
        if let Err(fault) = self.rig.wanted.restore(&self.rig.home, &client).await {
            self.rig.fault(fault);
        }
    }
}

// === impl Rig: counting ===

impl Rig {
    pub fn new(home: Arc<Home>, address: SocketAddr, wanted: Wanted) -> Self {
        Self { home, address, wanted, nonce: AtomicU64::new(0), counts: Mutex::default(), faults: Mutex::default() }
    }

    pub fn figures(&self) -> Value {
        let mut figures = json!(*self.counts.lock().unwrap());
        figures["faults"] = json!(self.faults.lock().unwrap().len());
        figures
    }

    /// Faults stay.
    pub fn zero(&self) {
        self.counts.lock().unwrap().clear();
    }

    pub fn assert_good(&self, took: Duration) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} faults: {:#?}", faults.len(), &faults[..faults.len().min(20)]);
        let counts = self.counts.lock().unwrap();
        for (what, floor) in FLOORS {
            let count = counts.get(what).copied().unwrap_or(0);
            // At least one of each, also in a short run.
            assert!(count as f64 >= (floor * took.as_secs_f64()).floor().max(1.0) * 0.5, "{what}: {count} only");
        }
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn fault(&self, fault: String) {
        let mut short = fault;
        let end = short.char_indices().nth(2000).map_or(short.len(), |(at, _)| at);
        short.truncate(end);
        eprintln!("fault: {short}");
        self.faults.lock().unwrap().push(short);
    }

    fn nonce(&self) -> String {
        format!("n-{}", self.nonce.fetch_add(1, Ordering::Relaxed))
    }

    /// The same thing again and again, about so many seconds apart.
    async fn every<F>(
        self: &Arc<Self>,
        seconds: f64,
        what: &'static str,
        stop: CancellationToken,
        once: impl Fn(Arc<Self>) -> F,
    ) -> Outcome<()>
    where
        F: Future<Output = Outcome<()>>,
    {
        while pause(seconds, &stop).await {
            match once(self.clone()).await {
                Ok(()) => self.count(what),
                Err(fault) => self.fault(format!("{what}: {fault}")),
            }
        }
        Ok(())
    }
}

/// False: it is over.
async fn pause(seconds: f64, stop: &CancellationToken) -> bool {
    let time = Duration::from_secs_f64(seconds * (0.5 + fastrand::f64()));
    tokio::select! { () = stop.cancelled() => false, () = sleep(time) => true }
}

fn tool(name: &str, arguments: &Value) -> Value {
    json!({"name": name, "arguments": arguments})
}

fn text(answer: &Value) -> Outcome<&str> {
    answer["result"]["content"][0]["text"].as_str().ok_or_else(|| format!("no text: {answer}"))
}

/// The answer of an echo to just this call.
fn echoes(answer: &Value, nonce: &str) -> Outcome<()> {
    let text = text(answer)?;
    let raw = json!({"text": nonce}).to_string();
    if text == nonce || text == raw { Ok(()) } else { Err(format!("{nonce} got {text}")) }
}

// === impl Rig: clients ===

impl Rig {
    /// One call to the provider whose turn it is. An error: of whom, and what.
    async fn echoed(&self, client: &Client, round: usize) -> Result<(), (&'static str, String)> {
        let (nonce, name) = (self.nonce(), ALWAYS[round % ALWAYS.len()]);
        let params = tool(&format!("{name}__echo"), &json!({"text": nonce}));
        let answer = client.ask("tools/call", &params).await;
        answer.and_then(|answer| echoes(&answer, &nonce)).map_err(|fault| (name, fault))
    }

    async fn calls(&self, n: usize, stop: CancellationToken) -> Outcome<()> {
        let mut client = Client::session(self.address).await?;
        let mut heard = Instant::now();
        for round in n.. {
            if !pause(0.1, &stop).await {
                break;
            }
            match self.echoed(&client, round).await {
                Ok(()) => self.count("call"),
                // The machine stood still for as long as a session may be silent: it is begun anew, as a client has to.
                Err((_, fault)) if fault.starts_with("404") && heard.elapsed() > crate::SESSION_IDLE.mul_f64(0.7) => {
                    client = Client::session(self.address).await?;
                    self.count("session lost to a stall");
                }
                Err((name, fault)) => self.fault(format!("{name}: {fault}")),
            }
            heard = Instant::now();
        }
        Ok(())
    }

    async fn modern_calls(&self, n: usize, stop: CancellationToken) -> Outcome<()> {
        let client = Client::modern(self.address);
        for round in n.. {
            if !pause(0.2, &stop).await {
                break;
            }
            match self.echoed(&client, round).await {
                Ok(()) => self.count("modern call"),
                Err((name, fault)) => self.fault(format!("{name}, modern: {fault}")),
            }
        }
        Ok(())
    }

    fn connect(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hangar"));
        command.args(["connect", "--config"]).arg(self.home.config()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path("")).env("TMPDIR", self.home.path("run"));
        command.env("XDG_STATE_HOME", self.home.path("state")).env("XDG_RUNTIME_DIR", self.home.path("run"));
        command
    }

    async fn piped_call(&self, client: &mut Piped, round: usize) -> Outcome<()> {
        let (nonce, name) = (self.nonce(), ALWAYS[round % ALWAYS.len()]);
        let answer = client.ask("tools/call", &tool(&format!("{name}__echo"), &json!({"text": nonce}))).await?;
        echoes(&answer, &nonce)
    }

    /// One `hangar connect` for the whole time.
    async fn piped(&self, stop: CancellationToken) -> Outcome<()> {
        let mut client = Piped::open(self.connect()).await?;
        for round in 0.. {
            if !pause(0.1, &stop).await {
                break;
            }
            match self.piped_call(&mut client, round).await {
                Ok(()) => self.count("connect call"),
                Err(fault) => return Err(format!("connect: {fault}")),
            }
        }
        Ok(())
    }

    /// One that is killed in the middle of a call.
    async fn piped_and_killed(self: Arc<Self>) -> Outcome<()> {
        let mut client = Piped::open(self.connect()).await?;
        for round in 0..3 {
            self.piped_call(&mut client, round).await?;
        }
        client.say(&request("tools/call", &tool("still0__sleep", &json!({"ms": 3000})))).await?;
        sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    async fn large(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        let name = ["still0", "still1", "newer", "both"][fastrand::usize(..4)];
        let answer = client.ask("tools/call", &tool(&format!("{name}__big"), &json!({"bytes": 1_000_000}))).await?;
        let length = text(&answer)?.len();
        if length == 1_000_000 { Ok(()) } else { Err(format!("{length} bytes")) }
    }

    async fn progress(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        let mut call = request("tools/call", &tool("still1__progress", &json!({"n": 3, "ms": 10})));
        let token = self.nonce();
        call["params"]["_meta"] = json!({"progressToken": token});
        let (answer, others) = client.request(&call).await?;
        let told: Vec<_> = others.iter().filter(|message| message["params"]["progressToken"] == token).collect();
        if told.len() == 3 && others.len() == 3 && text(&answer)? == "done" {
            return Ok(());
        }
        Err(format!("{others:?} and then {answer}"))
    }

    /// By its notification while the call runs.
    async fn cancel(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        let call = request("tools/call", &tool("still1__sleep", &json!({"ms": 60_000})));
        let (first, second) = (client.clone(), client.clone());
        let running = tokio::spawn(async move { first.request(&call).await });
        sleep(Duration::from_millis(60)).await;
        second.notify("notifications/cancelled", &json!({"requestId": 1})).await?;
        // It ends, and not by what the provider would have said.
        match running.await.map_err(|e| said("cancel", e))? {
            Ok((answer, _)) => Err(format!("answered: {answer}")),
            Err(fault) if fault.starts_with(NO_ANSWER) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// In the middle of a call, without a word.
    async fn vanish(self: Arc<Self>) -> Outcome<()> {
        let modern = fastrand::bool();
        let client = if modern { Client::modern(self.address) } else { Client::session(self.address).await? };
        let name = ["still0", "newer", "far0"][fastrand::usize(..3)];
        let call = request("tools/call", &tool(&format!("{name}__sleep"), &json!({"ms": 1000})));
        tokio::select! {
            done = client.request(&call) => Err(format!("{done:?}")),
            () = sleep(Duration::from_millis(100)) => Ok(()),
        }
    }

    async fn abandon(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        let nonce = self.nonce();
        echoes(&client.ask("tools/call", &tool("still0__echo", &json!({"text": nonce}))).await?, &nonce)
    }

    /// An instance of one's own, abandoned with the session.
    async fn own(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        let pid = client.ask("tools/call", &tool("own__pid", &json!({}))).await?;
        let nonce = self.nonce();
        echoes(&client.ask("tools/call", &tool("own__echo", &json!({"text": nonce}))).await?, &nonce)?;
        let again = client.ask("tools/call", &tool("own__pid", &json!({}))).await?;
        if text(&pid)? == text(&again)? { Ok(()) } else { Err("its instance has changed".into()) }
    }

    async fn subscribe(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        let stream = client.listen().await?;
        let uri = "hangar://still0/test://one";
        let subscribed = client.ask("resources/subscribe", &json!({"uri": uri})).await?;
        if subscribed.get("result").is_none() {
            return Err(subscribed.to_string());
        }
        client.ask("tools/call", &tool("still0__update_resource", &json!({"uri": "test://one"}))).await?;
        heard(stream, uri, Duration::from_secs(20)).await?;
        if fastrand::bool() {
            client.ask("resources/unsubscribe", &json!({"uri": uri})).await?;
        }
        Ok(())
    }

    async fn list(self: Arc<Self>) -> Outcome<()> {
        let client = Client::session(self.address).await?;
        for (method, kind) in [("tools/list", "tools"), ("resources/list", "resources"), ("prompts/list", "prompts")] {
            let answer = client.ask(method, &json!({})).await?;
            let items = answer["result"][kind].as_array().map(|items| json!(items).to_string()).unwrap_or_default();
            if !items.contains("still0") {
                return Err(format!("{method} without still0: {answer}"));
            }
        }
        Ok(())
    }

    /// Calls of what comes, goes and falls: an answer of its own, or an error that says so.
    async fn uncertain(self: Arc<Self>) -> Outcome<()> {
        let client = Client::modern(self.address);
        let (nonce, name) = (self.nonce(), [MOVING[0], MOVING[1], "falls", "falls"][fastrand::usize(..4)]);
        let answer = client.ask("tools/call", &tool(&format!("{name}__echo"), &json!({"text": nonce}))).await;
        match answer {
            Ok(answer) if answer["error"]["message"].as_str().is_some_and(|message| message.contains(name)) => {
                self.count(if name == "falls" { "falls: refused" } else { "moved: refused" });
                Ok(())
            }
            Ok(answer) => echoes(&answer, &nonce),
            // A name that is no provider's is a bad request of that revision.
            Err(fault) if fault.starts_with("400") || fault.starts_with("404") => {
                self.count("moved: unknown");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn now_and_then(self: Arc<Self>) -> Outcome<()> {
        let client = Client::modern(self.address);
        let nonce = self.nonce();
        echoes(&client.ask("tools/call", &tool("now_and_then__echo", &json!({"text": nonce}))).await?, &nonce)
    }

    async fn observe(self: Arc<Self>) -> Outcome<()> {
        let client = Client::modern(self.address);
        let metrics = client.get("/metrics").await?.text().await.map_err(|e| said("metrics", e))?;
        if !metrics.contains("still0") {
            return Err(format!("metrics without still0: {metrics}"));
        }
        let stream = client.get("/api/events?stream=1").await?;
        // It says everything that happens; the client leaves in the middle.
        heard(stream, "data:", Duration::from_secs(30)).await
    }

    async fn reload(self: Arc<Self>) -> Outcome<()> {
        let client = Client::modern(self.address);
        let dice = self.nonce.fetch_add(1, Ordering::Relaxed) * 12 + fastrand::u64(..12);
        let Some((name, version)) = self.wanted.next(&self.home, &client, dice).await? else { return Ok(()) };
        if dice.is_multiple_of(3) {
            return Ok(());
        }
        let answer = client.ask("tools/call", &tool(&format!("{name}__args"), &json!({}))).await?;
        let told = text(&answer)?;
        if told.contains(&format!("\"--version\",\"{version}\"")) {
            Ok(())
        } else {
            Err(format!("not {version}: {told}"))
        }
    }
}
