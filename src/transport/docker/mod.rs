//! A provider that is a container: its image, its creation, its streams, and the tasks that serve them.
//!
//! Owned by whoever holds the [`Connection`]: dropping its link closes the server's stdin and starts the stop ladder. The
//! engine owns the container itself; it gives the server its end of file when the gateway is gone (`StdinOnce`) and removes
//! what has ended (`AutoRemove`). What ignores its end of file then is for its [`keeper`], and what a killed keeper leaves for
//! the next gateway's [`sweep()`].

use std::sync::Arc;

use bollard::{
    container::{AttachContainerResults, LogOutput},
    errors::Error,
    models::ContainerCreateBody,
    query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions},
};
use futures_util::StreamExt as _;

use super::{
    Connection, Inbound, Marker, OutputRing, PullWatch, TransportError,
    streams::{StderrTail, deliver},
};
use crate::{
    config::{self, DockerSpec, ProviderName, StopTimes, Volume},
    wire::Lines,
};
use container::{Container, remove};
use engine::{Engine, status, told};
use keeper::Keeper;

mod container;
mod engine;
mod fate;
mod image;
mod keeper;
pub(super) mod labels;
mod listing;
mod offers;
mod outbox;
mod settings;
mod sweep;

pub use keeper::{COMMAND as KEEPER, entry};
pub use listing::{ContainerOf, EngineFacts, container_memory, containers, end_container, engine};
pub use offers::{OfferEvents, Offered, offers};
pub use sweep::sweep;

/// Frames in a row before other tasks get their turn.
const FRAMES: usize = 64;

/// The image is there when this returns. May take as long as a download does; dropping the future leaves nothing.
pub(super) async fn prepare(name: &ProviderName, spec: &DockerSpec, pulls: &PullWatch) -> Result<(), TransportError> {
    image::ensure(&Engine::connect().await?, name, spec, pulls).await
}

/// Starts the server in its container; returns when it runs. No byte has been sent to it yet.
pub(super) async fn open(
    name: &ProviderName,
    spec: &DockerSpec,
    stop: StopTimes,
    marker: &Marker,
    output: Arc<OutputRing>,
    inbound: (Arc<dyn Inbound>, usize),
) -> Result<Connection, TransportError> {
    let engine = Engine::connect().await?;
    check_volumes(spec.volumes.clone(), engine.podman).await?;
    let parent = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let body = settings::container(name, spec, marker, parent);
    let birth = Birth {
        engine,
        name: format!("hangar-{name}-{:08x}", fastrand::u32(..)),
        provider: name.clone(),
        image: spec.image.clone(),
        memory: spec.resources.memory,
        stop,
    };
    // A task of its own: when nobody waits any more it goes on to its end, the connection is dropped there, and with that
    // the container goes down its ladder. Cut off between two requests it would be left to itself.
    match tokio::spawn(birth.give(body, output, inbound)).await {
        Ok(born) => born,
        Err(error) => Err(TransportError::Open(format!("the start of the container was lost sight of: {error}"))),
    }
}

/// Again, as the machine is now: a link may have been laid since the configuration was read.
async fn check_volumes(volumes: Vec<Volume>, podman: bool) -> Result<(), TransportError> {
    let look = move || {
        // Docker refuses these by itself, Podman would make a directory.
        if let Some(missing) = volumes.iter().find(|volume| podman && !volume.host.exists()) {
            return Err(TransportError::Open(format!("the volume {} does not exist", missing.host.display())));
        }
        let found =
            volumes.iter().find_map(|v| Some((v, config::volume_refusal(&v.host, &|name| std::env::var_os(name))?)));
        found.map_or(Ok(()), |(volume, why)| {
            Err(TransportError::Open(format!("the volume {} is refused: {why}", volume.host.display())))
        })
    };
    // A file system that has hung must not hold up anything else.
    tokio::task::spawn_blocking(look).await.unwrap_or(Ok(()))
}

/// Everything that is needed to bring one container up.
struct Birth {
    engine: Engine,
    /// The container's.
    name: String,
    provider: ProviderName,
    image: String,
    memory: u64,
    stop: StopTimes,
}

impl Birth {
    async fn give(
        self,
        body: ContainerCreateBody,
        output: Arc<OutputRing>,
        inbound: (Arc<dyn Inbound>, usize),
    ) -> Result<Connection, TransportError> {
        let keeper = Keeper::spawn(&self.engine, &self.name, self.stop)?;
        // From here on an early return drops the keeper, and that looks after whatever there is.
        let id = self.create(body).await?;
        let fate = tokio::spawn(fate::of(self.engine.clone(), id.clone()));
        match self.attach_and_start(&id).await {
            Ok(AttachContainerResults { output: frames, input }) => {
                let intake = tokio::spawn(read(frames, inbound, output));
                let container = Container::new(self.engine, id, self.stop, self.memory, Some(keeper));
                Ok(container.connect(input, fate, intake))
            }
            Err(error) => {
                let left = remove(&self.engine, &id).await.err();
                fate.abort();
                let Some(why) = left else {
                    keeper.removed().await;
                    return Err(error);
                };
                Err(TransportError::Open(format!("{error}; {why}")))
            }
        }
    }

    async fn create(&self, body: ContainerCreateBody) -> Result<String, TransportError> {
        match self.try_create(body.clone()).await {
            // Podman runs an init only where the package catatonit is installed.
            Err(error) if self.engine.podman && lacks_init(&error) => {
                tracing::warn!(provider = %self.provider, error = told(&error), "container_without_init");
                let host = body.host_config.clone().unwrap_or_default();
                let host_config = Some(bollard::models::HostConfig { init: Some(false), ..host });
                self.try_create(ContainerCreateBody { host_config, ..body }).await
            }
            tried => tried,
        }
        .map_err(|error| self.not_created(&error))
    }

    async fn try_create(&self, body: ContainerCreateBody) -> Result<String, Error> {
        let options = CreateContainerOptionsBuilder::default().name(&self.name).build();
        let created = self.engine.api.create_container(Some(options), body).await?;
        for warning in created.warnings {
            tracing::warn!(provider = %self.provider, warning, "container_engine_warns");
        }
        Ok(created.id)
    }

    fn not_created(&self, error: &Error) -> TransportError {
        let (image, name) = (&self.image, &self.name);
        let text = match status(error) {
            Some(404) if told(error).to_lowercase().contains("no such image") => {
                format!("the image `{image}` is not on this machine any more")
            }
            Some(409) => format!("a container of the name {name} exists already: {}", told(error)),
            Some(_) => format!("the container engine refuses the container of image `{image}`: {}", told(error)),
            None => format!("the container could not be created: {}", told(error)),
        };
        TransportError::Open(text)
    }

    /// In this order: what a server says in its first moment would be lost otherwise.
    async fn attach_and_start(&self, id: &str) -> Result<AttachContainerResults, TransportError> {
        let options =
            AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true).build();
        let attached = self
            .engine
            .api
            .attach_container(id, Some(options))
            .await
            .map_err(|e| TransportError::Open(format!("the container could not be attached to: {}", told(&e))))?;
        match self.engine.api.start_container(id, None::<StartContainerOptions>).await {
            Ok(()) => Ok(attached),
            Err(error) => {
                let why = told(&error);
                let hint = match status(&error) {
                    Some(400) => " (are `entrypoint` and `command` right for this image?)",
                    _ => "",
                };
                Err(TransportError::Open(format!(
                    "the container of image `{}` could not be started: {why}{hint}",
                    self.image
                )))
            }
        }
    }
}

fn lacks_init(error: &Error) -> bool {
    let text = told(error).to_lowercase();
    status(error).is_some_and(|code| code >= 400) && (text.contains("catatonit") || text.contains("init binary"))
}

type Frames = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, Error>> + Send>>;

/// Delivers stdout, lines of at most `limit` bytes, and keeps the end of stderr; returns at the end of both.
async fn read(mut frames: Frames, (inbound, limit): (Arc<dyn Inbound>, usize), output: Arc<OutputRing>) {
    let (mut lines, mut stderr) = (Lines::new(limit), StderrTail::default());
    let mut in_a_row = 0;
    while let Some(Ok(frame)) = frames.next().await {
        match frame {
            LogOutput::StdErr { message } => {
                stderr.room().extend_from_slice(&message);
                stderr.take(&output);
            }
            // Frames cut lines anywhere; `Lines` remembers how far it has looked.
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                lines.room().extend_from_slice(&message);
                while let Some(line) = lines.next_line() {
                    deliver(line, limit, &*inbound, &output);
                }
            }
            LogOutput::StdIn { .. } => {}
        }
        in_a_row += 1;
        if in_a_row % FRAMES == 0 {
            // A flood must not keep this worker from the other tasks.
            tokio::task::yield_now().await;
        }
    }
    if let Some(rest) = lines.rest() {
        output.noise(&rest);
    }
    stderr.finish(&output);
}
