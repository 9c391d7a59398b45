//! Messages that the gateway itself writes.

use bytes::Bytes;
use serde::Serialize;

use super::shallow::quote;

/// JSON-RPC and MCP error codes.
pub mod code {
    pub const PARSE_ERROR: i32 = -32700;
    pub const INVALID_REQUEST: i32 = -32600;
    pub const METHOD_NOT_FOUND: i32 = -32601;
    pub const INVALID_PARAMS: i32 = -32602;
    pub const INTERNAL_ERROR: i32 = -32603;
    /// A resource that is not there (legacy era).
    pub const RESOURCE_NOT_FOUND: i32 = -32002;
    /// The gateway could not get an answer from the provider: its state, its death, its limit.
    pub const PROVIDER_UNAVAILABLE: i32 = -32050;
    /// The gateway's own: this client has too much in flight.
    pub const OVERLOADED: i32 = -32051;
}

/// `{"jsonrpc":"2.0","id":ID,"result":RESULT}`; both raw JSON.
pub fn result(id: &[u8], result: &[u8]) -> Bytes {
    join(&[b"{\"jsonrpc\":\"2.0\",\"id\":", id, b",\"result\":", result, b"}"])
}

/// An error answer. `id` raw, empty for `null`; `data` is left out when `None`.
pub fn error(id: &[u8], code: i32, message: &str, data: Option<&serde_json::Value>) -> Bytes {
    let id = if id.is_empty() { b"null" } else { id };
    let code = code.to_string();
    let message = quote(message);
    let data = data.map(|data| data.to_string());
    let mut parts: Vec<&[u8]> = vec![
        b"{\"jsonrpc\":\"2.0\",\"id\":",
        id,
        b",\"error\":{\"code\":",
        code.as_bytes(),
        b",\"message\":",
        &message,
    ];
    if let Some(data) = &data {
        parts.extend([b",\"data\":".as_slice(), data.as_bytes()]);
    }
    parts.push(b"}}");
    join(&parts)
}

/// A request. `id` and `params` raw; `params` empty: left out.
pub fn request(id: &[u8], method: &str, params: &[u8]) -> Bytes {
    message(Some(id), method, params)
}

/// A notification. `params` raw; empty: left out.
pub fn notification(method: &str, params: &[u8]) -> Bytes {
    message(None, method, params)
}

/// Serialises a value of ours; such values have string keys only, so this cannot fail.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}

fn message(id: Option<&[u8]>, method: &str, params: &[u8]) -> Bytes {
    let method = quote(method);
    let mut parts: Vec<&[u8]> = vec![b"{\"jsonrpc\":\"2.0\""];
    if let Some(id) = id {
        parts.extend([b",\"id\":".as_slice(), id]);
    }
    parts.extend([b",\"method\":".as_slice(), &method]);
    if !params.is_empty() {
        parts.extend([b",\"params\":".as_slice(), params]);
    }
    parts.push(b"}");
    join(&parts)
}

fn join(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}
