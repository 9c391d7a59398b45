//! `doctor`: what stands in the way of a gateway here, and what gateways have left behind.
//!
//! Looks without touching: no directory is made, nothing is started. Only `--processes --end` acts, and only after a yes.

mod configuration;
mod ending;
mod engine;
mod finding;
mod gateways;
mod limits;
mod places;
mod processes;

use serde_json::json;

use finding::{Finding, Verdict};

use super::{
    args::Doctor,
    exit::Exit,
    output::{Colour, Out},
    problems::count,
};
use crate::host::Tree;

/// 0: nothing found; 1: something was.
pub(super) async fn doctor(typed: Doctor, out: &mut Out) -> anyhow::Result<Exit> {
    if typed.processes {
        return processes::processes(&typed, out).await;
    }
    let tree = Tree::look();
    let (mut findings, checked) = configuration::check(&typed.config);
    findings.extend(places::check(checked.path.as_deref()));
    if let Some(config) = &checked.config {
        findings.extend(engine::check(config).await);
    }
    let (of_gateways, gateways) = gateways::check(typed.config.as_deref(), &tree);
    findings.extend(of_gateways);
    findings.extend(limits::check(checked.path.as_deref(), checked.config.as_ref()));
    let found = findings.iter().filter(|finding| finding.verdict == Verdict::Found).count();
    if out.json {
        let status = if found == 0 { "fine" } else { "found" };
        out.document(&json!({"status": status, "findings": findings, "gateways": gateways}))?;
    } else {
        tell(out, &findings, found)?;
    }
    Ok(if found == 0 { Exit::Ok } else { Exit::Found })
}

fn tell(out: &mut Out, findings: &[Finding], found: usize) -> anyhow::Result<()> {
    for finding in findings {
        let (word, colour) = match finding.verdict {
            Verdict::Ok => ("ok   ", Colour::Green),
            Verdict::Note => ("note ", Colour::Yellow),
            Verdict::Found => ("found", Colour::Red),
        };
        let word = out.paint(word, colour);
        out.foreign(&format!("{word}  {:<13}  {}", finding.check, finding.message))?;
        if let Some(help) = &finding.help {
            out.line(format!("{:22}help: {help}", ""))?;
        }
    }
    let (verdict, colour) = match found {
        0 => ("nothing found that is wrong".to_owned(), Colour::Green),
        found => (format!("{} found", count(found, "problem")), Colour::Red),
    };
    out.line(out.paint(&verdict, colour))
}
