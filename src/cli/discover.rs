//! Which running gateways a command is about.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    admin::Admin,
    args::Gateway,
    exit::{Exit, fail},
};
use crate::{
    config,
    runtime_dir::{
        self,
        pid_file::{Facts, Found, look},
    },
};

/// A gateway of this machine, for those who signal it.
pub(super) struct Process {
    pub facts: Facts,
    /// Where its facts lie.
    pub record: PathBuf,
}

/// One question that is answered from memory.
const QUICK: std::time::Duration = std::time::Duration::from_secs(15);

/// At least one, newest first: the one named, or every live one of the configuration file.
pub(super) async fn gateways(choice: &Gateway) -> anyhow::Result<Vec<Admin>> {
    if let Some(url) = &choice.url {
        return Ok(vec![Admin::at(url)?]);
    }
    if let Some(socket) = &choice.socket {
        return Ok(vec![Admin::socket(socket)]);
    }
    if let Some(path) = &choice.pid_file {
        return match &held(path)?.facts.socket {
            Some(socket) => Ok(vec![Admin::socket(socket)]),
            None => fail(Exit::NotReached, format!("the gateway of {} has no admin socket", path.display())),
        };
    }
    live(&located(choice)?).await
}

/// At least one, newest first: the one named, or every one of the configuration file, also one that does not answer.
pub(super) async fn processes(choice: &Gateway) -> anyhow::Result<Vec<Process>> {
    if let Some(path) = &choice.pid_file {
        return Ok(vec![held(path)?]);
    }
    if choice.url.is_none() && choice.socket.is_none() {
        let config = located(choice)?;
        let found: Vec<_> = runtime_dir::records_of(Some(&config)).iter().filter_map(|path| held(path).ok()).collect();
        return if found.is_empty() { fail(Exit::NotReached, none_of(&config, "")) } else { Ok(found) };
    }
    // It says which life it is, and that is looked for among those of this machine.
    let admin = newest(choice).await?;
    let status = admin.get("/api/status", QUICK).await?.success(&admin)?;
    let life = status.get("generation_id").and_then(Value::as_str).unwrap_or_default();
    let records = runtime_dir::records_of(None);
    match records.iter().filter_map(|path| held(path).ok()).find(|found| found.facts.generation_id == life) {
        Some(found) => Ok(vec![found]),
        None => fail(
            Exit::Refused,
            format!("the gateway at {admin} is not one of this machine and user, and cannot be signalled from here"),
        ),
    }
}

/// The gateway that holds a PID file.
fn held(path: &Path) -> anyhow::Result<Process> {
    let file = path.display();
    let gone = |facts: Option<Box<Facts>>| facts.map_or("its gateway".into(), |facts| format!("pid {}", facts.pid));
    match look(path) {
        Ok(Found::Held(Some(facts))) => Ok(Process { facts: *facts, record: path.to_owned() }),
        Ok(Found::Held(None)) => fail(Exit::NotReached, format!("the gateway of {file} is still starting")),
        Ok(Found::Stale(facts)) => fail(
            Exit::NotReached,
            format!("no running gateway reached: the PID file {file} is stale, {} is gone", gone(facts)),
        ),
        Ok(Found::Absent) => fail(Exit::NotReached, format!("no running gateway reached: there is no PID file {file}")),
        Err(error) => fail(Exit::NotReached, format!("no running gateway reached: {file} cannot be read: {error}")),
    }
}

/// The configuration file whose gateways are meant.
fn located(choice: &Gateway) -> anyhow::Result<PathBuf> {
    Ok(match &choice.config {
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
    })
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
    fail(Exit::NotReached, none_of(config, &unusable.concat()))
}

/// `more`: lines about sockets that were there.
fn none_of(config: &Path, more: &str) -> String {
    let places: Vec<_> = runtime_dir::places().iter().map(|place| place.display().to_string()).collect();
    let left = runtime_dir::pid_file_path(config).ok().filter(|path| matches!(look(path), Ok(Found::Stale(_))));
    let left = left.map(|path| format!("\n  {} is stale: its gateway was killed", path.display())).unwrap_or_default();
    let (file, places) = (config.display(), places.join(", "));
    format!(
        "no running gateway of {file} reached; looked for its sockets in {places}{more}{left}\n  help: start one with `hangar \
         serve --http --config {file}`, or name another with --config FILE, --url http://HOST:PORT, --socket PATH or \
         --pid-file FILE"
    )
}

fn is_stale(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
}
