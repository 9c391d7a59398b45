//! The engine and the containers of gateways, for those who look at them from outside: `hangar doctor`.

use std::time::Duration;

use bollard::{
    models::ContainerSummary,
    query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder},
};
use futures_util::{StreamExt as _, future::join_all};
use tokio::time::timeout;

use super::{
    container::remove,
    engine::{Engine, told},
    labels::{GENERATION, INSTANCE, MANAGED, OWNER, PROVIDER},
};
use crate::host::Owner;

/// For one look at one container's memory.
const MEMORY: Duration = Duration::from_secs(2);

/// The engine that a gateway with this environment would use.
#[derive(Debug, Clone)]
pub struct EngineFacts {
    pub place: String,
    pub podman: bool,
}

/// A container that some gateway has made.
#[derive(Debug, Clone)]
pub struct ContainerOf {
    pub id: String,
    pub name: String,
    pub provider: Option<String>,
    pub instance: Option<String>,
    pub generation: Option<String>,
    pub owner: Option<Owner>,
    /// In the engine's words: `running`, `created`, ...
    pub state: String,
    /// Seconds since 1970.
    pub created: Option<i64>,
}

/// The first that answers; an `Err` names every place that was looked at.
pub async fn engine() -> Result<EngineFacts, String> {
    let engine = Engine::connect().await.map_err(|error| error.to_string())?;
    Ok(EngineFacts { place: engine.place, podman: engine.podman })
}

/// All that bear our mark, of whichever user's gateway, running or not.
pub async fn containers() -> Result<Vec<ContainerOf>, String> {
    let engine = Engine::connect().await.map_err(|error| error.to_string())?;
    let filters = [("label", vec![format!("{MANAGED}=true")])].into();
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let listed = engine.api.list_containers(Some(options)).await.map_err(|error| told(&error))?;
    Ok(listed.into_iter().filter_map(ContainerOf::read).collect())
}

/// Of each; an engine takes its time for it, so all are asked at once.
pub async fn container_memory(ids: &[&str]) -> Vec<Option<u64>> {
    let Ok(engine) = Engine::connect().await else { return Vec::new() };
    join_all(ids.iter().map(|id| memory(&engine, id))).await
}

/// By force. One that is gone already is as wanted.
pub async fn end_container(id: &str) -> Result<(), String> {
    let engine = Engine::connect().await.map_err(|error| error.to_string())?;
    remove(&engine, id).await
}

async fn memory(engine: &Engine, id: &str) -> Option<u64> {
    let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
    let mut stats = engine.api.stats(id, Some(options));
    let stats = timeout(MEMORY, stats.next()).await.ok()??.ok()?;
    stats.memory_stats?.usage
}

impl ContainerOf {
    fn read(container: ContainerSummary) -> Option<Self> {
        let labels = container.labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned();
        let name = container.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        Some(Self {
            id: container.id?,
            name: name.trim_start_matches('/').to_owned(),
            provider: label(PROVIDER),
            instance: label(INSTANCE),
            generation: label(GENERATION),
            owner: label(OWNER).and_then(|owner| owner.parse().ok()),
            state: container.state.map(|state| state.to_string()).unwrap_or_default(),
            created: container.created,
        })
    }
}
