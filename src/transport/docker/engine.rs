//! The container engine: where it listens, and whether it answers. Docker and Podman speak the same language here.

use std::{error::Error as _, path::Path, time::Duration};

use bollard::{Docker, errors::Error};
use tokio::time::timeout;

use crate::transport::TransportError;

/// For one question that an engine answers from memory.
const ANSWER: Duration = Duration::from_secs(5);

/// An engine that has answered. Cheap to clone; every request has a connection of its own.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) api: Docker,
    pub(super) podman: bool,
    /// Where it listens.
    pub(super) place: String,
}

impl Engine {
    /// The first that answers. An `Err` names every place that was looked at, and what was there.
    pub(super) async fn connect() -> Result<Self, TransportError> {
        let places = places(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let mut tried = Vec::new();
        for place in &places {
            match Self::at(place).await {
                Ok(engine) => return Ok(engine),
                Err(why) => tried.push(format!("{place}: {why}")),
            }
        }
        let text = format!(
            "no container engine answers ({}). Start Docker or Podman (podman system service), or set DOCKER_HOST to its socket",
            tried.join("; ")
        );
        Err(TransportError::Open(text))
    }

    pub(super) async fn at(place: &str) -> Result<Self, String> {
        if let Some(path) = place.strip_prefix("unix://")
            && !Path::new(path).exists()
        {
            return Err("there is no such socket".into());
        }
        if place.starts_with("tcp://") && std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty()) {
            return Err("TLS to an engine (DOCKER_TLS_VERIFY) is not supported".into());
        }
        let api = Docker::connect_with_host(place).map_err(|e| match e {
            Error::UnsupportedURISchemeError { .. } => "only unix:// and tcp:// are supported".to_owned(),
            other => told(&other),
        })?;
        let version = match timeout(ANSWER, api.version()).await {
            Ok(version) => version.map_err(|e| told(&e))?,
            Err(_) => return Err(format!("no answer within {} s", ANSWER.as_secs())),
        };
        let podman = version.components.unwrap_or_default().iter().any(|part| part.name.contains("Podman"));
        Ok(Self { api, podman, place: place.to_owned() })
    }
}

/// Where an engine may listen, the likeliest first. `DOCKER_HOST` is an order: nothing else is tried then.
fn places(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    if let Some(host) = variable("DOCKER_HOST") {
        return vec![host];
    }
    let of_user =
        variable("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let mut paths = vec!["/var/run/docker.sock".to_owned(), format!("{of_user}/docker.sock")];
    paths.extend(variable("HOME").map(|home| format!("{home}/.docker/run/docker.sock")));
    paths.extend([format!("{of_user}/podman/podman.sock"), "/run/podman/podman.sock".to_owned()]);
    paths.into_iter().map(|path| format!("unix://{path}")).collect()
}

/// The engine's own words, or what lies below an error of the connection.
pub(super) fn told(error: &Error) -> String {
    if let Error::DockerResponseServerError { message: words, .. } | Error::DockerStreamError { error: words } = error {
        return words.trim().to_owned();
    }
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        below = cause.source();
    }
    text
}

/// The HTTP status, when the engine answered with one.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_is_an_order_and_without_it_every_usual_place_is_tried() {
        assert_eq!(places(|name| (name == "DOCKER_HOST").then(|| "tcp://e:1".to_owned())), ["tcp://e:1"]);
        let found = places(|name| match name {
            "XDG_RUNTIME_DIR" => Some("/r".to_owned()),
            "HOME" => Some("/h".to_owned()),
            _ => None,
        });
        let expected = [
            "unix:///var/run/docker.sock",
            "unix:///r/docker.sock",
            "unix:///h/.docker/run/docker.sock",
            "unix:///r/podman/podman.sock",
            "unix:///run/podman/podman.sock",
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_place_without_an_engine_says_what_was_found_there() {
        let why = |place: String| async move { Engine::at(&place).await.err().unwrap() };
        assert_eq!(why("unix:///no/such/socket".into()).await, "there is no such socket");
        assert!(why("ssh://host".into()).await.contains("only unix:// and tcp://"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let text = why(format!("unix://{}", path.display())).await;
        assert!(text.to_lowercase().contains("refused"), "{text}");
    }
}
