//! The measurements. Comparisons run in rounds, one side after the other within each round, so that what disturbs the
//! machine disturbs both; the median of the rounds counts.

use std::{
    fs, io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Effort,
    load::{Http, INITIALIZED, Stdio, Times, crowd, initialize},
    peers::{self, ECHO, Home, Peer},
    report::Report,
};

pub type Case = fn(&Effort, &mut Report) -> io::Result<()>;

pub const ALL: [(&str, Case); 7] = [
    ("floor", floor),
    ("http-to-stdio", http_to_stdio),
    ("http-to-http", http_to_http),
    ("stdio-to-stdio", stdio_to_stdio),
    ("big-result", big_result),
    ("cold", cold),
    ("reloads", reloads),
];

pub const IN_FLIGHT: usize = 64;
pub const COLD: usize = 100;
pub const TOOLS: usize = 20;

/// One provider that lets everything through at once.
pub fn stdio_provider(name: &str) -> String {
    format!("  {name}: {{command: [{ECHO}, stdio], max_concurrency: 0}}\n")
}

/// The gateway's share of one call in microseconds, and the calls' own times.
pub fn costed(peer: &Peer, calls: impl FnOnce() -> io::Result<Times>) -> io::Result<(f64, Times)> {
    let before = peer.cpu()?;
    let times = calls()?;
    let spent = peer.cpu()? - before;
    Ok((spent as f64 / 1e3 / times.nanos.len() as f64, times))
}

/// Columns of the rounds of one comparison.
#[derive(Default)]
struct Rounds {
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    direct: Vec<f64>,
    added_p50: Vec<f64>,
    added_p99: Vec<f64>,
    rate: Vec<f64>,
}

impl Rounds {
    fn one(&mut self, cpu: f64, through: &Times, direct: Option<&Times>) {
        self.cpu.push(cpu);
        self.p50.push(through.p50());
        self.p99.push(through.p99());
        self.rate.push(through.per_second());
        if let Some(direct) = direct {
            self.direct.push(direct.p50());
            self.added_p50.push(through.p50() - direct.p50());
            self.added_p99.push(through.p99() - direct.p99());
        }
    }
}

/// What the parts cost that no gateway on these libraries can leave out.
fn floor(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let group = "floor";
    let (_child, mut pipes) = peers::echo_on_stdio()?;
    pipes.greet()?;
    pipes.calls("echo", effort.calls / 4)?;
    let rounds = (0..effort.rounds).map(|_| Ok(pipes.calls("echo", effort.calls)?.p50()));
    report.add(group, "bare pipe round trip to the echo, p50", "us", rounds.collect::<io::Result<_>>()?);

    for (what, arguments) in [("axum, canned reply", &["floor"][..]), ("axum + pipe", &["floor", ECHO, "stdio"])] {
        let peer = peers::listening(arguments)?;
        let (address, mut alone, mut many) = (peer.address()?, Rounds::default(), Rounds::default());
        let mut client = Http::open(address)?;
        client.calls("echo", effort.calls / 4)?;
        for _ in 0..effort.rounds {
            let (cpu, times) = costed(&peer, || client.calls("echo", effort.calls))?;
            alone.one(cpu, &times, None);
            let (cpu, times) = costed(&peer, || crowd(address, "echo", IN_FLIGHT, effort.crowd, None))?;
            many.one(cpu, &times, None);
        }
        report.add(group, format!("{what}: CPU per call, sequential"), "us", alone.cpu);
        report.add(group, format!("{what}: p50, sequential"), "us", alone.p50);
        report.add(group, format!("{what}: CPU per call, {IN_FLIGHT} in flight"), "us", many.cpu);
        report.add(group, format!("{what}: calls, {IN_FLIGHT} in flight"), "/s", many.rate);
    }
    Ok(())
}

/// A gateway in front of one provider, beside the same echo reached directly.
struct Compared {
    gateway: Peer,
    direct: SocketAddr,
    alone: Rounds,
    many: Rounds,
}

fn compare(effort: &Effort, gateway: Peer, direct: SocketAddr) -> io::Result<Compared> {
    let address = gateway.address()?;
    let mut compared = Compared { gateway, direct, alone: Rounds::default(), many: Rounds::default() };
    let (mut through, mut straight) = (Http::open(address)?, Http::open(direct)?);
    // Starts the provider, fills caches and branch predictors.
    through.calls("echo__echo", effort.calls / 4)?;
    straight.calls("echo", effort.calls / 4)?;
    for _ in 0..effort.rounds {
        let direct = straight.calls("echo", effort.calls)?;
        let (cpu, times) = costed(&compared.gateway, || through.calls("echo__echo", effort.calls))?;
        compared.alone.one(cpu, &times, Some(&direct));
        let direct = crowd(compared.direct, "echo", IN_FLIGHT, effort.crowd, None)?;
        let many = || crowd(address, "echo__echo", IN_FLIGHT, effort.crowd, None);
        let (cpu, times) = costed(&compared.gateway, many)?;
        compared.many.one(cpu, &times, Some(&direct));
    }
    Ok(compared)
}

fn http_to_stdio(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let echo = peers::listening(&["http"])?;
    let home = Home::new(&format!("providers:\n{}", stdio_provider("echo")))?;
    let Compared { alone, many, .. } = compare(effort, home.gateway_on_http()?, echo.address()?)?;
    let group = "HTTP -> stdio";
    report.aim(group, "gateway CPU per call, sequential", "us", alone.cpu, 45.0);
    report.aim(group, format!("gateway CPU per call, {IN_FLIGHT} in flight"), "us", many.cpu, 25.0);
    report.aim(group, "p50 added over the direct HTTP echo, sequential", "us", alone.added_p50, 45.0);
    report.add(group, "p99 added, sequential", "us", alone.added_p99);
    report.add(group, "p50, sequential", "us", alone.p50);
    report.add(group, "p50 of the direct HTTP echo, sequential", "us", alone.direct);
    report.add(group, "calls, sequential", "/s", alone.rate);
    report.aim(group, format!("calls, {IN_FLIGHT} in flight"), "/s", many.rate, 32_000.0);
    report.add(group, format!("p50, {IN_FLIGHT} in flight"), "us", many.p50);
    report.add(group, format!("p99, {IN_FLIGHT} in flight"), "us", many.p99);
    report.add(group, format!("p50 of the direct HTTP echo, {IN_FLIGHT} in flight"), "us", many.direct);
    Ok(())
}

fn http_to_http(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let echo = peers::listening(&["http"])?;
    let endpoint = format!("http://{}/mcp", echo.address()?);
    let home =
        Home::new(&format!("providers:\n  echo: {{mode: remote, endpoint: '{endpoint}', max_concurrency: 0}}\n"))?;
    let Compared { alone, many, .. } = compare(effort, home.gateway_on_http()?, echo.address()?)?;
    let group = "HTTP -> HTTP";
    report.aim(group, "gateway CPU per call, sequential", "us", alone.cpu, 50.0);
    report.aim(group, format!("gateway CPU per call, {IN_FLIGHT} in flight"), "us", many.cpu, 35.0);
    report.aim(group, "p50 added over the direct HTTP echo, sequential", "us", alone.added_p50, 60.0);
    report.add(group, "p99 added, sequential", "us", alone.added_p99);
    report.add(group, format!("calls, {IN_FLIGHT} in flight"), "/s", many.rate);
    Ok(())
}

fn stdio_to_stdio(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let (_echo, mut direct) = peers::echo_on_stdio()?;
    let home = Home::new(&format!("providers:\n{}", stdio_provider("echo")))?;
    let (gateway, mut through) = home.gateway_on_stdio()?;
    let mut rounds = Rounds::default();
    direct.greet()?;
    through.greet()?;
    direct.calls("echo", effort.calls / 4)?;
    through.calls("echo__echo", effort.calls / 4)?;
    for _ in 0..effort.rounds {
        let straight = direct.calls("echo", effort.calls)?;
        let (cpu, times) = costed(&gateway, || through.calls("echo__echo", effort.calls))?;
        rounds.one(cpu, &times, Some(&straight));
    }
    let mut crowded = Vec::new();
    for _ in 0..effort.rounds {
        crowded.push(through.crowd("echo__echo", IN_FLIGHT, 2 * effort.crowd)?.per_second());
    }
    let group = "stdio -> stdio";
    report.aim(group, format!("calls, {IN_FLIGHT} in flight"), "/s", crowded, 40_000.0);
    report.add(group, "gateway CPU per call, sequential", "us", rounds.cpu);
    report.aim(group, "p50 added over the direct stdio echo", "us", rounds.added_p50, 35.0);
    report.add(group, "p99 added", "us", rounds.added_p99);
    report.add(group, "p50 of the direct stdio echo", "us", rounds.direct);
    Ok(())
}

fn big_result(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let echo = peers::listening(&["http"])?;
    let home = Home::new(&format!("providers:\n{}", stdio_provider("echo")))?;
    let gateway = home.gateway_on_http()?;
    let (mut through, mut direct) = (Http::open(gateway.address()?)?, Http::open(echo.address()?)?);
    through.calls("echo__big", effort.big / 4)?;
    direct.calls("big", effort.big / 4)?;
    let mut rounds = Rounds::default();
    for _ in 0..effort.rounds {
        let straight = direct.calls("big", effort.big)?;
        let (cpu, times) = costed(&gateway, || through.calls("echo__big", effort.big))?;
        rounds.one(cpu, &times, Some(&straight));
    }
    let group = "1 MB result, HTTP -> stdio";
    report.aim(group, "p50 added over the direct HTTP echo", "us", rounds.added_p50, 800.0);
    report.add(group, "p50 of the direct HTTP echo", "us", rounds.direct);
    report.add(group, "gateway CPU per call", "us", rounds.cpu);
    Ok(())
}

fn cold(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let home = hundred()?;
    let mut starts = Vec::new();
    let (mut rss, mut pss) = (Vec::new(), Vec::new());
    for _ in 0..effort.starts {
        let began = Instant::now();
        let (gateway, mut client) = home.gateway_on_stdio()?;
        first_list(&mut client)?;
        starts.push(began.elapsed().as_secs_f64() * 1e3);
        if client.line.matches("echo099__").count() != TOOLS || gateway.children()? != 0 {
            return Err(io::Error::other("the list was not complete, or a provider is not cold"));
        }
        thread::sleep(Duration::from_millis(200));
        let (all, ours) = gateway.memory()?;
        rss.push(all);
        pss.push(ours);
    }
    let group = "100 cold remembered providers";
    report.aim(group, "from spawn to the first tools/list answered, stdio", "ms", starts, 40.0);
    report.aim(group, "idle memory (RSS), stdio", "MiB", rss, 12.0);
    report.add(group, "idle memory (PSS), stdio", "MiB", pss);
    let gateway = home.gateway_on_http()?;
    Http::open(gateway.address()?)?.send("/mcp", r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#)?;
    thread::sleep(Duration::from_millis(500));
    report.aim(group, "idle memory (RSS), HTTP", "MiB", vec![gateway.memory()?.0], 12.0);
    Ok(())
}

/// A hundred providers whose catalogues are remembered.
pub fn hundred() -> io::Result<Home> {
    // Equal commands would share one remembered catalogue; the echo ignores the last argument.
    let one = |n| format!("  echo{n:03}: {{command: [{ECHO}, stdio, '{TOOLS}', '{n}']}}\n");
    let home = Home::new(&format!("providers:\n{}", (0..COLD).map(one).collect::<String>()))?;
    learn(&home)?;
    Ok(home)
}

fn first_list(client: &mut Stdio) -> io::Result<()> {
    client.tell(
        &[&initialize(1), "\n", INITIALIZED, "\n", r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#].concat(),
    )?;
    client.answer(2).map(drop)
}

/// Lets a gateway see every provider once, and remember what it offers.
fn learn(home: &Home) -> io::Result<()> {
    let (_gateway, mut client) = home.gateway_on_stdio()?;
    first_list(&mut client)?;
    let began = Instant::now();
    let remembered = || Some(fs::read_dir(home.path().join("state/hangar/catalogues")).ok()?.count());
    while remembered() != Some(COLD) {
        if began.elapsed() > Duration::from_secs(60) {
            return Err(io::Error::other(format!("{:?} of {COLD} catalogues are remembered", remembered())));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn reloads(effort: &Effort, report: &mut Report) -> io::Result<()> {
    const CLIENTS: usize = 8;
    let config = |n: usize| {
        let other = format!("  other: {{command: [{ECHO}, stdio], description: 'number {n}'}}\n");
        format!("config_reload: {{enabled: false}}\nproviders:\n{}{other}", stdio_provider("echo"))
    };
    let home = Home::new(&config(0))?;
    let gateway = home.gateway_on_http()?;
    let address = gateway.address()?;
    let phase =
        || crowd(address, "echo__echo", CLIENTS, 0, Some(Instant::now() + Duration::from_secs_f64(effort.phase)));
    phase()?;
    let (mut ratios, mut quiet, mut busy, mut done) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..effort.rounds {
        let calm = phase()?;
        let over = AtomicBool::new(false);
        let (stormy, count) = thread::scope(|scope| {
            let reloader = scope.spawn(|| keep_reloading(&home, address, &over, done, config));
            let times = phase();
            over.store(true, Ordering::Relaxed);
            let count = reloader.join().map_err(|_| io::Error::other("the reloading thread panicked"))??;
            Ok::<_, io::Error>((times?, count))
        })?;
        done += count;
        ratios.push(stormy.p99() / calm.p99());
        quiet.push(calm.p99());
        busy.push(stormy.p99());
    }
    let group = "a reload every 100 ms, 8 clients";
    report.add(group, "p99 without reloads", "us", quiet);
    report.add(group, format!("p99 during {done} reloads"), "us", busy);
    report.aim(group, "ratio of the p99", "x", ratios, 1.2);
    Ok(())
}

/// Each changes one provider that nobody calls. Gives the number of reloads.
fn keep_reloading(
    home: &Home,
    address: SocketAddr,
    over: &AtomicBool,
    before: usize,
    config: impl Fn(usize) -> String,
) -> io::Result<usize> {
    let mut client = Http::open(address)?;
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let next = Instant::now() + Duration::from_millis(100);
        count += 1;
        home.write(&config(before + count))?;
        let report = client.send("/api/config/reload", "{}")?;
        if !report.contains(r#""providers_updated":["other"]"#) {
            return Err(io::Error::other(format!("not the reload that was asked for: {report}")));
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(count)
}
