//! Which era an upstream is spoken to in: pinned, remembered, or asked for once. Whatever an upstream says to a question that
//! it does not know (an error of any code, nonsense, nothing at all), it is greeted the old way after it.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    CallError, Era, HandshakeError, Hello, Upstream,
    handshake::{initialize, object, result_of},
};
use crate::{
    config::{Launch, Protocol, ProviderSpec, RemoteTransport},
    transport::TransportError,
    wire::{Frame, modern, shallow},
};

/// Longest wait for the answer before the other way is tried beside it.
const PATIENCE: Duration = Duration::from_secs(5);
const DISCOVER: &str = "server/discover";

/// What is said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// `initialize`, and nothing else.
    Legacy,
    /// `server/discover`, and nothing else.
    Modern,
    /// `server/discover`, then `initialize`.
    Probe,
    /// `initialize`, as the last time; then `server/discover`.
    LegacyFirst,
}

impl Opening {
    /// `known`: what the same spec turned out to speak the last time.
    pub(super) fn of(spec: &ProviderSpec, known: Option<Era>) -> Self {
        let sse = matches!(&spec.launch, Launch::Remote(remote) if remote.transport == RemoteTransport::Sse);
        match (spec.protocol, known) {
            // That transport is older than the question.
            _ if sse => Self::Legacy,
            (Protocol::Legacy, _) => Self::Legacy,
            (Protocol::Modern, _) => Self::Modern,
            (Protocol::Auto, Some(Era::Legacy)) => Self::LegacyFirst,
            (Protocol::Auto, Some(Era::Modern) | None) => Self::Probe,
        }
    }
}

/// `probing` is set as long as the upstream has not answered a question that it may not know.
pub(super) async fn greet(
    upstream: &Arc<Upstream>,
    opening: Opening,
    limit: Duration,
    probing: &AtomicBool,
) -> Result<Hello, HandshakeError> {
    let hello = match opening {
        Opening::Legacy => initialize(upstream, limit).await?,
        Opening::Modern => discover(upstream, limit).await?,
        Opening::Probe => {
            probing.store(true, Ordering::Relaxed);
            probe(upstream, limit, probing).await?
        }
        Opening::LegacyFirst => match initialize(upstream, limit).await {
            Err(error) if was_answered(&error) => discover(upstream, limit).await.map_err(|_| error)?,
            other => other?,
        },
    };
    upstream.settle(&hello);
    Ok(hello)
}

/// Somebody is there and speaks, but not this.
fn was_answered(error: &HandshakeError) -> bool {
    match error {
        HandshakeError::Call(CallError::Transport { error, .. }) => matches!(error, TransportError::Http { .. }),
        HandshakeError::Call(_) => false,
        _ => true,
    }
}

async fn probe(upstream: &Arc<Upstream>, limit: Duration, probing: &AtomicBool) -> Result<Hello, HandshakeError> {
    let mut found = pin!(discover(upstream, limit));
    let patience = PATIENCE.min(limit / 3);
    match tokio::time::timeout(patience, &mut found).await {
        Ok(Ok(hello)) => return Ok(hello),
        // Nobody is there, so nobody will hear the other question either.
        Ok(Err(HandshakeError::Call(error @ CallError::Transport { error: TransportError::Open(_), .. }))) => {
            return Err(error.into());
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "not_of_2026_07_28");
            // Ended over it: it has not answered.
            if !matches!(error, HandshakeError::Call(_)) {
                probing.store(false, Ordering::Relaxed);
            }
            return initialize(upstream, limit).await;
        }
        Err(_) => {}
    }
    // Silent, or slow to start. A slow one hears both questions. One that took the first for good refuses the second; one
    // that goes by the latest word answers both, and is of the legacy era from then on: so the second answer counts.
    let mut greeted = pin!(initialize(upstream, limit));
    tokio::select! {
        biased;
        found = &mut found => match found {
            Ok(hello) => match tokio::time::timeout(patience, greeted).await {
                Ok(Ok(turned)) => Ok(Hello { both: true, ..turned }),
                _ => Ok(hello),
            },
            Err(_) => greeted.await,
        },
        greeted = &mut greeted => match greeted {
            Ok(hello) => Ok(hello),
            Err(error) => found.await.map_err(|_| error),
        },
    }
}

/// `server/discover`, the whole of a modern handshake.
async fn discover(upstream: &Arc<Upstream>, within: Duration) -> Result<Hello, HandshakeError> {
    let ask = || upstream.request_in(Era::Modern, DISCOVER, b"");
    let mut answer = ask()?.quiet().answer(within).await?;
    // It knows the era, and says itself that this revision will do.
    if refuses_but_supports(&answer) {
        answer = ask()?.quiet().answer(within).await?;
    }
    let result = result_of(&answer, DISCOVER)?;
    let text = answer.bytes();
    let field = |path: &[&str]| shallow::path(text, result, path).ok().flatten();
    let versions = field(&["supportedVersions"]).and_then(|list| shallow::elements(text, list));
    let versions = versions.ok_or(HandshakeError::Answer { method: DISCOVER, why: "it names no supportedVersions" })?;
    let mut spoken = versions.iter().filter_map(|place| shallow::string(text, *place));
    if !spoken.any(|version| version == modern::VERSION) {
        let all: Vec<_> = versions.iter().filter_map(|place| shallow::string(text, *place)).collect();
        return Err(HandshakeError::Version(all.join(", ")));
    }
    let info = field(&["_meta", modern::key::SERVER]).or_else(|| field(&["serverInfo"]));
    Ok(Hello {
        protocol_version: modern::VERSION.to_owned(),
        capabilities: object(&answer, field(&["capabilities"])),
        server_info: object(&answer, info),
        instructions: field(&["instructions"]).and_then(|place| shallow::string(text, place)).map(|s| s.into_owned()),
        both: false,
    })
}

fn refuses_but_supports(answer: &Frame) -> bool {
    let text = answer.bytes();
    let place = |path: &[&str]| shallow::path(text, answer.error()?, path).ok().flatten();
    let code = place(&["code"]).and_then(|place| std::str::from_utf8(answer.text(place)).ok()?.parse::<i32>().ok());
    let supported = place(&["data", "supported"]).and_then(|list| shallow::elements(text, list)).unwrap_or_default();
    code == Some(modern::code::UNSUPPORTED_VERSION)
        && supported.into_iter().any(|version| shallow::string(text, version).is_some_and(|v| v == modern::VERSION))
}

/// Whether it still answers: any answer is a sign of life.
pub(super) fn sign_of_life(era: Era) -> &'static str {
    match era {
        Era::Legacy => "ping",
        Era::Modern => DISCOVER,
    }
}
