//! `hangar_call`: one call or many, in the order given, upstream results byte for byte.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Control,
    arguments::{Arguments, refusal},
    outcome::Outcome,
};
use crate::{
    bridge,
    provider::Caller,
    registry::{Address, Delivery, DeliveryError},
    wire::{self, Frame, shallow, to_json},
};

const MAX_CALLS: usize = 100;
const DEFAULT_CONCURRENCY: usize = 10;
const MAX_CONCURRENCY: usize = 50;
/// Longest time a caller may ask for, in seconds.
const MAX_TIMEOUT: f64 = 3600.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch<'a> {
    #[serde(borrow)]
    calls: Vec<OneCall<'a>>,
    max_concurrency: Option<usize>,
    timeout: Option<f64>,
    fail_fast: Option<bool>,
    /// The caller's, raw JSON: of use to the one call there is, for the reports of several could not be told apart.
    #[serde(skip)]
    progress_token: Option<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneCall<'a> {
    provider: String,
    tool: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    timeout: Option<f64>,
}

/// What came of one call.
enum Ended {
    /// The upstream's CallToolResult; `true`: it says `isError`.
    Result(Bytes, bool),
    Failed(serde_json::Value),
}

pub fn read<'a>(arguments: &'a Arguments<'_>) -> Result<Batch<'a>, Outcome> {
    let raw = arguments.raw();
    if !raw.starts_with(b"{") {
        return Err(refusal("the arguments are not an object"));
    }
    let mut batch: Batch<'a> = serde_json::from_slice(raw).map_err(|error| refusal(&error.to_string()))?;
    batch.progress_token = arguments.progress_token().filter(|_| batch.calls.len() == 1);
    let timeouts = batch.calls.iter().map(|call| call.timeout).chain([batch.timeout]);
    if batch.calls.is_empty() || batch.calls.len() > MAX_CALLS {
        return Err(refusal(&format!("\"calls\" must hold 1 to {MAX_CALLS} calls")));
    }
    if timeouts.flatten().any(|seconds| !(seconds > 0.0 && seconds <= MAX_TIMEOUT)) {
        return Err(refusal(&format!("a \"timeout\" must be more than 0 and at most {MAX_TIMEOUT} seconds")));
    }
    if batch.calls.iter().any(|call| call.arguments.is_some_and(|raw| !raw.get().starts_with(['{', 'n']))) {
        return Err(refusal("\"arguments\" of a call must be an object"));
    }
    if batch.max_concurrency.is_some_and(|n| n == 0 || n > MAX_CONCURRENCY) {
        return Err(refusal(&format!("\"max_concurrency\" must be 1 to {MAX_CONCURRENCY}")));
    }
    Ok(batch)
}

impl Control {
    pub(super) async fn call_batch(&self, id: &[u8], batch: Batch<'_>, caller: Caller) -> Outcome {
        let began = Instant::now();
        let deadline = batch.timeout.map(|seconds| began + Duration::from_secs_f64(seconds));
        let failed = AtomicBool::new(false);
        let fail_fast = batch.fail_fast.unwrap_or(false);
        let concurrency = batch.max_concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        let mut runs = Vec::with_capacity(batch.calls.len());
        for call in &batch.calls {
            let (failed, caller, token) = (&failed, caller.clone(), batch.progress_token.as_deref());
            runs.push(async move {
                if fail_fast && failed.load(Ordering::Relaxed) {
                    let message = "not started: an earlier call failed and fail_fast is set";
                    return (Ended::failed("not_started", message, json!({})), Duration::ZERO);
                }
                let began = Instant::now();
                let ended = self.call_one(id, token, call, caller, deadline).await;
                if !matches!(ended, Ended::Result(_, false)) {
                    failed.store(true, Ordering::Relaxed);
                }
                (ended, began.elapsed())
            });
        }
        let ended: Vec<_> = stream::iter(runs).buffered(concurrency).collect().await;
        report(&ended, began.elapsed())
    }

    /// `id`: of the request it came with, for the account of it; upstreams see another one.
    async fn call_one(
        &self,
        id: &[u8],
        token: Option<&[u8]>,
        call: &OneCall<'_>,
        caller: Caller,
        deadline: Option<Instant>,
    ) -> Ended {
        let arguments = call.arguments.map_or("{}", RawValue::get);
        let tool = shallow::quote(&call.tool);
        let meta = token.map(|token| [b",\"_meta\":{\"progressToken\":", token, b"}"].concat()).unwrap_or_default();
        let params = [b"{\"name\":", &*tool, b",\"arguments\":", arguments.as_bytes(), &meta, b"}"].concat();
        let frame = match Frame::parse(wire::request(id, "tools/call", &params)) {
            Ok(frame) => frame,
            Err(error) => return Ended::failed("invalid_arguments", &error.to_string(), json!({})),
        };
        let name = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "name").ok().flatten());
        let Some(name_place) = name else { return Ended::failed("internal", "the call has no name", json!({})) };
        let to = Address::Tool { provider: &call.provider, tool: &call.tool };
        let timeout = call.timeout.map(Duration::from_secs_f64);
        let delivery = bridge::deliver(
            &self.registry,
            Delivery { frame: &frame, to, name_place: Some(name_place), caller, timeout },
        );
        let delivered = match deadline {
            None => delivery.await,
            // Dropping the delivery cancels the call upstream.
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), delivery).await {
                Ok(delivered) => delivered,
                Err(_) => return Ended::failed("timeout", "the timeout of the whole batch is over", json!({})),
            },
        };
        match delivered {
            Ok((answer, _)) => Ended::of(&answer),
            Err(DeliveryError::Group(error)) => Ended::failed(error.name(), &error.to_string(), error.details()),
            Err(DeliveryError::Call(error)) => Ended::failed(error.name(), &error.to_string(), error.details()),
            Err(error @ DeliveryError::Unknown { .. }) => Ended::failed("unknown", &error.to_string(), json!({})),
        }
    }
}

impl Ended {
    fn failed(code: &str, message: &str, details: serde_json::Value) -> Self {
        Self::Failed(json!({"error": code, "message": message, "details": details}))
    }

    fn of(answer: &Frame) -> Self {
        let text = answer.bytes();
        if let Some(result) = answer.result() {
            let flag = shallow::get(text, result, "isError").ok().flatten();
            return Self::Result(text.slice(result.range()), flag.is_some_and(|place| answer.text(place) == b"true"));
        }
        let error = answer.error().map(|place| serde_json::from_slice(answer.text(place)).unwrap_or_default());
        let error: serde_json::Value = error.unwrap_or_default();
        let message = error["message"].as_str().unwrap_or("the provider answered with an error").to_owned();
        Self::failed("upstream_error", &message, error)
    }
}

/// `{success, total, succeeded, failed, elapsed_ms, results: [{index, success, result, error, elapsed_ms}]}`
fn report(ended: &[(Ended, Duration)], took: Duration) -> Outcome {
    let succeeded = ended.iter().filter(|(ended, _)| matches!(ended, Ended::Result(_, false))).count();
    let failed = ended.len() - succeeded;
    let head = json!({
        "success": failed == 0,
        "total": ended.len(),
        "succeeded": succeeded,
        "failed": failed,
        "elapsed_ms": milliseconds(took),
    });
    let mut out = to_json(&head);
    out.pop();
    out.extend_from_slice(b",\"results\":[");
    for (index, (ended, took)) in ended.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let (success, result, error) = match ended {
            Ended::Result(result, is_error) => {
                let error =
                    is_error.then(|| json!({"error": "tool_error", "message": "the tool says isError", "details": {}}));
                (!is_error, &result[..], to_json(&error))
            }
            Ended::Failed(error) => (false, &b"null"[..], to_json(error)),
        };
        let start = format!("{{\"index\":{index},\"success\":{success},\"result\":");
        let end = format!(",\"elapsed_ms\":{}}}", milliseconds(*took));
        out.extend_from_slice(&[start.as_bytes(), result, b",\"error\":", &error, end.as_bytes()].concat());
    }
    out.extend_from_slice(b"]}");
    Outcome::raw(out, failed > 0)
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}
