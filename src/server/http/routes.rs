//! Which path leads where.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    routing::get,
};

use super::{Front, mcp, refusal::Refusal};

pub(super) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/mcp", get(mcp::get).post(mcp::post).delete(mcp::delete))
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
