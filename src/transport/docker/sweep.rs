//! Ends containers that outlived their gateway: servers that ignored the end of their stdin when it was killed.

use bollard::{models::ContainerSummary, query_parameters::ListContainersOptionsBuilder};

use super::{
    container::remove,
    engine::{Engine, told},
    labels::{GENERATION, INSTANCE, MANAGED, OWNER},
};
use crate::transport::Marker;

/// Removes the containers of dead gateways of this instance; how many. Never by name or image: only what bears this
/// instance's labels and whose gateway is certainly gone, so that it may run beside other gateways of the same state
/// directory. An engine that does not answer has nothing to sweep.
pub async fn sweep(marker: &Marker, is_over: &(dyn Fn(&str) -> bool + Sync)) -> usize {
    let Ok(engine) = Engine::connect().await else { return 0 };
    let labels = [format!("{MANAGED}=true"), format!("{INSTANCE}={}", marker.instance)];
    let filters = [("label", labels.to_vec())].into();
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = match engine.api.list_containers(Some(options)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(error = told(&error), "container_sweep_failed");
            return 0;
        }
    };
    let mut removed = 0;
    let is_left_over = |container: &&ContainerSummary| {
        let label = |name: &str| container.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
        marker.is_left_over(label(GENERATION), label(OWNER), is_over)
    };
    for container in found.iter().filter(is_left_over) {
        let Some(id) = &container.id else { continue };
        match remove(&engine, id).await {
            Ok(()) => {
                removed += 1;
                tracing::info!(container = id, image = container.image, "container_swept");
            }
            Err(error) => tracing::warn!(container = id, error, "container_sweep_failed"),
        }
    }
    removed
}
