//! `/api/groups`: what groups and their members are doing, and bringing members back.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::json;

use super::{Front, api::ok, object::Object, parts::Step, refusal::Refusal};
use crate::registry::{Snapshot, groups};

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
    Object::receive(&head.headers, body, &[]).await?;
    let snapshot = front.state.gateway.registry.snapshot();
    let group = snapshot.groups.get(&*name).ok_or_else(|| unknown(&snapshot, &name))?;
    Ok(ok(&group.rebalanced(&snapshot.providers).await))
}

fn unknown(snapshot: &Snapshot, name: &str) -> Refusal {
    let shown: String = name.chars().take(100).collect();
    let known: Vec<_> = snapshot.groups.keys().collect();
    let details = json!({"group": shown, "known": known});
    let message = format!("there is no group \"{shown}\"");
    Refusal { details, ..Refusal::new(StatusCode::NOT_FOUND, "unknown_group", message) }
}
