//! The image of a docker provider: is it there, and how it comes. Pulling is bounded by progress, not by
//! `startup_timeout_s`: a first pull takes as long as the line is slow.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bollard::{models::CreateImageInfo, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::engine::{Engine, status, told};
use crate::{
    config::{DockerSpec, ProviderName, Pull},
    transport::{self, PullWatch, TransportError},
};

/// A registry that sends nothing for this long has hung.
const STALL: Duration = Duration::from_secs(120);
/// However slow the line is.
const WHOLE: Duration = Duration::from_secs(30 * 60);
/// Between two lines in the log about one pull.
const TELL_EVERY: Duration = Duration::from_secs(3);
/// Layers looked at; no image has more.
const LAYERS: usize = 1024;

/// Sees to it that the image is there, as `pull` says. Dropping the future ends a pull and leaves nothing.
pub(super) async fn ensure(
    engine: &Engine,
    name: &ProviderName,
    spec: &DockerSpec,
    pulls: &PullWatch,
) -> Result<(), TransportError> {
    let image = spec.image.as_str();
    if spec.pull == Pull::Always {
        return pull(engine, name, image, pulls).await;
    }
    match engine.api.inspect_image(image).await {
        Ok(_) => Ok(()),
        Err(error) if status(&error) == Some(404) => match spec.pull {
            Pull::Never => Err(TransportError::Open(format!(
                "the image `{image}` is not on this machine, and `pull: never` forbids fetching it (build or pull it, or set `pull: missing`)"
            ))),
            Pull::Missing | Pull::Always => pull(engine, name, image, pulls).await,
        },
        Err(error) => {
            Err(TransportError::Open(format!("the engine could not look for the image `{image}`: {}", told(&error))))
        }
    }
}

async fn pull(engine: &Engine, name: &ProviderName, image: &str, pulls: &PullWatch) -> Result<(), TransportError> {
    let pulled = fetch(engine, name, image, pulls).await;
    if pulled.is_err() {
        pulls.send_replace(None);
    }
    pulled
}

async fn fetch(engine: &Engine, name: &ProviderName, image: &str, pulls: &PullWatch) -> Result<(), TransportError> {
    let failed = |why: String| {
        TransportError::Open(format!(
            "the image `{image}` could not be pulled: {why} (is the name right, is its registry reachable, is it public? `docker pull` by hand works for private ones)"
        ))
    };
    tracing::info!(provider = %name, image, "image_pull_started");
    let (start, mut told_at) = (Instant::now(), Instant::now());
    let (from, tag) = reference(image);
    let options = CreateImageOptionsBuilder::default().from_image(from).tag(tag).build();
    let mut stream = Box::pin(engine.api.create_image(Some(options), None, None));
    let mut progress = Progress::default();
    pulls.send_replace(Some(progress.told(image, start.elapsed(), false)));
    loop {
        let left = WHOLE.saturating_sub(start.elapsed());
        let item = match timeout(STALL.min(left), stream.next()).await {
            Ok(Some(item)) => item.map_err(|e| failed(told(&e)))?,
            Ok(None) => break,
            Err(_) => return Err(failed(format!("no progress within {} s", STALL.min(left.max(WHOLE / 2)).as_secs()))),
        };
        if let Some(why) = item.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
            return Err(failed(why));
        }
        progress.note(&item);
        pulls.send_replace(Some(progress.told(image, start.elapsed(), false)));
        if told_at.elapsed() >= TELL_EVERY {
            told_at = Instant::now();
            let Progress { done, .. } = progress;
            let (layers, (bytes, bytes_total)) = (progress.layers.len(), progress.bytes());
            tracing::info!(provider = %name, image, layers_done = done, layers, bytes, bytes_total, "image_pull_progress");
        }
    }
    let told = progress.told(image, start.elapsed(), true);
    let (bytes, duration_ms) = (told.bytes, u64::try_from(told.duration.as_millis()).unwrap_or(u64::MAX));
    tracing::info!(provider = %name, image, layers = told.layers, bytes, duration_ms, "image_pulled");
    pulls.send_replace(Some(told));
    Ok(())
}

/// Repository and tag or digest, as the engine wants them. Without a tag it would fetch every one there is.
fn reference(image: &str) -> (&str, &str) {
    if let Some((repository, digest)) = image.split_once('@') {
        return (repository, digest);
    }
    match image.rsplit_once(':') {
        // `host:5000/name` has a port and no tag.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    }
}

/// What a pull has said so far, by layer: bytes here, bytes in all.
#[derive(Default)]
struct Progress {
    layers: HashMap<String, (i64, i64)>,
    done: usize,
}

impl Progress {
    fn note(&mut self, item: &CreateImageInfo) {
        let (Some(id), Some(status)) = (item.id.as_deref(), item.status.as_deref()) else { return };
        // "Pulling from library/x" bears the tag as its id.
        if status.starts_with("Pulling from") || self.layers.len() >= LAYERS {
            return;
        }
        let layer = self.layers.entry(id.to_owned()).or_default();
        if status == "Downloading"
            && let Some(detail) = &item.progress_detail
        {
            *layer = (detail.current.unwrap_or(layer.0), detail.total.unwrap_or(layer.1));
        }
        if status == "Download complete" {
            layer.0 = layer.1;
        }
        if matches!(status, "Pull complete" | "Already exists") {
            self.done += 1;
        }
    }

    fn told(&self, image: &str, duration: Duration, done: bool) -> transport::Pull {
        let (bytes, bytes_total) = self.bytes();
        let count = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        transport::Pull {
            image: image.to_owned(),
            layers: self.layers.len(),
            layers_done: self.done,
            bytes: count(bytes),
            bytes_total: count(bytes_total),
            duration,
            done,
        }
    }

    fn bytes(&self) -> (i64, i64) {
        self.layers.values().fold((0, 0), |(here, all), layer| (here + layer.0, all + layer.1))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn a_reference_is_cut_into_repository_and_tag() {
        assert_eq!(reference("search"), ("search", "latest"));
        assert_eq!(reference("search:v2"), ("search", "v2"));
        assert_eq!(reference("127.0.0.1:5000/a/search"), ("127.0.0.1:5000/a/search", "latest"));
        assert_eq!(reference("127.0.0.1:5000/a/search:v2"), ("127.0.0.1:5000/a/search", "v2"));
        assert_eq!(reference("a/search@sha256:00ff"), ("a/search", "sha256:00ff"));
    }

    #[test]
    fn progress_adds_up_layers_and_bytes() {
        let mut progress = Progress::default();
        let mut say = |id: &str, status: &str, bytes: Option<(i64, i64)>| {
            let detail = bytes.map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) });
            let (id, status) = (Some(id.to_owned()), Some(status.to_owned()));
            progress.note(&CreateImageInfo { id, status, progress_detail: detail, ..CreateImageInfo::default() });
        };
        say("latest", "Pulling from a/search", None);
        say("l1", "Pulling fs layer", None);
        say("l2", "Pulling fs layer", None);
        say("l1", "Downloading", Some((10, 100)));
        say("l2", "Downloading", Some((50, 50)));
        say("l2", "Pull complete", None);
        assert_eq!((progress.layers.len(), progress.done, progress.bytes()), (2, 1, (60, 150)));
    }
}
