//! `/api/*`: what the gateway and its providers are doing, and starting and stopping them. No route takes a command, an
//! image or a path; what only reads never starts anything.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use super::{
    Front, api_groups,
    object::Object,
    parts::Step,
    refusal::{Refusal, json_response},
};
use crate::{
    provider::{CallError, Listing, Provider},
    registry::view,
    telemetry::StopReason,
    wire::{shallow, to_json},
};

type Outcome = Result<Response, Refusal>;

pub(super) async fn status(State(front): State<Arc<Front>>) -> Response {
    let state = &front.state;
    let registry = &state.gateway.registry;
    let snapshot = registry.snapshot();
    let (healthy, reasons) = view::health(&snapshot);
    let mut status = state.about.json();
    if let (Some(all), Some(overview)) = (status.as_object_mut(), view::overview(&snapshot).as_object_mut()) {
        all.append(overview);
    }
    status["status"] = json!(if healthy { "healthy" } else { "degraded" });
    status["reasons"] = json!(reasons);
    let last = state.reload.last();
    status["restart_required"] = json!(last.as_ref().map(|last| last.restart_required.clone()).unwrap_or_default());
    status["last_reload"] = json!(last);
    status["sessions"] = json!(state.sessions.len());
    status["clients"] = state.clients.json();
    status["collisions"] = json!(registry.index().collisions);
    ok(&status)
}

pub(super) async fn providers(State(front): State<Arc<Front>>) -> Response {
    let providers = view::list(&front.state.gateway.registry);
    ok(&json!({"providers": providers, "count": providers.len()}))
}

pub(super) async fn provider(State(front): State<Arc<Front>>, Step(name): Step) -> Outcome {
    Ok(ok(&view::details(&*find(&front, &name)?)))
}

/// Answers when it is ready, or has failed. A client that goes away does not stop the start.
pub(super) async fn start(State(front): State<Arc<Front>>, Step(name): Step, request: Request) -> Outcome {
    if front.state.gateway.registry.group(&name).is_some() {
        return api_groups::start(&front, &name, request).await;
    }
    let provider = told(&front, &name, request).await?;
    let mut pulls = provider.pulls.subscribe();
    provider.start().await.map_err(call_refusal)?;
    Ok(ok(&view::started(&provider, &mut pulls)))
}

/// Answers when it is at rest.
pub(super) async fn stop(State(front): State<Arc<Front>>, Step(name): Step, request: Request) -> Outcome {
    let provider = told(&front, &name, request).await?;
    provider.stop(StopReason::Requested, provider.spec.drain_timeout, false).await;
    Ok(ok(&view::summary(&provider)))
}

async fn told(front: &Front, name: &str, request: Request) -> Result<Arc<Provider>, Refusal> {
    let (head, body) = request.into_parts();
    Object::receive(&head.headers, body, &front.limits(), &[]).await?;
    find(front, name)
}

/// As the upstream wrote them, without those that the filter leaves out. One that was never seen is not started for it.
pub(super) async fn tools(State(front): State<Arc<Front>>, Step(name): Step) -> Outcome {
    if let Some(group) = front.state.gateway.registry.group(&name) {
        return Ok(api_groups::tools(&front, &group));
    }
    let provider = find(&front, &name)?;
    let catalogue = provider.catalogue();
    let offered = catalogue.iter().flat_map(|catalogue| &catalogue.tools).filter(|item| provider.offers(&item.key));
    let tools = offered.map(|item| &item.raw[..]).collect::<Vec<_>>().join(&b","[..]);
    let name = shallow::quote(provider.name.as_str());
    let known: &[u8] = if catalogue.is_some() { b"true" } else { b"false" };
    let parts = [b"{\"provider\":", name.as_slice(), b",\"known\":", known, b",\"tools\":[", &tools, b"]}"];
    Ok(json_response(StatusCode::OK, parts.concat().into()))
}

/// The merged list that clients see.
pub(super) async fn all_tools(State(front): State<Arc<Front>>) -> Response {
    let index = front.state.gateway.registry.index();
    let merged = index.list(Listing::Tools);
    let count = merged.count.to_string();
    let parts = [b"{\"count\":", count.as_bytes(), b",\"tools\":", &merged.array, b"}"];
    json_response(StatusCode::OK, parts.concat().into())
}

/// The provider of that name in force, or the answer that says which one may be meant.
pub(super) fn find(front: &Front, name: &str) -> Result<Arc<Provider>, Refusal> {
    let registry = &front.state.gateway.registry;
    registry.provider(name).ok_or_else(|| {
        let snapshot = registry.snapshot();
        if snapshot.config.providers.contains_key(name) {
            let message =
                format!("provider \"{name}\" is switched off (enabled: false); load it, or enable it in the file");
            return Refusal::new(StatusCode::CONFLICT, "provider_disabled", message);
        }
        let help = registry.closest_provider(name).map(|name| format!("; did you mean \"{name}\"?"));
        let shown: String = name.chars().take(100).collect();
        let message = format!("there is no provider \"{shown}\"{}", help.unwrap_or_default());
        let known: Vec<_> = snapshot.providers.keys().collect();
        let details = json!({"provider": shown, "known": known});
        Refusal { details, ..Refusal::new(StatusCode::NOT_FOUND, "unknown_provider", message) }
    })
}

pub(super) fn call_refusal(error: CallError) -> Refusal {
    let status = match &error {
        CallError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        CallError::Gone { .. } | CallError::Transport { .. } => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal { details: error.details(), ..Refusal::new(status, error.name(), error.to_string()) }
}

pub(super) fn ok(value: &impl Serialize) -> Response {
    json_response(StatusCode::OK, to_json(value).into())
}

/// The page that shows it: one file, nothing from anywhere else.
pub(super) async fn dashboard() -> Response {
    const PAGE: &str = include_str!("dashboard.html");
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                          connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ];
    (headers, PAGE).into_response()
}
