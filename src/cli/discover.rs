//! Which running gateways a command is about.

use std::path::Path;

use super::{
    admin::Admin,
    args::Gateway,
    exit::{Exit, fail},
};
use crate::{config, runtime_dir};

/// At least one, newest first: the one named, or every live one of the configuration file.
pub(super) async fn gateways(choice: &Gateway) -> anyhow::Result<Vec<Admin>> {
    if let Some(url) = &choice.url {
        return Ok(vec![Admin::at(url)?]);
    }
    if let Some(socket) = &choice.socket {
        return Ok(vec![Admin::socket(socket)]);
    }
    let config = match &choice.config {
        // It may be gone while its gateway still runs.
        Some(path) => path.clone(),
        None => match config::locate(None) {
            Ok(path) => path,
            Err(problem) => {
                return fail(
                    Exit::NotReached,
                    format!(
                        "no running gateway reached: {}\n  help: name its configuration with --config FILE, or the gateway \
                         itself with --url http://HOST:PORT or --socket PATH",
                        problem.message
                    ),
                );
            }
        },
    };
    live(&config).await
}

/// The newest of them.
pub(super) async fn newest(choice: &Gateway) -> anyhow::Result<Admin> {
    match gateways(choice).await?.into_iter().next() {
        Some(admin) => Ok(admin),
        None => fail(Exit::NotReached, "no running gateway reached"),
    }
}

async fn live(config: &Path) -> anyhow::Result<Vec<Admin>> {
    let mut live = Vec::new();
    let mut unusable = Vec::new();
    for socket in runtime_dir::sockets_of(config) {
        let admin = Admin::socket(&socket);
        match admin.listens().await {
            Ok(()) => live.push(admin),
            // Left behind by a gateway that was killed.
            Err(error) if is_stale(&error) => {}
            Err(error) => unusable.push(format!("\n  {}: {error}", socket.display())),
        }
    }
    if !live.is_empty() {
        return Ok(live);
    }
    let places: Vec<_> = runtime_dir::places().iter().map(|place| place.display().to_string()).collect();
    let file = config.display();
    fail(
        Exit::NotReached,
        format!(
            "no running gateway of {file} reached; looked for its sockets in {}{}\n  help: start one with `hangar serve \
             --http --config {file}`, or name another with --config FILE, --url http://HOST:PORT or --socket PATH",
            places.join(", "),
            unusable.concat()
        ),
    )
}

fn is_stale(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
}
