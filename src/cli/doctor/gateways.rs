//! The gateways of this user, whether they have lost their client, and what killed ones have left in the runtime directory.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::finding::Finding;
use crate::{
    census::{self, Ask, Client, Gateway, Held},
    host::Tree,
    runtime_dir::{
        self,
        pid_file::{self, Found},
    },
    telemetry::in_words,
};

const CHECK: &str = "gateways";
const PID_FILES: &str = "PID files";
/// One that is well answers in a millisecond.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// `only`: of this configuration file.
pub(super) fn check(only: Option<&Path>, tree: &Tree) -> (Vec<Finding>, Vec<Value>) {
    let gateways = census::gateways(only, tree);
    let mut findings = pid_files(only, &gateways);
    let mut told = Vec::new();
    for gateway in gateways.iter().filter(|gateway| gateway.held == Held::Yes) {
        let client = gateway.client(tree, Ask::For(ANSWER));
        findings.push(finding(gateway, client));
        told.push(with_client(gateway, client));
    }
    if told.is_empty() {
        findings.push(Finding::ok(CHECK, "none runs"));
    }
    (findings, told)
}

pub(super) fn with_client(gateway: &Gateway, client: Option<Client>) -> Value {
    let mut told = gateway.json();
    told["client"] = json!(client.map(|client| client.as_str()));
    told["client_reason"] = json!(client.map(|client| client.why()));
    told
}

fn finding(gateway: &Gateway, client: Option<Client>) -> Finding {
    let Some(facts) = &gateway.facts else {
        return Finding::note(CHECK, format!("one is starting ({})", gateway.record.display()));
    };
    let uptime = gateway.uptime.map_or("?".to_owned(), |uptime| in_words(uptime.as_secs()));
    let (pid, version, transport) = (facts.pid, &facts.version, &facts.transport);
    let about = format!("pid {pid}, {transport}, version {version}, up {uptime}, {}", facts.config.display());
    match client {
        Some(client) if client.is_lost() => {
            let help = "the next gateway of that file ends it when it is beyond cleanup.max_instances; now: hangar doctor \
                        --processes --end";
            Finding::found(CHECK, format!("{about}: it has lost its client ({})", client.why()), help)
        }
        _ => Finding::ok(CHECK, about),
    }
}

fn pid_files(only: Option<&Path>, gateways: &[Gateway]) -> Vec<Finding> {
    let records = gateways.iter().filter(|gateway| gateway.held == Held::No).map(|gateway| gateway.record.clone());
    let named = runtime_dir::pid_files(only);
    let named = named.into_iter().filter(|path| matches!(pid_file::look(path), Ok(Found::Stale(_))));
    let stale: Vec<_> = records.chain(named).collect();
    if stale.is_empty() {
        return vec![Finding::ok(PID_FILES, "none is stale")];
    }
    let found = |path: &PathBuf| {
        let message = format!("{} was left by a gateway that was killed", path.display());
        Finding::found(PID_FILES, message, "the next gateway that starts removes or replaces it; it may be deleted")
    };
    stale.iter().map(found).collect()
}
