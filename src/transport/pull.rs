//! How far the fetching of a provider's image has come, for those who wait for it and those who ask.

use std::time::Duration;

use tokio::sync::watch;

/// One pull, the latest of a provider's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    pub image: String,
    pub layers: usize,
    pub layers_done: usize,
    /// As far as the engine tells: layers that are here already, and some small ones, count nothing.
    pub bytes: u64,
    pub bytes_total: u64,
    pub duration: Duration,
    pub done: bool,
}

/// `None`: this start has fetched nothing so far, or failed to.
pub type PullWatch = watch::Sender<Option<Pull>>;
