//! `stop` and `restart`: signals to gateways of this machine, and waiting for what comes of them.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    admin::Admin,
    args::Gateway,
    discover::{self, Process},
    exit::{Exit, fail},
    output::{Colour, Out},
};
use crate::{
    host,
    runtime_dir::pid_file::{Facts, Found, look},
};

/// The stop's own limit of 45 s, and time to be scheduled on a busy machine.
const STOP: Duration = Duration::from_secs(60);
/// The check of the program on the disk (30 s), the stop of the providers (45 s), and the start.
const RESTART: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const QUICK: Duration = Duration::from_secs(5);

/// Every gateway of the configuration, one after the other; the worst outcome counts.
pub(super) async fn stop(choice: Gateway, out: &mut Out) -> anyhow::Result<Exit> {
    let found = discover::processes(&choice).await?;
    // All are told before the first is waited for.
    let told: Vec<_> = found.iter().map(|process| (process, Instant::now(), signal(process, Signal::TERM))).collect();
    let (mut worst, mut stopped) = (Exit::Ok, Vec::new());
    for (Process { facts, .. }, began, told) in told {
        let outcome = told.and_then(|running| match running.wait(STOP.saturating_sub(began.elapsed())) {
            true => Ok(Exit::Ok),
            false => {
                fail(Exit::Found, format!("the gateway with pid {} still runs after {} s", facts.pid, STOP.as_secs()))
            }
        });
        if outcome.is_ok() {
            let took = began.elapsed();
            if !out.json {
                let done = format!(
                    "stopped the {} gateway with pid {} in {:.1} s",
                    facts.transport,
                    facts.pid,
                    took.as_secs_f64()
                );
                out.line(out.paint(&done, Colour::Green))?;
            }
            stopped.push(json!({"pid": facts.pid, "transport": facts.transport, "config": facts.config, "duration_ms": millis(took)}));
        }
        worst = worst.max(super::settle(outcome, found.len() > 1)?);
    }
    if out.json {
        out.document(&json!({"stopped": stopped}))?;
    }
    Ok(worst)
}

/// The same; each goes on with the same pid.
pub(super) async fn restart(choice: Gateway, out: &mut Out) -> anyhow::Result<Exit> {
    let found = discover::processes(&choice).await?;
    let (mut worst, mut restarted) = (Exit::Ok, Vec::new());
    for process in &found {
        let outcome = restart_one(process, out).await.map(|report| {
            restarted.push(report);
            Exit::Ok
        });
        worst = worst.max(super::settle(outcome, found.len() > 1)?);
    }
    if out.json {
        out.document(&json!({"restarted": restarted}))?;
    }
    Ok(worst)
}

async fn restart_one(process: &Process, out: &mut Out) -> anyhow::Result<Value> {
    let before = &process.facts;
    let refused_before = refusal(process).await;
    let began = Instant::now();
    let running = signal(process, Signal::USR2)?;
    let after = loop {
        if !running.lives() {
            return fail(
                Exit::Found,
                format!("the gateway with pid {} ended instead of restarting; its log says why", before.pid),
            );
        }
        if let Ok(Found::Held(Some(now))) = look(&process.record)
            && now.generation_id != before.generation_id
        {
            break now;
        }
        let refused = refusal(process).await;
        if let Some(refused) = refused.filter(|now| refused_before.as_ref() != Some(now)) {
            let why = refused.get("message").and_then(Value::as_str).unwrap_or_default();
            let exit = if refused.get("config_invalid") == Some(&Value::Bool(true)) {
                Exit::ConfigInvalid
            } else {
                Exit::Refused
            };
            return fail(
                exit,
                format!("the restart was refused, and the gateway with pid {} serves on:\n{why}", before.pid),
            );
        }
        if began.elapsed() > RESTART {
            return fail(
                Exit::Found,
                format!("the gateway with pid {} has not restarted within {} s", before.pid, RESTART.as_secs()),
            );
        }
        sleep(LOOK_EVERY);
    };
    let took = began.elapsed();
    let last = last_restart(after.socket.as_deref()).await.unwrap_or_default();
    if !out.json {
        let version = match before.version == after.version {
            true => format!("version {}", after.version),
            false => format!("version {} instead of {}", after.version, before.version),
        };
        let done = format!(
            "restarted the {} gateway with pid {} in {:.1} s: {version}",
            after.transport,
            after.pid,
            took.as_secs_f64()
        );
        out.line(out.paint(&done, Colour::Green))?;
        super::reload::dotenv(out, &last)?;
    }
    Ok(json!({
        "pid": after.pid,
        "dotenv": last.get("dotenv"),
        "version": after.version,
        "version_before": before.version,
        "generation_id": after.generation_id,
        "duration_ms": millis(took),
    }))
}

/// The last restart that the gateway refused. `None` also while nobody answers.
async fn refusal(process: &Process) -> Option<Value> {
    let last = last_restart(process.facts.socket.as_deref()).await?;
    last.get("status").is_some_and(|status| status == "refused").then_some(last)
}

async fn last_restart(socket: Option<&Path>) -> Option<Value> {
    let admin = Admin::socket(socket?);
    let status = admin.get("/api/status", QUICK).await.ok()?.success(&admin).ok()?;
    status.get("last_restart").cloned()
}

/// Reaches that process or nobody.
fn signal(process: &Process, signal: Signal) -> anyhow::Result<host::Process> {
    let Facts { pid, start_ticks, .. } = process.facts;
    let running = match start_ticks {
        Some(started) => Some(host::Process { pid, started }),
        None => host::Process::of(pid),
    };
    match running {
        Some(running) if running.signal(signal) => Ok(running),
        Some(running) if running.lives() => fail(
            Exit::Refused,
            format!("the gateway with pid {pid} is another user's; only that user, or root, may signal it"),
        ),
        _ => fail(Exit::NotReached, format!("the gateway with pid {pid} has just ended")),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
