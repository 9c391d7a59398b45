//! What a request says about its client: `params._meta`, read anew for every request.

use std::{borrow::Cow, sync::Arc};

use serde_json::json;

use super::{VERSION, code::UNSUPPORTED_VERSION, key, versions};
use crate::{
    server::{Session, dispatch::Refusal},
    wire::{Frame, FrameKind, Span, code, shallow},
};

/// Methods that only this era has.
const ITS_OWN: [&str; 2] = ["server/discover", "subscriptions/listen"];

/// Whether a message is of this era, as far as it says so itself.
pub(in crate::server) fn speaks(frame: &Frame) -> bool {
    frame.kind() == FrameKind::Request
        && (ITS_OWN.contains(&frame.method()) || bears_its_keys(frame) && meta(frame, key::VERSION).is_some())
}

/// Found in one swift pass, or not: most requests of the other era need no closer look. Up to where some spell `\/`.
fn bears_its_keys(frame: &Frame) -> bool {
    memchr::memmem::find(frame.bytes(), b"io.modelcontextprotocol").is_some()
}

/// The revision that a request names. `None`: it names none, or not as text.
pub(in crate::server) fn version(frame: &Frame) -> Option<Cow<'_, str>> {
    shallow::string(frame.bytes(), meta(frame, key::VERSION)?)
}

fn meta(frame: &Frame, key: &str) -> Option<Span> {
    shallow::path(frame.bytes(), frame.params()?, &["_meta", key]).ok().flatten()
}

/// The client of one request. An `Err` says what its `_meta` lacks.
pub(super) fn client(frame: &Frame) -> Result<Arc<Session>, Refusal> {
    let invalid = |what: &str| Refusal::new(code::INVALID_PARAMS, format!("\"params._meta\" {what}"));
    if frame.params().and_then(|params| shallow::get(frame.bytes(), params, "_meta").ok().flatten()).is_none() {
        return Err(invalid("is missing; every request of revision 2026-07-28 bears it"));
    }
    let lacks = |key: &str| invalid(&format!("lacks \"{key}\""));
    let asked = version(frame).ok_or_else(|| lacks(key::VERSION))?;
    if asked != VERSION {
        let data = json!({"supported": versions(), "requested": asked});
        let message = format!("protocol version \"{}\" is not supported in a request without a session", clip(&asked));
        return Err(Refusal { code: UNSUPPORTED_VERSION, message, data: Some(data) });
    }
    let capabilities = meta(frame, key::CAPABILITIES).ok_or_else(|| lacks(key::CAPABILITIES))?;
    if shallow::fields(frame.bytes(), capabilities).is_none() {
        return Err(invalid(&format!("has a \"{}\" that is no object", key::CAPABILITIES)));
    }
    let level = meta(frame, key::LOG_LEVEL).and_then(|place| shallow::string(frame.bytes(), place));
    Ok(Session::of_request(frame.bytes(), capabilities, meta(frame, key::CLIENT), level.as_deref()))
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}
