//! Request headers of `/mcp`: what the client sends, takes, speaks, and which session it belongs to.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::refusal::McpRefusal;
use crate::{
    provider::LEGACY_VERSIONS,
    server::{SessionKey, modern},
    wire::hex,
};

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The kinds of body that a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepts {
    pub json: bool,
    /// Said so itself. Who says `*/*` or nothing is answered by JSON.
    pub events: bool,
    /// `*/*`, or no `Accept` at all.
    pub anything: bool,
}

pub(super) fn accepts(headers: &HeaderMap) -> Accepts {
    let mut accepts = Accepts { json: false, events: false, anything: !headers.contains_key(header::ACCEPT) };
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        if parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
            continue;
        }
        match &*kind {
            "application/json" | "application/*" => accepts.json = true,
            "text/event-stream" | "text/*" => accepts.events = true,
            "*/*" => accepts.anything = true,
            _ => {}
        }
    }
    accepts.json |= accepts.anything;
    accepts
}

pub(super) fn sends_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// A client that names a revision must name one that we speak.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), McpRefusal> {
    let Some(value) = headers.get(VERSION) else { return Ok(()) };
    if LEGACY_VERSIONS.iter().any(|known| known.as_bytes() == value.as_bytes()) {
        return Ok(());
    }
    let message = format!("MCP-Protocol-Version is none of {}", modern::versions().join(", "));
    Err(McpRefusal::new(StatusCode::BAD_REQUEST, &message))
}

/// The header names the revision without sessions.
pub(super) fn names_modern_era(headers: &HeaderMap) -> bool {
    headers.get(VERSION).is_some_and(|value| value.as_bytes() == modern::VERSION.as_bytes())
}

/// `Ok(None)`: no session is named. A name that cannot be one of ours is the name of an unknown session.
pub(super) fn session_key(headers: &HeaderMap) -> Result<Option<SessionKey>, McpRefusal> {
    let mut values = headers.get_all(SESSION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (parse_key(value.as_bytes()), values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(unknown_session()),
    }
}

pub(super) fn unknown_session() -> McpRefusal {
    McpRefusal::new(StatusCode::NOT_FOUND, "there is no such session (any more); send \"initialize\" to open a new one")
}

pub(super) fn missing_session() -> McpRefusal {
    let message = "the header Mcp-Session-Id is missing; the answer to \"initialize\" bears it";
    McpRefusal::new(StatusCode::BAD_REQUEST, message)
}

fn parse_key(digits: &[u8]) -> Option<SessionKey> {
    hex::decode(digits)?.try_into().ok()
}

pub(super) fn show_key(key: &SessionKey) -> String {
    hex::encode(key)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accept(text: &'static str) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(text));
        let found = accepts(&headers);
        (found.json, found.events)
    }

    #[test]
    fn what_a_client_takes() {
        assert_eq!(accept("application/json, text/event-stream"), (true, true));
        assert_eq!(accept("text/event-stream"), (false, true));
        assert_eq!(accept("TEXT/Event-Stream;q=0.5"), (false, true));
        assert_eq!(accept("*/*"), (true, false));
        assert_eq!(accept("application/json;q=0, text/html"), (false, false));
        assert!(accepts(&HeaderMap::new()).json);
    }

    #[test]
    fn a_key_goes_there_and_back_and_nothing_else_is_one() {
        let key: SessionKey = std::array::from_fn(|index| index as u8 * 17);
        assert_eq!(parse_key(show_key(&key).as_bytes()), Some(key));
        for bad in ["", "+1", &"g".repeat(32), &"+1".repeat(16), &"a".repeat(31), &"a".repeat(33)] {
            assert_eq!(parse_key(bad.as_bytes()), None, "{bad}");
        }
    }
}
