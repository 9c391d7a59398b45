//! `load` and `unload`: a provider that the configuration keeps out of service, by its name.

use std::time::Duration;

use serde_json::Value;

use super::{
    admin::step,
    args::Gateway,
    discover,
    exit::Exit,
    output::{Colour, Out},
};

/// Behind a reload that waits for its files to stand still.
const WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub(super) enum Way {
    Load,
    Unload,
}

/// In every gateway of the configuration; the worst outcome counts.
pub(super) async fn run(choice: Gateway, provider: &str, way: Way, out: &mut Out) -> anyhow::Result<Exit> {
    let gateways = discover::gateways(&choice).await?;
    let verb = match way {
        Way::Load => "load",
        Way::Unload => "unload",
    };
    let path = format!("/api/providers/{}/{verb}", step(provider));
    let mut worst = Exit::Ok;
    for admin in &gateways {
        let answer = admin.post(&path, b"{}".to_vec(), Some(WAIT)).await.and_then(|answer| answer.success(admin));
        let outcome = answer.and_then(|answer| {
            if out.json {
                out.document(&answer)?;
                return Ok(Exit::Ok);
            }
            let text = match (way, answer.get("draining") == Some(&Value::Bool(true))) {
                (Way::Load, _) => format!("{provider} is loaded; it starts with its first call"),
                (Way::Unload, true) => format!("{provider} is unloaded; calls in flight finish"),
                (Way::Unload, false) => format!("{provider} is unloaded"),
            };
            out.line(out.paint(&text, Colour::Green))?;
            Ok(Exit::Ok)
        });
        worst = worst.max(super::settle(outcome, gateways.len() > 1)?);
    }
    Ok(worst)
}
