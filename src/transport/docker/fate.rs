//! How a container ended, found out in whatever way the engine still allows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::{
    errors::Error,
    models::{ContainerStateStatusEnum as Status, EventMessage},
    query_parameters::{EventsOptionsBuilder, InspectContainerOptions, WaitContainerOptionsBuilder},
};
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::engine::{Engine, status, told};

/// Between two looks at a container whose engine does not answer well.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An engine that does not answer for so long is gone: an attached stream does not survive its restart anyway.
const ENGINE_GONE: Duration = Duration::from_secs(5);
/// For a question about the past.
const RECALL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The exit code of the server; 128 + n when a signal n ended it.
    Code(i64),
    /// It is gone and nobody knows how.
    Unknown,
    EngineGone(String),
}

/// Resolves when the container is gone, not merely at its end. To be begun before it is started.
pub(super) async fn of(engine: Engine, id: String) -> Fate {
    let began = SystemTime::now();
    let fate = gone(&engine, &id).await;
    match fate {
        // Podman says 0 of a container that it has removed, whatever its code was.
        Fate::Code(0) if engine.podman => recalled_code(&engine, &id, began).await.map_or(Fate::Unknown, Fate::Code),
        Fate::Unknown => recalled_code(&engine, &id, began).await.map_or(Fate::Unknown, Fate::Code),
        fate => fate,
    }
}

async fn gone(engine: &Engine, id: &str) -> Fate {
    let mut silent = Duration::ZERO;
    loop {
        // "removed" holds for one that was never started, too, and comes after everything below it is gone.
        let options = WaitContainerOptionsBuilder::default().condition("removed").build();
        let mut waiting = Box::pin(engine.api.wait_container(id, Some(options)));
        match waiting.next().await {
            Some(Ok(response)) => return Fate::Code(response.status_code),
            Some(Err(Error::DockerContainerWaitError { code, .. })) if code >= 0 => return Fate::Code(code),
            Some(Err(error)) if status(&error) == Some(404) => return Fate::Unknown,
            Some(Err(_)) | None => {}
        }
        // The wait itself was cut off; the container may be as well as ever.
        match engine.api.inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(found) => {
                silent = Duration::ZERO;
                let state = found.state.unwrap_or_default();
                if matches!(state.status, Some(Status::EXITED | Status::DEAD)) {
                    return state.exit_code.map_or(Fate::Unknown, Fate::Code);
                }
            }
            Err(error) if status(&error) == Some(404) => return Fate::Unknown,
            Err(error) => {
                silent += LOOK_EVERY;
                if silent >= ENGINE_GONE {
                    return Fate::EngineGone(told(&error));
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Whether the engine saw the container run out of memory. Asked afterwards: the container itself is gone by then.
pub(super) async fn out_of_memory(engine: &Engine, id: &str, since: SystemTime) -> bool {
    recall(engine, id, since, &["oom"]).await.is_some()
}

/// The exit code, from the engine's memory of the past.
async fn recalled_code(engine: &Engine, id: &str, since: SystemTime) -> Option<i64> {
    let event = match recall(engine, id, since, &["die", "died"]).await {
        Some(event) => event,
        // Podman answers a wait before it has written down what happened.
        None => {
            sleep(LOOK_EVERY).await;
            recall(engine, id, since, &["die", "died"]).await?
        }
    };
    let about = event.actor?.attributes?;
    ["exitCode", "containerExitCode"].iter().find_map(|name| about.get(*name)?.parse().ok())
}

/// The first event of these kinds since then.
async fn recall(engine: &Engine, id: &str, since: SystemTime, kinds: &[&str]) -> Option<EventMessage> {
    let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let options = EventsOptionsBuilder::default()
        .since(&seconds(since).to_string())
        // In the past: the engine answers from memory and hangs up.
        .until(&seconds(SystemTime::now()).saturating_add(1).to_string())
        .filters(&[("container", vec![id]), ("event", kinds.to_vec())].into())
        .build();
    let mut events = Box::pin(engine.api.events(Some(options)));
    timeout(RECALL, events.next()).await.ok()??.ok()
}
