//! `doctor --processes --end`: ends what is left over, by identity, after a yes.

use std::io::{self, BufRead, IsTerminal, Write};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::processes::Scene;
use crate::{
    census::{self, Ended},
    cli::{
        exit::{Exit, fail},
        output::Out,
        problems::count,
    },
    transport,
};

/// What became of each, and the exit code: 1 when something would not end.
pub(super) async fn end(scene: &Scene, doomed: &usize, yes: bool, out: &mut Out) -> anyhow::Result<(Vec<Value>, Exit)> {
    if *doomed == 0 {
        if !out.json {
            out.line("there is nothing to end")?;
        }
        return Ok((Vec::new(), Exit::Ok));
    }
    if !yes && !agreed(*doomed)? {
        return Ok((Vec::new(), Exit::Found));
    }
    let mut ended = Vec::new();
    // Each may take as long as a stop may take.
    let gateways = scene.lost().filter_map(|gateway| gateway.process);
    let gateways =
        gateways.map(async |process| told("gateway", json!(process.pid), census::end_gateway(process).await));
    ended.extend(join_all(gateways).await);
    for (process, outcome) in census::end_left_over(scene.left_over().map(|member| member.process).collect()).await {
        ended.push(told("process", json!(process.pid), outcome));
    }
    for container in scene.left_over_containers() {
        let outcome = match transport::end_container(&container.id).await {
            Ok(()) => "removed".to_owned(),
            Err(why) => why,
        };
        let survived = outcome != "removed";
        ended.push(json!({"what": "container", "id": container.name, "outcome": outcome, "survived": survived}));
    }
    if !out.json {
        for one in &ended {
            let part = |key: &str| one.get(key).map(|value| value.to_string().trim_matches('"').to_owned());
            let [what, id, outcome] = ["what", "id", "outcome"].map(|key| part(key).unwrap_or_default());
            out.foreign(&format!("{what} {id}: {outcome}"))?;
        }
    }
    let survived = ended.iter().any(|one| one.get("survived") == Some(&json!(true)));
    Ok((ended, if survived { Exit::Found } else { Exit::Ok }))
}

fn told(what: &str, id: Value, ended: Ended) -> Value {
    json!({"what": what, "id": id, "outcome": ended.as_str(), "survived": ended == Ended::Survived})
}

/// On a terminal only: a script says `--yes`.
fn agreed(doomed: usize) -> anyhow::Result<bool> {
    let what = count(doomed, "process, gateway or container").replace("containers", "containers (see above)");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return fail(
            Exit::Refused,
            format!("{what} to end, and nobody to ask: say --yes to end them; nothing was ended"),
        );
    }
    write!(io::stderr(), "end {what}? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
