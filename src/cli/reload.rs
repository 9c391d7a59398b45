//! `reload` and `diff`: what a configuration change does, told by the gateway that does it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    admin::{Admin, Answer, refusal},
    args::Gateway,
    discover,
    exit::Exit,
    output::{Colour, Out},
    problems::{self, count},
};

/// A gateway reads its files until they stand still; that takes 4 s at most, a busy disk more.
const READ: Duration = Duration::from_secs(60);

/// Every gateway of the configuration; the worst outcome counts.
pub(super) async fn reload(choice: Gateway, graceful: bool, verify: bool, out: &mut Out) -> anyhow::Result<Exit> {
    let body = serde_json::to_vec(&json!({"graceful": graceful, "verify": verify}))?;
    let gateways = discover::gateways(&choice).await?;
    let mut worst = Exit::Ok;
    for admin in &gateways {
        if gateways.len() > 1 && !out.json {
            out.line(format!("{admin}:"))?;
        }
        // `verify` starts providers: startup_timeout_s of each bounds it.
        let within = (!verify).then_some(READ);
        let outcome = match admin.post("/api/config/reload", body.clone(), within).await {
            Ok(answer) => report(out, admin, answer, |out, report| {
                done(out, report)?;
                Ok(Exit::Ok)
            }),
            Err(error) => Err(error),
        };
        worst = worst.max(super::settle(outcome, gateways.len() > 1)?);
    }
    Ok(worst)
}

/// The difference between the file and what the newest gateway has in force.
pub(super) async fn diff(choice: Gateway, out: &mut Out) -> anyhow::Result<Exit> {
    let admin = discover::newest(&choice).await?;
    let answer = admin.get("/api/config/diff", READ).await?;
    report(out, &admin, answer, |out, report| {
        let differs = differs(report);
        if !out.json {
            if differs {
                changes(out, report, true)?;
            } else {
                out.line("no difference: the file says what is in force")?;
            }
            if !names(report.get("dotenv").unwrap_or(&Value::Null), "changed").is_empty() {
                dotenv(out, report)?;
            }
            remarks(out, report)?;
        }
        Ok(if differs { Exit::Found } else { Exit::Ok })
    })
}

/// A report, or a failure report with its problems.
fn report(
    out: &mut Out,
    admin: &Admin,
    answer: Answer,
    success: impl FnOnce(&mut Out, &Value) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let status = answer.status;
    let body = answer.json(admin)?;
    if status == 200 {
        if out.json {
            out.document(&body)?;
        }
        return success(out, &body);
    }
    let Some(stage) = body.get("stage").and_then(Value::as_str) else {
        return Err(refusal(status, &body).into());
    };
    let invalid = matches!(stage, "read" | "parse" | "normalize" | "validate");
    if out.json {
        out.document(&body)?;
    } else {
        let found = body.get("problems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        problems::print(out, found, Colour::Red)?;
        let verdict = if invalid {
            format!("the configuration is not valid: {}", count(found.len(), "problem"))
        } else {
            format!("refused ({stage}): {}", text(&body, "message"))
        };
        out.line(out.paint(&verdict, Colour::Red))?;
        out.line(format!("nothing has changed: generation {} stays in force", number(&body, "generation")))?;
    }
    Ok(if invalid { Exit::ConfigInvalid } else { Exit::Refused })
}

/// After a reload that succeeded.
fn done(out: &mut Out, report: &Value) -> anyhow::Result<()> {
    if out.json {
        return Ok(());
    }
    let generation = number(report, "generation");
    let took = report.get("duration_ms").and_then(Value::as_f64).unwrap_or_default();
    out.line(out.paint(&format!("reloaded in {took:.1} ms: generation {generation} is in force"), Colour::Green))?;
    changes(out, report, false)?;
    dotenv(out, report)?;
    remarks(out, report)
}

/// What was (or, `ahead`, would be) added, removed and updated.
fn changes(out: &mut Out, report: &Value, ahead: bool) -> anyhow::Result<()> {
    for (key, word, colour) in [
        ("providers_added", "added", Colour::Green),
        ("providers_removed", "removed", Colour::Red),
        ("providers_updated", "updated", Colour::Yellow),
    ] {
        for name in names(report, key) {
            let fields = fields(report, name) + &owner(report, name);
            out.line(format!("  {} {name}{fields}", out.paint(&format!("{word:<9}"), colour)))?;
        }
    }
    for (key, word, colour) in [
        ("groups_added", "added", Colour::Green),
        ("groups_removed", "removed", Colour::Red),
        ("groups_updated", "updated", Colour::Yellow),
    ] {
        for name in names(report, key) {
            let fields = fields(report, name);
            out.line(format!("  {} group {name}{fields}", out.paint(&format!("{word:<9}"), colour)))?;
        }
    }
    for key in names(report, "settings_updated") {
        out.line(format!("  {} {key}", out.paint(&format!("{:<9}", "setting"), Colour::Yellow)))?;
    }
    let unchanged = names(report, "providers_unchanged").len();
    out.line(format!("  unchanged {}", count(unchanged, "provider")))?;
    let draining = names(report, "draining");
    if !ahead && !draining.is_empty() {
        out.line(format!("  draining  {}", draining.join(", ")))?;
    }
    Ok(())
}

/// ` (env, idle_ttl_s)`: the keys that differ.
fn fields(report: &Value, name: &str) -> String {
    let fields: Vec<_> = report
        .pointer(&format!("/changed_fields/{name}"))
        .and_then(Value::as_array)
        .map(|fields| fields.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) }
}

/// Where it comes from, when that is not the file.
fn owner(report: &Value, name: &str) -> String {
    let owner = report.pointer(&format!("/owners/{name}")).and_then(Value::as_str);
    owner.map(|owner| format!(" [{owner}]")).unwrap_or_default()
}

/// What the `.env` file brought, also when that is nothing. A gateway without one has nothing to tell.
pub(super) fn dotenv(out: &mut Out, report: &Value) -> anyhow::Result<()> {
    let Some(dotenv) = report.get("dotenv") else { return Ok(()) };
    let (path, source) = (text(dotenv, "path"), text(dotenv, "source"));
    if !path.is_empty() {
        out.line(format!("  .env      {path} ({source}): {}", text(dotenv, "effect")))?;
    }
    Ok(())
}

fn remarks(out: &mut Out, report: &Value) -> anyhow::Result<()> {
    for key in names(report, "restart_required") {
        out.line(format!("{}: {key} takes effect after a restart", out.paint("note", Colour::Yellow)))?;
    }
    for warning in names(report, "warnings") {
        out.line(format!("{} {warning}", out.paint("warning:", Colour::Yellow)))?;
    }
    Ok(())
}

/// Whether the gateway runs something else than the file says.
fn differs(report: &Value) -> bool {
    let providers = ["providers_added", "providers_removed", "providers_updated"];
    let groups = ["groups_added", "groups_removed", "groups_updated"];
    providers
        .iter()
        .chain(&groups)
        .chain(&["settings_updated", "restart_required"])
        .any(|key| !names(report, key).is_empty())
}

fn names<'a>(report: &'a Value, key: &str) -> Vec<&'a str> {
    let list = report.get(key).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}
