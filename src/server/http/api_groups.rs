//! `/api/groups`: what groups and their members are doing, and bringing members back.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::json;

use super::{
    Front,
    api::ok,
    object::Object,
    parts::Step,
    refusal::{Refusal, json_response},
};
use crate::{
    registry::{Group, Snapshot, groups},
    wire::shallow,
};

pub(super) async fn groups(State(front): State<Arc<Front>>) -> Response {
    let groups = groups::list(&front.state.gateway.registry.snapshot());
    ok(&json!({"groups": groups, "count": groups.len()}))
}

pub(super) async fn group(State(front): State<Arc<Front>>, Step(name): Step) -> Result<Response, Refusal> {
    let snapshot = front.state.gateway.registry.snapshot();
    let group = snapshot.groups.get(&*name).ok_or_else(|| unknown(&snapshot, &name))?;
    Ok(ok(&group.view(&snapshot.providers)))
}

pub(super) async fn rebalance(
    State(front): State<Arc<Front>>,
    Step(name): Step,
    request: Request,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    Object::receive(&head.headers, body, &front, &[]).await?;
    let snapshot = front.state.gateway.registry.snapshot();
    let group = snapshot.groups.get(&*name).ok_or_else(|| unknown(&snapshot, &name))?;
    Ok(ok(&group.rebalanced(&snapshot.providers).await))
}

/// Every member in service.
pub(super) async fn start(front: &Front, name: &str, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    Object::receive(&head.headers, body, front, &[]).await?;
    let snapshot = front.state.gateway.registry.snapshot();
    let group = snapshot.groups.get(name).ok_or_else(|| unknown(&snapshot, name))?;
    Ok(ok(&group.started(&snapshot.providers, None).await))
}

/// As the members wrote them. Those that were never seen are not started for it.
pub(super) fn tools(front: &Front, group: &Group) -> Response {
    let snapshot = front.state.gateway.registry.snapshot();
    let tools = group.tools(&snapshot.providers);
    let known = group.providers(&snapshot.providers).any(|member| member.catalogue().is_some());
    let tools: Vec<&[u8]> = tools.iter().map(|item| &item.raw[..]).collect();
    let (name, known) = (shallow::quote(group.name.as_str()), known.to_string());
    let parts = [
        b"{\"provider\":",
        name.as_slice(),
        b",\"known\":",
        known.as_bytes(),
        b",\"tools\":[",
        &tools.join(&b","[..]),
        b"]}",
    ];
    json_response(StatusCode::OK, parts.concat().into())
}

fn unknown(snapshot: &Snapshot, name: &str) -> Refusal {
    let shown: String = name.chars().take(100).collect();
    let known: Vec<_> = snapshot.groups.keys().collect();
    let details = json!({"group": shown, "known": known});
    let message = format!("there is no group \"{shown}\"");
    Refusal { details, ..Refusal::new(StatusCode::NOT_FOUND, "unknown_group", message) }
}
