//! Many reloads under an even load: does the tail of calls to unchanged providers notice? Quiet and stormy blocks in turns, so
//! that what else the machine does hits both.
//!
//! `HANGAR_RELOADS=10000` for the long run, `HANGAR_RELOAD_EVERY_MS=20` for a hard one (100 is usual); the calls are checked one by
//! one in any case.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Effort,
    load::{Http, Times},
    peers::{ECHO, Home},
    report::Report,
};

/// Calls a second, of all clients together.
const RATE: u32 = 500;
const CLIENTS: u32 = 10;
const UNCHANGED: usize = 4;
/// Between two reloads of a block, in milliseconds.
const STEP: u64 = 100;

type Case = (&'static str, fn(&Effort, &mut Report) -> io::Result<()>);
pub const ALL: [Case; 1] = [("reloads under 500 calls a second", storm)];

/// Adds, changes and removes `other`, and says the same thing anew; nobody calls it, so that what is measured is the gateway and
/// not processes that start and end.
fn config(number: usize) -> String {
    let providers: String =
        (0..UNCHANGED).map(|n| format!("  still{n}: {{command: [{ECHO}, stdio, '1', '{n}']}}\n")).collect();
    let other = match number % 4 {
        0 => String::new(),
        1 => format!("  other: {{command: [{ECHO}, stdio]}}\n"),
        2 => format!("  other: {{command: [{ECHO}, stdio], description: 'number {number}'}}\n"),
        _ => format!(
            "  # number {number}\n  other: {{command: [{ECHO}, stdio], description: 'number {}'}}\n",
            number - 1
        ),
    };
    format!("config_reload: {{enabled: false}}\nproviders:\n{providers}{other}")
}

fn storm(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let wanted = std::env::var("HANGAR_RELOADS").ok().and_then(|n| n.parse().ok());
    let wanted = wanted.unwrap_or(if effort.rounds > 1 { 500 } else { 20 });
    let blocks = (wanted / 250).max(2);
    let home = Home::new(&config(0))?;
    let gateway = home.gateway_on_http()?;
    let address = gateway.address()?;
    let mut clients = (0..CLIENTS).map(|_| Http::open(address)).collect::<io::Result<Vec<_>>>()?;
    // The first calls start the providers.
    let (mut calls, mut number) = (0, 0);
    load(&mut clients, &mut calls, || pause(Duration::from_millis(500)))?;
    let (mut quiet, mut stormy, mut ratios) = (Times::none(), Times::none(), Vec::new());
    for block in 1..=blocks {
        let until = wanted * block / blocks;
        let began = Instant::now();
        let storm = load(&mut clients, &mut calls, || reload_until(&home, address, &mut number, until))?;
        let time = began.elapsed();
        let calm = load(&mut clients, &mut calls, || pause(time))?;
        ratios.push(storm.p99() / calm.p99());
        quiet.nanos.extend(calm.nanos);
        stormy.nanos.extend(storm.nanos);
    }
    let group = "500 calls/s of 10 clients";
    report.add(group, "p50 without reloads", "us", vec![quiet.p50()]);
    report.add(group, format!("p50 during {number} reloads"), "us", vec![stormy.p50()]);
    report.add(group, "p99 without reloads", "us", vec![quiet.p99()]);
    report.add(group, format!("p99 during {number} reloads"), "us", vec![stormy.p99()]);
    report.add(group, format!("ratio of the p99, each of {blocks} pairs of blocks"), "x", ratios);
    let name = format!("ratio of the p99 of all {} calls", quiet.nanos.len() + stormy.nanos.len());
    report.aim(group, name, "x", vec![stormy.p99() / quiet.p99()], 1.2);
    Ok(())
}

fn pause(time: Duration) -> io::Result<()> {
    thread::sleep(time);
    Ok(())
}

/// The even load for as long as `meanwhile` takes. A call that fails, or gets another one's answer, is an error.
fn load(clients: &mut [Http], calls: &mut u64, meanwhile: impl FnOnce() -> io::Result<()>) -> io::Result<Times> {
    let over = AtomicBool::new(false);
    let first = *calls;
    let (times, result) = thread::scope(|scope| {
        let over = &over;
        let lanes =
            clients.iter_mut().zip(0u32..).map(|(client, lane)| scope.spawn(move || evenly(client, lane, first, over)));
        let lanes: Vec<_> = lanes.collect();
        let result = meanwhile();
        over.store(true, Ordering::Relaxed);
        let times = lanes.into_iter().map(|lane| lane.join().map_err(|_| io::Error::other("a client panicked"))?);
        (times.collect::<io::Result<Vec<Times>>>(), result)
    });
    result?;
    let mut all = Times::none();
    times?.into_iter().for_each(|times| all.nanos.extend(times.nanos));
    *calls += all.nanos.len() as u64;
    Ok(all)
}

/// A call whenever it is time for one. What counts is the time from the call to its answer; that the client was woken late does not.
fn evenly(client: &mut Http, lane: u32, first: u64, over: &AtomicBool) -> io::Result<Times> {
    let pace = Duration::from_secs(1) * CLIENTS / RATE;
    let (mut due, mut times) = (Instant::now() + pace * lane / CLIENTS, Times::none());
    for round in 0.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if over.load(Ordering::Relaxed) {
            break;
        }
        due += pace;
        let (nonce, still) = (format!("{lane}-{first}-{round}"), (round + lane as usize) % UNCHANGED);
        let began = Instant::now();
        let answer = client.send(
            "/mcp",
            &format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"still{still}__echo","arguments":{{"text":"{nonce}"}}}}}}"#
            ),
        )?;
        times.took(began);
        if !answer.contains(&format!(r#""text":"{nonce}""#)) {
            return Err(io::Error::other(format!("{nonce} got {answer}")));
        }
    }
    Ok(times)
}

fn reload_until(home: &Home, address: SocketAddr, number: &mut usize, until: usize) -> io::Result<()> {
    let mut client = Http::open(address)?;
    let step = std::env::var("HANGAR_RELOAD_EVERY_MS").ok().and_then(|n| n.parse().ok()).unwrap_or(STEP);
    while *number < until {
        let next = Instant::now() + Duration::from_millis(step);
        *number += 1;
        home.write(&config(*number))?;
        let report = client.send("/api/config/reload", "{}")?;
        let key =
            [r#""providers_removed":["other"]"#, r#""providers_added":["other"]"#, r#""providers_updated":["other"]"#];
        let names = [r#""providers_removed":[]"#, r#""providers_added":[]"#, r#""providers_updated":[]"#];
        let good = (0..3).all(|kind| report.contains(if *number % 4 == kind { key[kind] } else { names[kind] }));
        if !good {
            return Err(io::Error::other(format!("not the reload that was asked for: {report}")));
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
