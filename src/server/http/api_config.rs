//! `/api/config*`: the configuration in force, what a reload would change, and the reload itself.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::{Map, json};

use super::{
    Front, api,
    object::Object,
    refusal::{Refusal, json_response},
};
use crate::{
    config::{Config, LogFormat, Protocol, ToolPrefix},
    registry::{self, view},
    reload::{ReloadOptions, ReloadResult, Trigger},
    wire::to_json,
};

/// Says that the command line asks.
const CLIENT: &str = "x-hangar-client";

/// Without secrets: environment and headers by their names only.
pub(super) async fn config(State(front): State<Arc<Front>>) -> Response {
    let snapshot = front.state.gateway.registry.snapshot();
    let Config { providers, catalog, groups, discovery, reload, server, logging, audit, telemetry, cleanup, daemon } =
        &*snapshot.config;
    let providers: Map<_, _> = providers.iter().map(|(name, spec)| (name.to_string(), view::spec(spec))).collect();
    let catalog: Map<_, _> = catalog.iter().map(|(name, spec)| (name.to_string(), view::spec(spec))).collect();
    let groups: Map<_, _> =
        groups.iter().map(|(name, spec)| (name.to_string(), registry::groups::spec(spec))).collect();
    api::ok(&json!({
        "generation": snapshot.generation,
        "config_sha256": snapshot.sha256,
        "path": front.state.reload.path(),
        "providers": providers,
        "catalog": catalog,
        "groups": groups,
        "discovery": {"files": discovery.directory.as_ref().map(|directory| json!({"directory": directory}))},
        "config_reload": {
            "enabled": reload.enabled,
            "use_watchdog": reload.use_watchdog,
            "interval_s": reload.interval.as_secs_f64(),
        },
        "server": {
            "host": server.host,
            "port": server.port,
            "tool_prefix": match server.tool_prefix { ToolPrefix::Always => "always", ToolPrefix::Never => "never" },
            "expose": server.expose.others.as_str(),
            "clients": server.expose.clients.iter().map(|rule| {
                json!({"match": rule.pattern, "expose": rule.expose.as_str()})
            }).collect::<Vec<_>>(),
            "protocol": match server.protocol {
                Protocol::Auto => "auto",
                Protocol::Legacy => "legacy",
                Protocol::Modern => "2026-07-28",
            },
            "allowed_hosts": server.allowed_hosts,
            "allowed_origins": server.allowed_origins,
            "control_tools": server.control_tools,
            "session_idle_s": server.session_idle.as_secs_f64(),
            "list_timeout_s": server.list_timeout.as_secs_f64(),
            "progress_keep_alive_s": server.progress_keep_alive.as_secs_f64(),
            "limits": server.limits.shown(),
        },
        "logging": {
            "level": logging.level.as_str(),
            "format": match logging.format { LogFormat::Text => "text", LogFormat::Json => "json" },
        },
        "audit": {"file": audit.file, "max_size": audit.max_size, "keep": audit.keep},
        "telemetry": {"otlp": {
            "endpoint": telemetry.otlp.shown_endpoint(),
            "headers": telemetry.otlp.headers.keys().collect::<Vec<_>>(),
        }},
        "cleanup": {"max_instances": cleanup.max_instances},
        "daemon": {"idle_exit_s": daemon.idle_exit.as_secs_f64()},
    }))
}

/// What a reload would do now; changes nothing.
pub(super) async fn diff(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    let options = ReloadOptions { dry_run: true, ..ReloadOptions::default() };
    report(front.state.reload.reload(trigger(&headers), options).await)
}

/// Body, optional: `{"graceful"?, "dry_run"?, "verify"?}`, booleans.
pub(super) async fn reload(State(front): State<Arc<Front>>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let body = Object::receive(&head.headers, body, &front.limits(), &["graceful", "dry_run", "verify"]).await?;
    let usual = ReloadOptions::default();
    let options = ReloadOptions {
        graceful: body.flag("graceful", usual.graceful)?,
        dry_run: body.flag("dry_run", usual.dry_run)?,
        verify: body.flag("verify", usual.verify)?,
    };
    Ok(report(front.state.reload.reload(trigger(&head.headers), options).await))
}

pub(super) fn trigger(headers: &HeaderMap) -> Trigger {
    match headers.get(CLIENT) {
        Some(client) if client.as_bytes() == b"cli" => Trigger::Cli,
        _ => Trigger::Http,
    }
}

fn report(result: ReloadResult) -> Response {
    match result {
        Ok(report) => api::ok(&report),
        Err(error) => {
            let stopping = error.stage == "shutdown";
            let status = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::UNPROCESSABLE_ENTITY };
            json_response(status, to_json(&error).into())
        }
    }
}
