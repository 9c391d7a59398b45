//! From an open connection to an upstream that is known: `initialize` (the legacy era, 2024-11-05 to 2025-11-25; see
//! `negotiation` for the other), then its lists.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;

use super::{CallError, Catalogue, Era, Hello, Hint, Item, Listing, Upstream, marks};
use crate::wire::{Frame, Span, shallow};

/// Offered first; an upstream may answer with any of [`LEGACY_VERSIONS`].
pub const LATEST_LEGACY: &str = "2025-11-25";
pub const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const MAX_PAGES: usize = 500;
const MAX_ITEMS: usize = 20_000;
const MAX_LIST_BYTES: usize = 64 * 1024 * 1024;

/// Why an upstream that was reached cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("it answered {method} with error {code}: {message}")]
    Refused { method: &'static str, code: i64, message: String },
    #[error("its answer to {method} makes no sense: {why}")]
    Answer { method: &'static str, why: &'static str },
    #[error("it speaks protocol version {0:?}, which this gateway does not know")]
    Version(String),
    #[error("its {method} has more than {limit} {what}")]
    TooMuch { method: &'static str, limit: usize, what: &'static str },
    #[error("its {method} gives the same cursor twice, so the list would never end")]
    PagingLoop { method: &'static str },
}

impl HandshakeError {
    /// For an error text that names the provider already.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Call(CallError::Transport { error, .. }) => error.to_string(),
            other => other.to_string(),
        }
    }

    /// When the upstream itself wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.said_retry_after(),
            _ => None,
        }
    }
}

/// `initialize` and `notifications/initialized`.
pub(super) async fn initialize(upstream: &Arc<Upstream>, within: Duration) -> Result<Hello, HandshakeError> {
    const METHOD: &str = "initialize";
    let info = json!({"name": "hangar", "title": "hangar", "version": env!("CARGO_PKG_VERSION")}).to_string();
    let version = shallow::quote(LATEST_LEGACY);
    let capabilities = upstream.client_end.capabilities();
    let fields: [(&str, &[u8]); 3] =
        [("protocolVersion", &version), ("capabilities", &capabilities), ("clientInfo", info.as_bytes())];
    let params = [b"{", shallow::members(&fields).as_slice(), b"}"].concat();
    let answer = upstream.request_in(Era::Legacy, METHOD, &params)?.quiet().answer(within).await?;
    let result = result_of(&answer, METHOD)?;
    let field = |key| shallow::get(answer.bytes(), result, key).ok().flatten();
    let version = field("protocolVersion").and_then(|place| shallow::string(answer.bytes(), place));
    let Some(version) = version else {
        return Err(HandshakeError::Answer { method: METHOD, why: "it names no protocolVersion" });
    };
    if !LEGACY_VERSIONS.contains(&&*version) {
        return Err(HandshakeError::Version(version.into_owned()));
    }
    let hello = Hello {
        protocol_version: version.clone().into_owned(),
        capabilities: object(&answer, field("capabilities")),
        server_info: object(&answer, field("serverInfo")),
        instructions: field("instructions")
            .and_then(|place| shallow::string(answer.bytes(), place))
            .map(std::borrow::Cow::into_owned),
        both: false,
    };
    if let Some(link) = upstream.link() {
        link.negotiated(&version);
    }
    upstream.notify("notifications/initialized", b"");
    Ok(hello)
}

/// An object of an answer, raw; `{}` for none.
pub(super) fn object(answer: &Frame, place: Option<Span>) -> Bytes {
    match place {
        Some(place) if answer.text(place).starts_with(b"{") => Bytes::copy_from_slice(answer.text(place)),
        _ => Bytes::from_static(b"{}"),
    }
}

/// All lists that the upstream's capabilities promise.
pub(super) async fn catalogue(
    upstream: &Arc<Upstream>,
    hello: Hello,
    within: Duration,
) -> Result<Catalogue, HandshakeError> {
    let mut catalogue = Catalogue { hello, ..Catalogue::default() };
    for listing in Listing::ALL {
        let listed = list(upstream, &catalogue.hello, listing, within).await?;
        catalogue.put(listing, listed);
    }
    Ok(catalogue)
}

/// Every page of one list. A server without the capability, or that does not know the method, has an empty one.
pub(super) async fn list(
    upstream: &Arc<Upstream>,
    hello: &Hello,
    listing: Listing,
    within: Duration,
) -> Result<(Vec<Item>, Option<Hint>), HandshakeError> {
    if !hello.has(&[listing.capability()]) {
        return Ok((Vec::new(), None));
    }
    let method = listing.method();
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut seen = HashSet::new();
    let mut params = b"{}".to_vec();
    // Of the page that may be kept shortest, from when the first one came.
    let (fetched, mut kept) = (Instant::now(), None);
    for page in 0..MAX_PAGES {
        let answer = upstream.request(method, &params)?.answer(within).await?;
        let result = match result_of(&answer, method) {
            Err(HandshakeError::Refused { code: -32601, .. }) => return Ok((items, None)),
            other => other?,
        };
        bytes += answer.bytes().len();
        read_page(&answer, result, listing, &mut items)?;
        let hint = if upstream.era() == Era::Modern { hint(&answer, result, fetched) } else { None };
        kept = if page == 0 { hint } else { kept.zip(hint).map(|(one, other)| lesser(one, other)) };
        if upstream.era() == Era::Modern && listing == Listing::Tools {
            items.retain(|tool| usable(upstream, tool));
        }
        if items.len() > MAX_ITEMS {
            return Err(HandshakeError::TooMuch { method, limit: MAX_ITEMS, what: "entries" });
        }
        if bytes > MAX_LIST_BYTES {
            return Err(HandshakeError::TooMuch { method, limit: MAX_LIST_BYTES, what: "bytes" });
        }
        let cursor = shallow::get(answer.bytes(), result, "nextCursor").ok().flatten();
        let Some(cursor) = cursor.map(|place| answer.text(place)).filter(|raw| *raw != b"null") else {
            return Ok((items, kept));
        };
        if !seen.insert(cursor.to_vec()) {
            return Err(HandshakeError::PagingLoop { method });
        }
        params = [b"{\"cursor\":", cursor, b"}"].concat();
    }
    Err(HandshakeError::TooMuch { method, limit: MAX_PAGES, what: "pages" })
}

/// `None`: the page does not say, or not in a way that makes sense.
fn hint(answer: &Frame, result: Span, fetched: Instant) -> Option<Hint> {
    let field = |key| shallow::get(answer.bytes(), result, key).ok().flatten();
    let ttl = std::str::from_utf8(answer.text(field("ttlMs")?)).ok()?.parse::<f64>().ok()?;
    let ttl = Duration::try_from_secs_f64(ttl / 1000.0).ok()?;
    let public = shallow::string(answer.bytes(), field("cacheScope")?)? == "public";
    Some(Hint { fetched, ttl, public })
}

fn lesser(one: Hint, other: Hint) -> Hint {
    Hint { ttl: one.ttl.min(other.ttl), public: one.public && other.public, ..one }
}

fn read_page(answer: &Frame, result: Span, listing: Listing, items: &mut Vec<Item>) -> Result<(), HandshakeError> {
    let method = listing.method();
    let array = shallow::get(answer.bytes(), result, listing.field()).ok().flatten();
    let Some(elements) = array.and_then(|array| shallow::elements(answer.bytes(), array)) else {
        return Err(HandshakeError::Answer { method, why: "the list is missing" });
    };
    for place in elements {
        match Item::read(answer.bytes(), place, listing) {
            // The copy lets the page's memory go.
            Some(item) => items.push(Item { raw: Bytes::copy_from_slice(&item.raw), ..item }),
            None => tracing::warn!(method, key = listing.key(), "an entry without a usable key is left out"),
        }
    }
    Ok(())
}

/// A tool whose arguments cannot be repeated in headers as it demands must not be called, and is not listed.
fn usable(upstream: &Upstream, tool: &Item) -> bool {
    let outcome = marks(&tool.raw);
    if let Err(why) = &outcome {
        tracing::warn!(provider = %upstream.provider(), tool = tool.key, why, "a tool with an invalid x-mcp-header is left out");
    }
    outcome.is_ok()
}

/// The result of an answer, or the error that stands there instead.
pub(super) fn result_of(answer: &Frame, method: &'static str) -> Result<Span, HandshakeError> {
    if let Some(error) = answer.error() {
        let field = |key| shallow::get(answer.bytes(), error, key).ok().flatten();
        let code = field("code").and_then(|place| std::str::from_utf8(answer.text(place)).ok()?.parse().ok());
        let message = field("message").and_then(|place| shallow::string(answer.bytes(), place));
        let message = message.unwrap_or_default().chars().take(300).collect();
        return Err(HandshakeError::Refused { method, code: code.unwrap_or_default(), message });
    }
    match answer.result() {
        Some(result) if answer.text(result).starts_with(b"{") => Ok(result),
        _ => Err(HandshakeError::Answer { method, why: "the result is not an object" }),
    }
}
