//! How a request is refused: a status, and a body that says what is wrong.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::wire::{self, code};

/// Outside of `/mcp`: `{"error": CODE, "message": TEXT, "details": {}}`.
pub(super) struct Refusal {
    pub status: StatusCode,
    /// Short, stable, for programs.
    pub error: &'static str,
    pub message: String,
    pub details: Value,
}

/// On `/mcp`: a JSON-RPC error.
pub(super) struct McpRefusal {
    status: StatusCode,
    body: Bytes,
}

impl Refusal {
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), details: json!({}) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "message": self.message, "details": self.details});
        json_response(self.status, body.to_string().into())
    }
}

impl McpRefusal {
    pub fn new(status: StatusCode, message: &str) -> Self {
        Self { status, body: wire::error(b"", code::INVALID_REQUEST, message, None) }
    }

    /// With a body that says which request it answers.
    pub fn with(status: StatusCode, body: Bytes) -> Self {
        Self { status, body }
    }
}

impl IntoResponse for McpRefusal {
    fn into_response(self) -> Response {
        json_response(self.status, self.body)
    }
}

pub(super) fn json_response(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
