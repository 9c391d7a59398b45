//! The few facts about a message that the remote transport itself needs. Everything else is none of its business.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::{Frame, FrameKind};

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// `None`: no JSON object (a derived struct would take an array too), or a key twice.
fn peek(json: &[u8]) -> Option<Peek<'_>> {
    let first = json.iter().find(|b| !b.is_ascii_whitespace());
    if first != Some(&b'{') { None } else { serde_json::from_slice(json).ok() }
}

/// It is a request or a notification of this method.
pub(super) fn is_method(message: &Bytes, method: &str) -> bool {
    Frame::parse(message.clone()).is_ok_and(|f| f.kind() != FrameKind::Response && f.method() == method)
}

/// It is the response to the request `id`, by the same judgement as the floor above: what it would drop as noise (JSON too
/// deep, say) answers nothing, and the call must be told so.
pub(super) fn answers(message: &Bytes, id: u64) -> bool {
    Frame::parse(message.clone()).is_ok_and(|f| f.kind() == FrameKind::Response && f.id_u64() == Some(id))
}

/// The message of an error response that names no request.
pub(super) fn error_without_id(json: &[u8]) -> Option<String> {
    let p = peek(json)?;
    if p.id.is_some() { None } else { message(p.error?.get()) }
}

/// What a JSON error body says, be it JSON-RPC (`error.message`) or OAuth (`error_description`, `error`).
pub(super) fn error_text(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct OAuth {
        error_description: Option<String>,
        error: Option<String>,
    }
    let p = peek(json)?;
    if let Some(text) = p.error.and_then(|e| message(e.get())) {
        return Some(text);
    }
    let body: OAuth = serde_json::from_slice(json).ok()?;
    body.error_description.or(body.error)
}

/// `protocolVersion` of the result of `initialize`; an error says why there is none.
pub(super) fn protocol_version(json: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Initialized {
        #[serde(rename = "protocolVersion")]
        protocol_version: String,
    }
    let p = peek(json).ok_or("the answer to initialize is no JSON-RPC response")?;
    if let Some(result) = p.result {
        return serde_json::from_str::<Initialized>(result.get())
            .map(|r| r.protocol_version)
            .map_err(|_| "the answer to initialize names no protocolVersion".into());
    }
    Err(p.error.and_then(|e| message(e.get())).unwrap_or_else(|| "initialize was refused".into()))
}

fn message(error: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    serde_json::from_str::<Message>(error).ok().map(|e| e.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_known_by_its_id_and_by_having_no_method() {
        let answers = |text: &'static str| answers(&Bytes::from_static(text.as_bytes()), 7);
        assert!(answers(r#" {"jsonrpc":"2.0","id":7,"result":{}}"#));
        assert!(answers(r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"}}"#));
        assert!(!answers(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#));
        assert!(!answers(r#"{"jsonrpc":"2.0","id":8,"result":{}}"#));
        assert!(!answers(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#));
        assert!(!answers(r#"[7,null,{},null]"#));
        assert!(!answers(""));
        let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        assert!(!super::answers(&deep.into(), 7));
    }

    #[test]
    fn methods_are_of_requests_and_notifications() {
        let note = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert!(is_method(&note, "notifications/initialized") && !is_method(&note, "initialize"));
    }

    #[test]
    fn errors_are_read_in_both_shapes() {
        assert_eq!(error_text(br#"{"error":{"code":-1,"message":"no"}}"#).as_deref(), Some("no"));
        assert_eq!(
            error_text(br#"{"error":"invalid_token","error_description":"expired"}"#).as_deref(),
            Some("expired")
        );
        assert_eq!(error_text(br#"{"error":"invalid_token"}"#).as_deref(), Some("invalid_token"));
        assert_eq!(error_text(b"<html>"), None);
        assert_eq!(error_without_id(br#"{"id":null,"error":{"message":"no session"}}"#).as_deref(), Some("no session"));
        assert_eq!(error_without_id(br#"{"id":3,"error":{"message":"no session"}}"#), None);
    }

    #[test]
    fn the_version_of_a_handshake() {
        assert_eq!(protocol_version(br#"{"id":1,"result":{"protocolVersion":"2025-06-18"}}"#), Ok("2025-06-18".into()));
        assert_eq!(protocol_version(br#"{"id":1,"error":{"message":"busy"}}"#), Err("busy".into()));
        assert!(protocol_version(b"{}").is_err());
    }
}
