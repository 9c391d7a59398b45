//! `POST|GET|DELETE /mcp`: streamable HTTP of the legacy era, 2025-03-26 to 2025-11-25; requests of the modern one are handed
//! to `mcp_modern`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    Front, body, mcp_modern,
    negotiate::{self, Accepts},
    refusal::{McpRefusal, json_response},
    stream::{self, Answer, CallStream, Presence, Reply},
};
use crate::{
    provider::Relay,
    server::{Session, SessionKey, batch, lists},
    wire::{self, Frame, FrameError, FrameKind, code, shallow},
};

/// How long a call may take before its client gets a sign of life.
const PATIENCE: Duration = Duration::from_secs(10);
/// The only revision with batches.
const BATCHES: &str = "2025-03-26";

type Outcome = Result<Response, McpRefusal>;

pub(super) async fn post(State(front): State<Arc<Front>>, request: Request) -> Response {
    posted(front, request).await.into_response()
}

/// Opens the stream of general messages.
pub(super) async fn get(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    if negotiate::names_modern_era(&headers) {
        return only_post();
    }
    opened(&front, &headers).into_response()
}

/// Ends the session.
pub(super) async fn delete(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    if negotiate::names_modern_era(&headers) {
        return only_post();
    }
    let ended = || {
        let key = negotiate::session_key(&headers)?.ok_or_else(negotiate::missing_session)?;
        if front.state.sessions.close(&key) { Ok(StatusCode::NO_CONTENT) } else { Err(negotiate::unknown_session()) }
    };
    ended().into_response()
}

/// There are no sessions and no streams of general messages in the modern era.
fn only_post() -> Response {
    let refusal = McpRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "this protocol revision has POST only");
    let mut response = refusal.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn posted(front: Arc<Front>, request: Request) -> Outcome {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    if !negotiate::sends_json(headers) {
        let message = "the Content-Type must be application/json";
        return Err(McpRefusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let accepts = negotiate::accepts(headers);
    if !accepts.json && !accepts.events {
        let message = "the Accept header allows neither application/json nor text/event-stream";
        return Err(McpRefusal::new(StatusCode::NOT_ACCEPTABLE, message));
    }
    let body = body::read(headers, body, &front.limits()).await;
    let body = body.map_err(|e| McpRefusal::new(e.status(), &e.to_string()))?;
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        negotiate::check_version(headers)?;
        let key = negotiate::session_key(headers)?;
        return batched(front, key, accepts, &body).await;
    }
    let frame = Frame::parse(body).map_err(|error| unreadable(&error))?;
    if mcp_modern::is_modern(headers, &frame) {
        return Ok(mcp_modern::post(front, accepts, headers, frame).await);
    }
    negotiate::check_version(headers)?;
    let key = negotiate::session_key(headers)?;
    if frame.kind() == FrameKind::Request && frame.method() == "initialize" {
        return initialize(&front, key, accepts, frame).await;
    }
    let (key, session) = session_of(&front, key)?;
    if frame.kind() != FrameKind::Request {
        front.state.gateway.receive(&session, frame);
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let presence = Presence { sessions: front.state.sessions.clone(), key };
    let (relay, messages) = Relay::new();
    let answer = Box::pin(async move {
        let gateway = &front.state.gateway;
        let answer = gateway.request(&session, &frame, relay).await?;
        Some(gateway.room_for(&frame, answer).into())
    });
    Ok(reply(answer, messages, accepts, Some(presence)).await)
}

fn unreadable(error: &FrameError) -> McpRefusal {
    let id = match error {
        FrameError::Envelope { id: Some(id), .. } => id.clone(),
        _ => Bytes::new(),
    };
    McpRefusal::with(StatusCode::BAD_REQUEST, wire::error(&id, error.code(), &error.to_string(), None))
}

fn session_of(front: &Front, key: Option<SessionKey>) -> Result<(SessionKey, Arc<Session>), McpRefusal> {
    let key = key.ok_or_else(negotiate::missing_session)?;
    let session = front.state.sessions.find(&key).ok_or_else(negotiate::unknown_session)?;
    Ok((key, session))
}

/// Opens a session. One that does not come to an agreement leaves nothing behind.
async fn initialize(front: &Front, key: Option<SessionKey>, accepts: Accepts, frame: Frame) -> Outcome {
    let (relay, _) = Relay::new();
    let gateway = &front.state.gateway;
    if key.is_some() {
        let (_, session) = session_of(front, key)?;
        // It has been said before; the session itself knows how to refuse it.
        let refused = gateway.request(&session, &frame, relay).await.unwrap_or_default();
        return Err(McpRefusal::with(StatusCode::BAD_REQUEST, refused));
    }
    let news = *gateway.registry.ground.catalogue_news.borrow();
    let most = gateway.registry.snapshot().config.server.limits.sessions;
    let Some((key, session)) = front.state.sessions.open(news, most) else {
        let body =
            wire::error(frame.id(), code::INTERNAL_ERROR, "the system gave no random bytes for a session id", None);
        return Err(McpRefusal::with(StatusCode::SERVICE_UNAVAILABLE, body));
    };
    let answer = gateway.request(&session, &frame, relay).await.unwrap_or_default();
    if session.greeting().is_none() {
        front.state.sessions.close(&key);
        return Err(McpRefusal::with(StatusCode::BAD_REQUEST, answer));
    }
    let mut response =
        if accepts.json { json_response(StatusCode::OK, answer) } else { stream::finished(stream::event(answer)) };
    if let Ok(key) = HeaderValue::from_str(&negotiate::show_key(&key)) {
        response.headers_mut().insert(negotiate::SESSION, key);
    }
    Ok(response)
}

async fn batched(front: Arc<Front>, key: Option<SessionKey>, accepts: Accepts, body: &Bytes) -> Outcome {
    let array = shallow::root(body).map_err(|error| unreadable(&FrameError::Json(error)))?;
    let elements = shallow::elements(body, array).unwrap_or_default();
    let frames: Vec<_> = elements.into_iter().map(|place| Frame::parse(body.slice(place.range()))).collect();
    let refuse = |message| Err(McpRefusal::new(StatusCode::BAD_REQUEST, message));
    if frames.iter().flatten().any(|frame| frame.method() == "initialize") {
        return refuse("\"initialize\" cannot be part of a batch");
    }
    let (key, session) = session_of(&front, key)?;
    if session.greeting().is_none_or(|greeting| greeting.protocol_version != BATCHES) {
        return refuse("batches exist in revision 2025-03-26 only, and this session speaks another one");
    }
    if frames.is_empty() {
        return refuse("an empty batch");
    }
    let presence = Presence { sessions: front.state.sessions.clone(), key };
    let (relay, messages) = Relay::new();
    let answer =
        Box::pin(async move { Some(batch::answer(&front.state.gateway, &session, frames, relay).await?.into()) });
    Ok(reply(answer, messages, accepts, Some(presence)).await)
}

/// JSON when the answer comes first; a stream when a message of the call does, or nothing for a while.
pub(super) async fn reply(
    mut answer: Answer,
    mut messages: tokio::sync::mpsc::Receiver<Bytes>,
    accepts: Accepts,
    presence: Option<Presence>,
) -> Response {
    if !accepts.events {
        // Nobody can get the call's messages; who would send one is told so.
        drop(messages);
        return plain(answer.await);
    }
    if !accepts.json {
        return CallStream::new(answer, messages, presence).response(stream::comment());
    }
    tokio::select! {
        biased;
        Some(message) = messages.recv() => CallStream::new(answer, messages, presence).response(stream::event(message)),
        answer = &mut answer => match messages.is_empty() {
            true => plain(answer),
            // They came together; the order stays.
            false => stream::finished(stream::last_events(&mut messages, answer.map(|reply| reply.body))),
        },
        () = tokio::time::sleep(PATIENCE) => CallStream::new(answer, messages, presence).response(stream::comment()),
    }
}

/// Without an answer (the client has cancelled the call, or sent no request): accepted.
fn plain(answer: Option<Reply>) -> Response {
    match answer {
        Some(Reply { body, status }) => json_response(status, body),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

fn opened(front: &Arc<Front>, headers: &HeaderMap) -> Outcome {
    let accepts = negotiate::accepts(headers);
    if !accepts.events && !accepts.anything {
        return Err(McpRefusal::new(StatusCode::NOT_ACCEPTABLE, "the Accept header does not allow text/event-stream"));
    }
    negotiate::check_version(headers)?;
    let (key, session) = session_of(front, negotiate::session_key(headers)?)?;
    let messages = session.open_stream();
    lists::catch_up(&front.state.gateway.registry, &session);
    let presence = Presence { sessions: front.state.sessions.clone(), key };
    Ok(stream::general(messages, session.over().clone(), front.clone(), presence))
}
