//! Which path leads where.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    routing::{get, post},
};

use super::{Front, api, api_call, api_config, api_follow, api_groups, api_load, health, mcp, refusal::Refusal};

pub(super) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/mcp", get(mcp::get).post(mcp::post).delete(mcp::delete))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/health/startup", get(health::startup))
        .route("/metrics", get(health::metrics))
        .route("/", get(api::dashboard))
        .route("/api/status", get(api::status))
        .route("/api/providers", get(api::providers))
        .route("/api/providers/{name}", get(api::provider))
        .route("/api/providers/{name}/start", post(api::start))
        .route("/api/providers/{name}/stop", post(api::stop))
        .route("/api/providers/{name}/load", post(api_load::load))
        .route("/api/providers/{name}/unload", post(api_load::unload))
        .route("/api/providers/{name}/logs", get(api_follow::logs))
        .route("/api/providers/{name}/tools", get(api::tools))
        .route("/api/providers/{name}/call", post(api_call::call))
        .route("/api/groups", get(api_groups::groups))
        .route("/api/groups/{name}", get(api_groups::group))
        .route("/api/groups/{name}/rebalance", post(api_groups::rebalance))
        .route("/api/tools", get(api::all_tools))
        .route("/api/config", get(api_config::config))
        .route("/api/config/diff", get(api_config::diff))
        .route("/api/config/reload", post(api_config::reload))
        .route("/api/events", get(api_follow::events))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(front)
}

async fn not_found(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}

/// The `Allow` header is the router's.
async fn not_allowed(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
