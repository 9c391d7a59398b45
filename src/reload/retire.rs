//! What a commit took out of service ends in the background: the reply never waits for a drain, or a provider that calls
//! back into the gateway would dead-lock with it.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use tokio_util::task::TaskTracker;

use crate::{provider::Provider, registry::Snapshot, telemetry::StopReason};

/// Longest drain while the whole gateway stops: what is left of its 45 s after two rungs of the ladder.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(20);

/// Starts the retirements; gives the names of those whose instance is not at rest yet.
pub(super) fn retire(tasks: &TaskTracker, retire: Vec<(Arc<Provider>, StopReason)>, graceful: bool) -> Vec<String> {
    let mut draining = Vec::new();
    for (provider, reason) in retire {
        if !matches!(provider.whole().state.as_str(), "cold" | "dead") {
            draining.push(provider.name.to_string());
        }
        let drain = if graceful { provider.spec.drain_timeout } else { Duration::ZERO };
        let mut stop = Box::pin(async move { provider.stop(reason, drain, true).await });
        // As far as it gets without waiting: the latch has fallen when the reload is answered, and not some time later. A call
        // that was on its way to the old generation by then looks again.
        if stop.as_mut().now_or_never().is_none() {
            tasks.spawn(stop);
        }
    }
    draining
}

/// Ends every provider of the last snapshot, all at the same time.
pub(super) async fn retire_all(snapshot: &Snapshot) {
    let stops = snapshot.providers.values().map(|provider| {
        let drain = provider.spec.drain_timeout.min(SHUTDOWN_DRAIN);
        provider.stop(StopReason::Shutdown, drain, true)
    });
    join_all(stops).await;
}
