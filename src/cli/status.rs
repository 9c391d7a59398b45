//! `status` and `list`: how the running gateways are.

use std::time::Duration;

use serde_json::Value;

use super::{
    admin::Admin,
    args::Gateway,
    discover,
    exit::Exit,
    groups,
    output::{Colour, Out, Table, shortened},
};
use crate::telemetry::in_words;

/// Status pages wait for nothing.
pub(super) const QUICK: Duration = Duration::from_secs(15);

/// Each gateway; unhealthy when one of them is.
pub(super) async fn status(choice: Gateway, out: &mut Out) -> anyhow::Result<Exit> {
    let gateways = discover::gateways(&choice).await?;
    let mut worst = Exit::Ok;
    for (at, admin) in gateways.iter().enumerate() {
        let outcome = fetch(admin, "/api/status").await.and_then(|status| {
            if out.json {
                out.document(&status)?;
            } else {
                if at > 0 {
                    out.line("")?;
                }
                describe(out, &status)?;
            }
            Ok(if healthy(&status) { Exit::Ok } else { Exit::Found })
        });
        worst = worst.max(super::settle(outcome, gateways.len() > 1)?);
    }
    Ok(worst)
}

/// The providers of each gateway.
pub(super) async fn list(choice: Gateway, out: &mut Out) -> anyhow::Result<Exit> {
    let gateways = discover::gateways(&choice).await?;
    let mut worst = Exit::Ok;
    for admin in &gateways {
        let listing = match fetch(admin, "/api/providers").await {
            Ok(listing) => groups::add(admin, listing).await,
            Err(error) => Err(error),
        };
        let outcome = listing.and_then(|listing| {
            if out.json {
                out.document(&listing)?;
            } else {
                if gateways.len() > 1 {
                    out.line(format!("{admin}:"))?;
                }
                out.table(&providers(&listing))?;
                if let Some(table) = groups::table(&listing) {
                    out.line("")?;
                    out.table(&table)?;
                }
            }
            Ok(Exit::Ok)
        });
        worst = worst.max(super::settle(outcome, gateways.len() > 1)?);
    }
    Ok(worst)
}

async fn fetch(admin: &Admin, path: &str) -> anyhow::Result<Value> {
    admin.get(path, QUICK).await?.success(admin)
}

/// The entries of `/api/providers`.
pub(super) fn entries(listing: &Value) -> &[Value] {
    listing.get("providers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn providers(listing: &Value) -> Table {
    let columns = ["PROVIDER", "STATE", "MODE", "OWNER", "TOOLS", "PID", "IN FLIGHT", "LAST ERROR"];
    let mut table = Table::with_header(&columns);
    for provider in entries(listing) {
        let plain = |key: &str| (cell(provider, key), Colour::Plain);
        let state = match provider.get("enabled") {
            Some(Value::Bool(false)) => ("off".to_owned(), Colour::Dim),
            _ => (cell(provider, "state"), state_colour(&cell(provider, "state"))),
        };
        table.row([
            plain("provider"),
            state,
            plain("mode"),
            (shortened(&cell(provider, "owner")), Colour::Plain),
            plain("tools"),
            (pid(provider), Colour::Plain),
            plain("calls_in_flight"),
            (shortened(&cell(provider, "last_error")), Colour::Red),
        ]);
    }
    table
}

/// Of many, how many.
fn pid(provider: &Value) -> String {
    match provider.get("instances").and_then(Value::as_array).map(Vec::len) {
        None | Some(0) => cell(provider, "pid"),
        Some(1) => "1 client".to_owned(),
        Some(many) => format!("{many} clients"),
    }
}

fn cell(provider: &Value, key: &str) -> String {
    match provider.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::from(if key == "last_error" { "" } else { "-" }),
    }
}

fn state_colour(state: &str) -> Colour {
    match state {
        "ready" => Colour::Green,
        "initializing" | "stopping" | "degraded" => Colour::Yellow,
        "dead" => Colour::Red,
        _ => Colour::Dim,
    }
}

fn healthy(status: &Value) -> bool {
    status.get("status").and_then(Value::as_str) == Some("healthy")
}

fn describe(out: &mut Out, status: &Value) -> anyhow::Result<()> {
    let text = |at: &str| status.pointer(at).map(plain).filter(|text| !text.is_empty());
    let or_dash = |at: &str| text(at).unwrap_or_else(|| "-".into());
    let uptime = status.get("uptime_s").and_then(Value::as_u64).map_or("-".into(), in_words);
    let title = format!("hangar {}, pid {}, up {uptime}", or_dash("/version"), or_dash("/pid"));
    out.line(out.paint(&title, Colour::Bold))?;
    let transport = match text("/address") {
        Some(address) => format!("{} at http://{address}/mcp", or_dash("/transport")),
        None => or_dash("/transport"),
    };
    let colour = if healthy(status) { Colour::Green } else { Colour::Red };
    let mut table = Table::default();
    let mut row = |name: &str, value: (String, Colour)| table.row([(name.to_owned(), Colour::Dim), value]);
    row("health", (or_dash("/status"), colour));
    row("transport", (transport, Colour::Plain));
    row("config", (or_dash("/config"), Colour::Plain));
    row(".env", (dotenv(status), Colour::Plain));
    row("generation", (format!("{} (sha256 {})", or_dash("/generation"), or_dash("/config_sha256")), Colour::Plain));
    row("providers", (counts(status), Colour::Plain));
    row("last reload", (last_reload(status), Colour::Plain));
    for (name, at) in [("socket", "/socket"), ("connect", "/connect_socket"), ("pid file", "/pid_file")] {
        if let Some(path) = text(at) {
            row(name, (path, Colour::Plain));
        }
    }
    match text("/last_restart/status").as_deref() {
        Some("success") => {
            row("last restart", (format!("success at {}", or_dash("/last_restart/time")), Colour::Plain))
        }
        Some(_) => {
            let told = format!("refused at {}: {}", or_dash("/last_restart/time"), or_dash("/last_restart/message"));
            row("last restart", (shortened(&told), Colour::Yellow));
        }
        None => {}
    }
    for client in status.get("clients").and_then(Value::as_array).into_iter().flatten() {
        row("client", (connected(client), Colour::Plain));
    }
    out.table(&table)?;
    for key in status.get("restart_required").and_then(Value::as_array).into_iter().flatten() {
        out.line(format!("  {} takes effect after a restart", plain(key)))?;
    }
    for reason in status.get("reasons").and_then(Value::as_array).into_iter().flatten() {
        let part = |key: &str| reason.get(key).map(plain).unwrap_or_default();
        out.foreign(&format!("  {} is {}: {}", part("provider"), part("state"), part("cause")))?;
    }
    Ok(())
}

/// `/srv/.env (live)`.
fn dotenv(status: &Value) -> String {
    let part = |key: &str| status.pointer(&format!("/dotenv/{key}")).map(plain).unwrap_or_default();
    match (part("path"), part("source")) {
        (path, source) if path.is_empty() => {
            if source.is_empty() {
                "-".into()
            } else {
                source
            }
        }
        (path, source) => format!("{path} ({source})"),
    }
}

/// `claude-code 2.1, pid 123, since 2026-11-25T10:00:00Z`.
fn connected(client: &Value) -> String {
    let part = |key: &str| client.get(key).map(plain).unwrap_or_default();
    let name = match part("name") {
        name if name.is_empty() => "not greeted yet".to_owned(),
        // A cell has no control characters, but may be as long as it likes.
        name => shortened(&format!("{name} {}", part("version"))),
    };
    let told = format!("{name}, pid {}, since {}", part("pid"), part("since"));
    match part("hangar_version") {
        version if version == env!("CARGO_PKG_VERSION") => told,
        version => format!("{told}, hangar {version}"),
    }
}

/// `4: 2 ready, 2 cold`.
fn counts(status: &Value) -> String {
    let total = status.pointer("/providers/total").map(plain).unwrap_or_else(|| "-".into());
    let states = status.pointer("/providers/by_state").and_then(Value::as_object);
    let parts: Vec<String> = states.into_iter().flatten().map(|(state, number)| format!("{number} {state}")).collect();
    if parts.is_empty() { total } else { format!("{total}: {}", parts.join(", ")) }
}

fn last_reload(status: &Value) -> String {
    let Some(last) = status.get("last_reload").filter(|last| last.is_object()) else { return "-".into() };
    let part = |key: &str| last.get(key).map(plain).unwrap_or_default();
    let told = format!("{} at {}, requested by {}", part("status"), part("time"), part("requested_by"));
    match part("message") {
        message if message.is_empty() => told,
        message => format!("{told}: {message}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
