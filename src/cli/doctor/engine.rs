//! The container engine, where a provider needs one.

use super::finding::Finding;
use crate::{
    cli::problems::count,
    config::{Config, Launch},
    transport,
};

const CHECK: &str = "engine";
const CONTAINERS: &str = "containers";

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let containers = config.providers.values().filter(|spec| spec.enabled && matches!(spec.launch, Launch::Docker(_)));
    let needed = count(containers.count(), "provider");
    if needed.starts_with("0 ") {
        return Vec::new();
    }
    let mut findings = relaxed(config);
    findings.push(match transport::engine().await {
        Ok(engine) => {
            let kind = if engine.podman { "Podman" } else { "Docker" };
            Finding::ok(CHECK, format!("{kind} answers at {}, for {needed}", engine.place))
        }
        Err(why) => {
            Finding::found(CHECK, format!("{needed} cannot start: {why}"), "start the engine, or set DOCKER_HOST")
        }
    });
    findings
}

/// Which of the safe defaults a container of this configuration does without.
fn relaxed(config: &Config) -> Vec<Finding> {
    let relaxed = config.providers.iter().filter_map(|(name, spec)| match &spec.launch {
        Launch::Docker(docker) if spec.enabled => Some((name, docker.relaxed())).filter(|(_, keys)| !keys.is_empty()),
        _ => None,
    });
    relaxed.map(|(name, keys)| Finding::note(CONTAINERS, format!("{name} is relaxed: {}", keys.join(", ")))).collect()
}
