//! Many of something: listed tools, and sessions that are open and say nothing.

use std::{io, thread, time::Duration};

use crate::{
    Effort,
    cases::{Case, TOOLS, costed, hundred, stdio_provider},
    load::Http,
    peers::Home,
    report::Report,
};

pub const ALL: [(&str, Case); 2] = [("lists", lists), ("idle-sessions", idle_sessions)];

/// `tools/list` of a hundred cold providers, as a client sees it.
fn lists(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let home = hundred()?;
    let gateway = home.gateway_on_http()?;
    let mut client = Http::open(gateway.address()?)?;
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    let reply = client.send("/mcp", list)?;
    if reply.matches("echo099__").count() != TOOLS {
        return Err(io::Error::other("the list was not complete"));
    }
    let (mut p50, mut spent) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (cpu, times) = costed(&gateway, || client.repeat(list, effort.lists))?;
        p50.push(times.p50() / 1e3);
        spent.push(cpu / 1e3);
    }
    let group = "tools/list of 100 providers x 20 tools, HTTP";
    report.aim(group, format!("p50 of an answer of {} kB", reply.len() / 1000), "ms", p50, 1.5);
    report.add(group, "gateway CPU per list", "ms", spent);
    Ok(())
}

/// What sessions cost that their clients keep open, each with its general stream, and those that they have forgotten.
fn idle_sessions(effort: &Effort, report: &mut Report) -> io::Result<()> {
    let home = Home::new(&format!("providers:\n{}", stdio_provider("echo")))?;
    let gateway = home.gateway_on_http()?;
    let address = gateway.address()?;
    // One that is used, so that everything that a first call brings is there before.
    Http::open(address)?.calls("echo__echo", 100)?;
    let before = gateway.memory()?.0;
    for _ in 0..effort.sessions {
        // The connection goes, the session stays.
        drop(Http::open(address)?);
    }
    thread::sleep(Duration::from_millis(500));
    let after = gateway.memory()?.0;
    let group = "idle sessions";
    let each = (after - before) * 1024.0 * 1024.0 / effort.sessions as f64;
    report.aim(group, format!("memory (RSS) with {} open, no connection", effort.sessions), "MiB", vec![after], 60.0);
    report.add(group, "of it for one session", "bytes", vec![each]);
    let connected: Vec<_> = (0..effort.sessions).map(|_| Http::open(address)).collect::<io::Result<_>>()?;
    thread::sleep(Duration::from_millis(500));
    let all = gateway.memory()?.0;
    report.add(
        group,
        format!("memory with as many again that keep a connection ({})", connected.len()),
        "MiB",
        vec![all],
    );
    Ok(())
}
