//! What the audit file says of a call: one line for each that a client makes, however many rounds it takes, and none of the
//! values that it bears.

use std::{sync::Arc, time::Instant};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::rounds;
use crate::{
    provider::{Client, Listing},
    registry::{Address, Delivery, DeliveryError, Registry, Route, answer_outcome, names},
    telemetry::{CallOutcome, CallRecord, CallSpan, Parent},
    wire::{Frame, Span, Splice, hex, shallow},
};

/// In a request's params, since revision 2026-07-28 by that name.
const TRACEPARENT: [&str; 2] = ["_meta", "traceparent"];
/// Characters of its parts: version, trace, span, flags.
const PARTS: [usize; 4] = [2, 32, 16, 2];

/// [`Registry::deliver`], for clients of both eras on upstreams of both, written down.
pub async fn deliver(registry: &Registry, delivery: Delivery<'_>) -> Result<(Frame, Route), DeliveryError> {
    written_down(registry, delivery, async |delivery| rounds::deliver(registry, delivery).await).await
}

/// The same for what passes by era alone.
pub async fn deliver_unbridged(registry: &Registry, delivery: Delivery<'_>) -> Result<(Frame, Route), DeliveryError> {
    written_down(registry, delivery, async |delivery| registry.deliver(delivery).await).await
}

async fn written_down(
    registry: &Registry,
    delivery: Delivery<'_>,
    deliver: impl AsyncFnOnce(Delivery<'_>) -> Result<(Frame, Route), DeliveryError>,
) -> Result<(Frame, Route), DeliveryError> {
    let Some(account) = Account::begin(registry, delivery.frame, delivery.to, &delivery.caller.client) else {
        return deliver(delivery).await;
    };
    let child = account.span.as_ref().and_then(|span| below(span, &delivery));
    let delivery = match &child {
        Some((frame, name_place)) => Delivery { frame, name_place: *name_place, ..delivery },
        None => delivery,
    };
    let outcome = deliver(delivery).await;
    account.end(&outcome);
    outcome
}

/// A call while it runs. Dropped before its end: nobody waits for it any more.
pub struct Account<'d> {
    registry: &'d Registry,
    frame: &'d Frame,
    to: Address<'d>,
    client: Arc<dyn Client>,
    began: Instant,
    span: Option<CallSpan>,
    over: bool,
}

/// Where it was to go, or went.
struct Target {
    provider: Option<String>,
    group: Option<String>,
    tool: Option<String>,
}

/// How it went.
struct End {
    outcome: &'static str,
    error: Option<&'static str>,
    bytes_out: usize,
}

impl<'d> Account<'d> {
    /// `None`: nothing is written down.
    pub fn begin(registry: &'d Registry, frame: &'d Frame, to: Address<'d>, client: &Arc<dyn Client>) -> Option<Self> {
        let telemetry = &registry.ground.telemetry;
        if !telemetry.audit.is_on() && !telemetry.spans.is_on() {
            return None;
        }
        let mut begun =
            Self { registry, frame, to, client: client.clone(), began: Instant::now(), span: None, over: false };
        begun.span = telemetry.spans.begin(begun.span_name(), begun.traceparent().as_deref().and_then(Parent::read));
        Some(begun)
    }

    fn end(mut self, outcome: &Result<(Frame, Route), DeliveryError>) {
        match outcome {
            Ok((answer, route)) => {
                let outcome = answer_outcome(answer).as_str();
                self.write(Target::of(route), End { outcome, error: None, bytes_out: answer.bytes().len() });
            }
            Err(error) => {
                let mut target = self.named();
                let (outcome, error) = match error {
                    DeliveryError::Unknown { .. } => (REFUSED, "unknown"),
                    DeliveryError::Call(error) => {
                        target.provider = Some(error.provider().to_string());
                        (error.outcome().as_str(), error.name())
                    }
                    DeliveryError::Group(error) => {
                        target.group = Some(error.group.to_string());
                        (CallOutcome::Unavailable.as_str(), error.name())
                    }
                };
                self.write(target, End { outcome, error: Some(error), bytes_out: 0 });
            }
        }
    }

    /// Of a tool of the gateway's own. `None`: there is none of that name.
    pub fn own(mut self, result: Option<&[u8]>) {
        let is_error = |text: &[u8]| {
            let root = shallow::root(text).ok()?;
            let place = shallow::get(text, root, "isError").ok().flatten()?;
            Some(place.of(text) == b"true")
        };
        let (outcome, error) = match result {
            None => (REFUSED, Some("unknown")),
            Some(text) if is_error(text) == Some(true) => (CallOutcome::ToolError.as_str(), None),
            Some(_) => (CallOutcome::Success.as_str(), None),
        };
        self.write(self.named(), End { outcome, error, bytes_out: result.map_or(0, <[u8]>::len) });
    }

    /// `tools/call echo`; names that nobody lists would be without number.
    fn span_name(&self) -> String {
        let method = self.frame.method();
        match self.to {
            Address::Listed(listing @ (Listing::Tools | Listing::Prompts), name) => {
                let own = || self.registry.own_tool(name, &*self.client).map(|_| name.to_owned());
                let listed = self.registry.index().route(listing, name).map(|route| route.name.to_string());
                listed.or_else(own).map_or_else(|| method.to_owned(), |name| format!("{method} {name}"))
            }
            _ => CallRecord::clipped(method),
        }
    }

    fn traceparent(&self) -> Option<String> {
        let text = self.frame.bytes();
        let place = shallow::path(text, self.frame.params()?, &TRACEPARENT).ok().flatten()?;
        shallow::string(text, place).map(|parent| parent.into_owned())
    }

    /// As far as its name says so.
    fn named(&self) -> Target {
        let (listing, name) = match self.to {
            Address::Tool { provider, tool: name } | Address::At { provider, name } => {
                return self.target(provider, name);
            }
            Address::Listed(listing, name) => (listing, name),
        };
        if let Some(route) = self.registry.index().route(listing, name) {
            let target = Target::of(route);
            // Of a group it is not known which member.
            return if target.group.is_some() { Target { provider: None, ..target } } else { target };
        }
        let split = match listing {
            Listing::Tools | Listing::Prompts => names::split(name),
            Listing::Resources | Listing::Templates => names::split_uri(name),
        };
        match split.map(|(owner, own)| self.target(owner, own)) {
            Some(target) if target.provider.is_some() || target.group.is_some() => target,
            _ => Target { provider: None, group: None, tool: Some(CallRecord::clipped(name)) },
        }
    }

    fn target(&self, owner: &str, own: &str) -> Target {
        let provider = self.registry.provider(owner).map(|provider| provider.name.to_string());
        let group = self.registry.group(owner).map(|group| group.name.to_string());
        Target { provider, group, tool: Some(CallRecord::clipped(own)) }
    }

    fn write(&mut self, target: Target, end: End) {
        self.over = true;
        let frame = self.frame;
        let part = |path: &[&str]| shallow::path(frame.bytes(), frame.params()?, path).ok().flatten();
        let digest = part(&["arguments"]).map(|place| hex::encode(Sha256::digest(frame.text(place))));
        let trace = self.traceparent();
        let id = std::str::from_utf8(frame.id()).ok().and_then(|id| serde_json::from_str::<&RawValue>(id).ok());
        let record = CallRecord {
            event: if end.outcome == REFUSED { "RequestRefused" } else { "CallFinished" },
            request_id: id,
            trace_id: trace.and_then(|parent| trace_id(&parent)),
            session: self.client.id(),
            client: CallRecord::clipped(self.client.name()),
            provider: target.provider,
            group: target.group,
            method: CallRecord::clipped(frame.method()),
            tool: target.tool,
            arguments_sha256: digest,
            outcome: end.outcome,
            error: end.error,
            bytes_in: frame.bytes().len(),
            bytes_out: end.bytes_out,
            duration_ms: (self.began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        };
        self.registry.ground.telemetry.audit.record(&record);
        if let Some(span) = self.span.take() {
            span.end(&record);
        }
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if !self.over {
            let outcome = CallOutcome::Cancelled.as_str();
            self.write(self.named(), End { outcome, error: None, bytes_out: 0 });
        }
    }
}

impl Target {
    fn of(route: &Route) -> Self {
        Self {
            provider: Some(route.provider.name.to_string()),
            group: route.group.as_ref().map(|group| group.name.to_string()),
            tool: Some(CallRecord::clipped(&route.name)),
        }
    }
}

const REFUSED: &str = "refused";

/// The request with `span` as the parent of whatever its upstream does, and where its name stands now. Everything else is as
/// it came.
fn below(span: &CallSpan, delivery: &Delivery<'_>) -> Option<(Frame, Option<Span>)> {
    let (text, params) = (delivery.frame.bytes(), delivery.frame.params()?);
    let parent = shallow::quote(&span.traceparent());
    let mut edits = Splice::new();
    let meta = shallow::get(text, params, "_meta").ok()?;
    let at = match meta.filter(|meta| shallow::fields(text, *meta).is_some()) {
        Some(meta) => match shallow::get(text, meta, "traceparent").ok()? {
            Some(place) => {
                edits.replace(place, parent);
                place.start
            }
            None => {
                edits.add_field(text, meta, "traceparent", &parent);
                meta.start
            }
        },
        // Not an object: its upstream says so best.
        None if meta.is_some() => return None,
        None => {
            let object = [b"{\"traceparent\":", parent.as_slice(), b"}"].concat();
            edits.add_field(text, params, "_meta", &object);
            params.start
        }
    };
    let new = edits.apply(text);
    let moved = |place: u32| match place > at {
        true => u32::try_from(i64::from(place) + new.len() as i64 - text.len() as i64).unwrap_or(place),
        false => place,
    };
    let place = delivery.name_place.map(|place| Span { start: moved(place.start), end: moved(place.end) });
    Some((Frame::parse(new.into()).ok()?, place))
}

fn trace_id(parent: &str) -> Option<String> {
    let parts: Vec<&str> = parent.split('-').collect();
    let sound = parts.len() >= PARTS.len()
        && parts.iter().zip(PARTS).all(|(part, length)| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
    parts.get(1).filter(|id| sound && id.bytes().any(|b| b != b'0')).map(|id| (*id).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_from_a_sound_parent_alone() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = |version: &str, id: &str| format!("{version}-{id}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&parent("00", id)).as_deref(), Some(id));
        for bad in [
            parent("0", id),
            parent("00", &id[1..]),
            parent("00", &"0".repeat(32)),
            parent("00", &id.to_uppercase()),
            id.into(),
        ] {
            assert_eq!(trace_id(&bad), None, "{bad}");
        }
    }
}
