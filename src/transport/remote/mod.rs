//! A remote upstream over HTTP: streamable HTTP, and the legacy HTTP+SSE pair of 2024-11-05.
//!
//! `client` knows HTTP, `reply` what a response is, `sse` the event stream, `exchanges` the tasks in flight, `session` the
//! one session and its renewal; `streamable` (with `listen` for its GET stream) and `sse_legacy` are the two links.

mod backoff;
mod client;
mod exchanges;
mod headed;
mod listen;
mod peek;
mod reply;
mod session;
mod sse;
mod sse_legacy;
mod streamable;

use std::{sync::Arc, time::Duration};

use client::Http;
#[cfg(feature = "fuzzing")]
pub use {headed::stamped, sse::fuzz::sse};

use super::{Connection, Inbound, OutputRing, TransportError};
use crate::config::{RemoteSpec, RemoteTransport};

/// Streamable HTTP: makes no request yet, so that an unreachable remote fails the handshake, with the reason. HTTP+SSE:
/// opens the event stream, since nothing can be sent before the upstream has named its endpoint.
pub(super) async fn open(
    spec: &RemoteSpec,
    startup_timeout: Duration,
    output: Arc<OutputRing>,
    (inbound, limit): (Arc<dyn Inbound>, usize),
) -> Result<Connection, TransportError> {
    let owned = spec.clone();
    // Reads the system's CA certificates: file I/O.
    let built = tokio::task::spawn_blocking(move || Http::new(&owned, startup_timeout, limit)).await;
    let http = built.map_err(|e| TransportError::Open(format!("the HTTP client cannot be set up: {e}")))??;
    match spec.transport {
        RemoteTransport::StreamableHttp => Ok(streamable::connection(http, startup_timeout, output, inbound)),
        RemoteTransport::Sse => sse_legacy::open(http, startup_timeout, output, inbound).await,
    }
}

/// A line for `hangar logs`: what went wrong beside any call.
fn note(output: &OutputRing, text: &str) {
    output.stderr(format!("hangar: {text}").as_bytes());
}
