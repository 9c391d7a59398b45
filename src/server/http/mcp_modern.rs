//! `POST /mcp` of the modern era: one request, one exchange. Headers repeat what the body says, for those who route by them,
//! and must not say anything else.

use std::{borrow::Cow, sync::Arc};

use super::{
    Front, mcp,
    negotiate::{self, Accepts},
    param_headers,
    refusal::json_response,
    stream::Reply,
};
use crate::{
    provider::Relay,
    server::{
        Session,
        modern::{self, code, finish},
    },
    wire::{self, Frame, FrameKind, shallow},
};
use axum::{
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Where the value of `Mcp-Name` stands in the parameters of a method.
const NAMED: [(&str, &str); 6] = [
    ("tools/call", "name"),
    ("prompts/get", "name"),
    ("resources/read", "uri"),
    ("tasks/get", "taskId"),
    ("tasks/update", "taskId"),
    ("tasks/cancel", "taskId"),
];

/// Whether a request is of this era: by its header, or by what it says itself.
pub(super) fn is_modern(headers: &HeaderMap, frame: &Frame) -> bool {
    negotiate::names_modern_era(headers) || modern::speaks(frame)
}

pub(super) async fn post(front: Arc<Front>, accepts: Accepts, headers: &HeaderMap, frame: Frame) -> Response {
    match frame.kind() {
        FrameKind::Request => {}
        // A cancelled call has its stream closed; there is nothing else to say here.
        FrameKind::Notification => {
            front.state.gateway.tell_vendor(None, &frame);
            return StatusCode::ACCEPTED.into_response();
        }
        FrameKind::Response => {
            let message = "no server asks for anything in revision 2026-07-28, so there is nothing to answer";
            let body = wire::error(b"", wire::code::INVALID_REQUEST, message, None);
            return json_response(StatusCode::BAD_REQUEST, body);
        }
    }
    let params = |tool: &str| param_headers::check(&front, headers, &frame, tool);
    if let Err(why) = check(headers, &frame, params) {
        return json_response(StatusCode::BAD_REQUEST, why);
    }
    if frame.method() == "subscriptions/listen" && !accepts.events {
        let message = "the Accept header must allow text/event-stream for subscriptions/listen";
        let body = wire::error(frame.id(), wire::code::INVALID_REQUEST, message, None);
        return json_response(StatusCode::NOT_ACCEPTABLE, body);
    }
    let (relay, messages) = Relay::new();
    let answer = Box::pin(async move {
        let calls = Session::new(Default::default());
        let answer = front.state.gateway.modern(&calls, &frame, relay).await?;
        let finished = finish(frame.method(), answer);
        let status = StatusCode::from_u16(finished.status()).unwrap_or(StatusCode::OK);
        // What this era calls invalid parameters of the request as such.
        let status =
            if unintroduced(&frame) && finished.code.is_some() { status.max(StatusCode::BAD_REQUEST) } else { status };
        Some(Reply { body: front.state.gateway.room_for(&frame, finished.bytes), status })
    });
    mcp::reply(answer, messages, accepts, None).await
}

/// Its `_meta` lacks what every request has to bear.
fn unintroduced(frame: &Frame) -> bool {
    let has = |key: &str| {
        let params = frame.params();
        params.and_then(|params| shallow::path(frame.bytes(), params, &["_meta", key]).ok().flatten()).is_some()
    };
    !(has(modern::key::VERSION) && has(modern::key::CAPABILITIES))
}

/// An `Err` is the complete answer. `params`: whether `Mcp-Param-*` agree with the arguments of a call to this tool.
pub(super) fn check(
    headers: &HeaderMap,
    frame: &Frame,
    params: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), bytes::Bytes> {
    let mismatch = |message: String| Err(wire::error(frame.id(), code::HEADER_MISMATCH, &message, None));
    // A body that does not say who asks is told so by what serves it.
    let Some(version) = modern::version(frame) else { return Ok(()) };
    match one(headers, &negotiate::VERSION) {
        Ok(Some(header)) if header == version => {}
        Ok(Some(_)) => return mismatch("MCP-Protocol-Version is not what \"params._meta\" says".into()),
        Ok(None) => return mismatch("the header MCP-Protocol-Version is missing".into()),
        Err(()) => return mismatch("the header MCP-Protocol-Version stands there twice".into()),
    }
    if version != modern::VERSION {
        // Told by what serves it, with the revisions that there are.
        return Ok(());
    }
    match one(headers, &METHOD) {
        Ok(Some(method)) if method == frame.method() => {}
        Ok(None) => return mismatch("the header Mcp-Method is missing".into()),
        _ => return mismatch("Mcp-Method is not the method of the body".into()),
    }
    if let Some((_, key)) = NAMED.iter().find(|(method, _)| *method == frame.method())
        && let Some(named) = string(frame, key)
    {
        match one(headers, &NAME).ok().flatten().map(param_headers::decode) {
            Some(Ok(header)) if header == named => {}
            None => return mismatch("the header Mcp-Name is missing".into()),
            _ => return mismatch(format!("Mcp-Name is not \"params.{key}\" of the body")),
        }
        if frame.method() == "tools/call" {
            params(&named).or_else(mismatch)?;
        }
    }
    Ok(())
}

fn string<'f>(frame: &'f Frame, key: &str) -> Option<Cow<'f, str>> {
    let place = shallow::get(frame.bytes(), frame.params()?, key).ok().flatten()?;
    shallow::string(frame.bytes(), place)
}

/// The only value of a header, without white space around it. `Err`: there are several, or it is no text.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(drop),
        _ => Err(()),
    }
}
