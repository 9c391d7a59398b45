//! The container engine, where a provider needs one.

use super::finding::Finding;
use crate::{
    cli::problems::count,
    config::{Config, Launch},
    transport,
};

const CHECK: &str = "engine";

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let containers = config.providers.values().filter(|spec| spec.enabled && matches!(spec.launch, Launch::Docker(_)));
    let needed = count(containers.count(), "provider");
    if needed.starts_with("0 ") {
        return Vec::new();
    }
    vec![match transport::engine().await {
        Ok(engine) => {
            let kind = if engine.podman { "Podman" } else { "Docker" };
            Finding::ok(CHECK, format!("{kind} answers at {}, for {needed}", engine.place))
        }
        Err(why) => Finding::found(CHECK, format!("{needed} cannot start: {why}"), "start the engine, or set DOCKER_HOST"),
    }]
}
