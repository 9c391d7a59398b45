//! `POST /api/providers/{id}/call`: one call for the command line; arguments and result byte for byte.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{json, value::RawValue};
use tokio_util::sync::CancellationToken;

use super::{
    Front, api,
    object::{Object, bad},
    parts::Step,
    refusal::{Refusal, json_response},
};
use crate::{
    bridge,
    provider::{Asked, Caller, Client, ClientFeature, ClientId, Era, Home, HomeKind, ListKinds, Relay},
    registry::{Address, Delivery, DeliveryError},
    server::Session,
    wire::{self, Frame, shallow},
};

/// Longest time a caller may ask for, in seconds.
const MAX_TIMEOUT: f64 = 3600.0;

/// Body: `{"tool": NAME, "arguments": {...}, "timeout_s"?}`. Answers the upstream's CallToolResult.
pub(super) async fn call(
    State(front): State<Arc<Front>>,
    Step(name): Step,
    request: Request,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let body = Object::receive(&head.headers, body, &front, &["tool", "arguments", "timeout_s"]).await?;
    let registry = &front.state.gateway.registry;
    // A group is called as a provider is.
    let owner = match registry.group(&name) {
        Some(group) => group.name.clone(),
        None => api::find(&front, &name)?.name.clone(),
    };
    let tool = body.string("tool")?.ok_or_else(|| bad("\"tool\" is missing"))?;
    let arguments = body.raw("arguments").unwrap_or(b"{}");
    if !matches!(arguments.first(), Some(b'{' | b'n')) {
        return Err(bad("\"arguments\" must be an object"));
    }
    let timeout = match body.number("timeout_s")? {
        Some(seconds) if seconds > 0.0 && seconds <= MAX_TIMEOUT => Some(Duration::from_secs_f64(seconds)),
        None => None,
        Some(_) => return Err(bad(format!("\"timeout_s\" must be more than 0 and at most {MAX_TIMEOUT}"))),
    };
    let quoted = shallow::quote(&tool);
    let params = [b"{\"name\":", quoted.as_slice(), b",\"arguments\":", arguments, b"}"].concat();
    let frame =
        Frame::parse(wire::request(b"0", "tools/call", &params)).map_err(|error| bad(format!("arguments: {error}")))?;
    let place = frame.params().and_then(|params| shallow::get(frame.bytes(), params, "name").ok().flatten());
    let name_place = place.ok_or_else(|| bad("\"tool\" is missing"))?;
    // Nobody can be asked anything, and nobody reads what comes beside the answer.
    let nobody = Nobody { id: Session::new(Default::default()).id(), over: CancellationToken::new() };
    let _over = nobody.over.clone().drop_guard();
    let caller = Caller { client: Arc::new(nobody), relay: Relay::new().0 };
    let to = Address::Tool { provider: owner.as_str(), tool: &tool };
    match bridge::deliver(registry, Delivery { frame: &frame, to, name_place: Some(name_place), caller, timeout }).await
    {
        Ok((answer, _)) => result(&answer),
        Err(DeliveryError::Call(told)) => Err(api::call_refusal(&told)),
        Err(DeliveryError::Group(error)) => {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.name(), error.to_string());
            Err(Refusal { details: error.details(), ..refusal })
        }
        Err(error @ DeliveryError::Unknown { .. }) => {
            Err(Refusal::new(StatusCode::NOT_FOUND, "unknown_tool", error.to_string()))
        }
    }
}

fn result(answer: &Frame) -> Result<Response, Refusal> {
    if let Some(place) = answer.result() {
        return Ok(json_response(StatusCode::OK, answer.bytes().slice(place.range())));
    }
    let raw = answer.error().map(|place| answer.text(place)).unwrap_or_default();
    let error: Option<&RawValue> = serde_json::from_slice(raw).ok();
    let said = answer.error().and_then(|error| {
        let place = shallow::get(answer.bytes(), error, "message").ok().flatten()?;
        shallow::string(answer.bytes(), place)
    });
    let message = format!("the provider answered with an error: {}", said.unwrap_or_default());
    let details = json!({"upstream_error": error});
    Err(Refusal { details, ..Refusal::new(StatusCode::BAD_GATEWAY, "upstream_error", message) })
}

/// A caller that is no MCP client.
struct Nobody {
    id: ClientId,
    /// Fires with the end of its one call.
    over: CancellationToken,
}

impl Client for Nobody {
    fn id(&self) -> ClientId {
        self.id
    }

    fn era(&self) -> Era {
        Era::Legacy
    }

    fn tag(&self) -> u64 {
        0
    }

    fn name(&self) -> &str {
        ""
    }

    fn home(&self) -> Home {
        Home { id: self.id, kind: HomeKind::Call, over: self.over.clone() }
    }

    fn general(&self) -> Option<Relay> {
        None
    }

    fn lists_changed(&self, _: ListKinds) {}

    fn has(&self, _: ClientFeature) -> bool {
        false
    }

    fn capabilities(&self) -> bytes::Bytes {
        bytes::Bytes::from_static(b"{}")
    }

    fn log_level(&self) -> Option<&'static str> {
        None
    }

    fn wants_log(&self, _: &str) -> bool {
        false
    }

    fn ask(&self, _: &Frame, _: &Relay) -> Asked {
        Asked::new(0).0
    }

    fn take_back(&self, _: u64, _: &Relay) {}
}
