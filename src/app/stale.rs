//! Earlier stdio gateways of the same file that have lost their client and did not notice: found at the start of the next
//! one, and ended when they are not among the newest `cleanup.max_instances`.
//!
//! Never a gateway over HTTP, never another user's or another file's, never by a program's name: by its record, its lock
//! and its identity. In doubt it is kept.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    census::{self, Ask, Client, Ended, Gateway},
    host::{Process, Tree},
    server::http::HttpState,
};

/// A gateway that is well answers in a millisecond.
const ANSWER: Duration = Duration::from_secs(5);

/// One earlier gateway without a client, or beyond the newest.
struct Earlier {
    process: Process,
    uptime_s: Option<u64>,
    client: Client,
    /// Among the newest.
    kept: bool,
}

/// Ends by itself; nothing waits for it.
pub(super) async fn tend(config: PathBuf, state: Arc<HttpState>) {
    let newest = state.gateway.registry.snapshot().config.cleanup.max_instances;
    let newest = usize::try_from(newest).unwrap_or(usize::MAX);
    let looking = tokio::task::spawn_blocking(move || {
        let tree = Tree::look();
        earlier(census::gateways(Some(&config), &tree), newest, &tree)
    });
    let Ok(found) = looking.await else { return };
    let mut ending = JoinSet::new();
    for Earlier { process, uptime_s, client, kept } in found {
        let (pid, reason) = (process.pid, client.why());
        if client.is_lost() {
            tracing::info!(pid, uptime_s, reason, "stale_gateway_found");
        }
        if !client.is_lost() {
            tracing::info!(pid, uptime_s, reason, "stale_gateway_kept");
        } else if kept {
            tracing::info!(pid, uptime_s, reason = "it is one of the newest max_instances", "stale_gateway_kept");
        } else {
            ending.spawn(async move { (pid, uptime_s, reason, census::end_gateway(process).await) });
        }
    }
    while let Some(Ok((pid, uptime_s, reason, ended))) = ending.join_next().await {
        if ended == Ended::Survived {
            tracing::warn!(pid, uptime_s, reason = "no signal reached it, or ended it", "stale_gateway_kept");
        } else {
            tracing::info!(pid, uptime_s, reason, by = ended.as_str(), "stale_gateway_ended");
        }
    }
}

/// What there is to tell about. May block for a second for each gateway whose stdin cannot be seen.
fn earlier(found: Vec<Gateway>, newest: usize, tree: &Tree) -> Vec<Earlier> {
    let Some(ours) = found.iter().find(|gateway| gateway.is_this_process()).and_then(|gateway| gateway.process) else {
        // Without a record of its own it does not know its place in the order.
        return Vec::new();
    };
    let counted = found.into_iter().filter(|gateway| gateway.is_stdio() || gateway.is_this_process());
    let order: Vec<(Process, Gateway)> = counted.filter_map(|gateway| Some((gateway.process?, gateway))).collect();
    // A newer one has started meanwhile: it tends to all of them, and nobody is told to stop twice.
    if order.first().is_some_and(|(first, _)| first.started > ours.started) {
        return Vec::new();
    }
    let of_rank = |(rank, (process, gateway)): (usize, (Process, Gateway))| {
        let (beyond, uptime) = (rank >= newest, gateway.uptime.map(|uptime| uptime.as_secs()));
        let client = gateway.client(tree, Ask::For(ANSWER))?;
        let told = process != ours && (beyond || client.is_lost());
        told.then_some(Earlier { process, uptime_s: uptime, client, kept: !beyond })
    };
    order.into_iter().enumerate().filter_map(of_rank).collect()
}
