//! `/health/*` and `/metrics`: answered from memory, at once, whatever the providers do.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Front, refusal::json_response};
use crate::registry::view;

/// What `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process answers.
pub(super) async fn live() -> Response {
    say(true, "alive")
}

/// A configuration is in force.
pub(super) async fn startup(State(front): State<Arc<Front>>) -> Response {
    let started = front.state.gateway.registry.snapshot().generation > 0;
    say(started, if started { "started" } else { "starting" })
}

/// Clients are served. Providers start when they are needed, so none of them has a say in it.
pub(super) async fn ready(State(front): State<Arc<Front>>) -> Response {
    if !front.serves() {
        return say(false, "stopping");
    }
    let started = front.state.gateway.registry.snapshot().generation > 0;
    say(started, if started { "ready" } else { "starting" })
}

pub(super) async fn metrics(State(front): State<Arc<Front>>) -> Response {
    let snapshot = front.state.gateway.registry.snapshot();
    let text = front.state.telemetry.metrics.render(&view::gauges(&snapshot), &view::group_gauges(&snapshot));
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

fn say(good: bool, status: &str) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(code, json!({"status": status}).to_string().into())
}
