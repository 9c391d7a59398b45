//! Calls that may need their client in the middle: started, parked when the upstream asks, gone on with when the client comes
//! back with the answers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    bridge::{BridgedCall, BridgedClient, STATE_PREFIX, Step},
    provider::{Caller, Client, ClientFeature, Era, Listing, Relay},
    registry::{Address, groups},
    server::{
        Gateway, Session,
        dispatch::{Answer, Refusal},
    },
    wire::{self, Frame, code, shallow},
};

/// The methods whose answer may be a question.
pub(super) const METHODS: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
const STATE: &str = "requestState";
const RESPONSES: &str = "inputResponses";

/// Whether a request has to be served here: its client can be asked, or comes back with answers.
pub(super) fn concerns(frame: &Frame, client: &Session) -> bool {
    let can_be_asked = [ClientFeature::Elicitation, ClientFeature::Sampling, ClientFeature::Roots];
    METHODS.contains(&frame.method())
        && (can_be_asked.into_iter().any(|feature| client.has(feature)) || field(frame, STATE).is_some())
}

fn field(frame: &Frame, key: &str) -> Option<wire::Span> {
    shallow::get(frame.bytes(), frame.params()?, key).ok().flatten()
}

impl Gateway {
    pub(super) async fn askable(self: &Arc<Self>, client: &Arc<Session>, frame: &Frame, relay: &Relay) -> Answer {
        let binding = binding(frame);
        let mut call = match field(frame, STATE) {
            // The upstream's own, if it is one that makes any.
            Some(place) if is_members(frame, place) => self.begin_askable(client, frame),
            Some(place) if !self.is_ours(frame, place) && self.may_be_upstreams(client, frame).await => {
                self.begin_askable(client, frame)
            }
            None => self.begin_askable(client, frame),
            Some(place) => {
                let state = shallow::string(frame.bytes(), place);
                let state =
                    state.ok_or_else(|| Refusal::new(code::INVALID_PARAMS, "\"params.requestState\" is no text"))?;
                let resumed = self.parking.resume(&state, &binding);
                let mut call = resumed.map_err(|why| Refusal::new(code::INVALID_PARAMS, why.to_string()))?;
                if !call.answer(frame.bytes(), field(frame, RESPONSES)) {
                    let requests = call.requests();
                    return self.input_required(frame, call, &requests, &binding);
                }
                call
            }
        };
        let token = frame.params().and_then(|params| {
            let place = shallow::path(frame.bytes(), params, &["_meta", "progressToken"]).ok().flatten()?;
            Some(frame.text(place))
        });
        match call.proceed(relay, token).await {
            Step::Answer(answer) => {
                Ok(Frame::parse(answer).map_or_else(|_| Bytes::new(), |answer| answer.with_id(frame.id())))
            }
            Step::InputRequired(requests) => self.input_required(frame, call, &requests, &binding),
        }
    }

    fn is_ours(&self, frame: &Frame, state: wire::Span) -> bool {
        shallow::string(frame.bytes(), state).is_some_and(|state| state.starts_with(STATE_PREFIX))
    }

    /// Whether the upstream of a call speaks for itself in this era.
    async fn may_be_upstreams(&self, client: &Arc<Session>, frame: &Frame) -> bool {
        let (listing, key) = match frame.method() {
            "tools/call" => (Listing::Tools, "name"),
            "prompts/get" => (Listing::Prompts, "name"),
            _ => (Listing::Resources, "uri"),
        };
        let Some(name) = field(frame, key).and_then(|place| shallow::string(frame.bytes(), place)) else {
            return false;
        };
        let client = client.clone() as Arc<dyn Client>;
        let Ok(route) = self.registry.route(Address::Listed(listing, &name), &client).await else { return false };
        // Known for certain only while it lives; one that does not start says so to the call.
        route.provider.be_ready_for(&client).await.is_err() || route.provider.era() == Era::Modern
    }

    fn begin_askable(self: &Arc<Self>, client: &Arc<Session>, frame: &Frame) -> BridgedCall {
        let (bridged, asks) = BridgedClient::new(client.clone());
        let (relay, messages) = Relay::new();
        let (gateway, frame, over) = (self.clone(), frame.clone(), client.over_with_call());
        let call = async move {
            let _over = over;
            let answer = gateway.deliver_named(&frame, Caller { client: bridged, relay }).await;
            answer.unwrap_or_else(|refusal| refusal.answer(&frame))
        };
        BridgedCall::start(call, asks, messages)
    }

    fn input_required(&self, frame: &Frame, call: BridgedCall, requests: &[u8], binding: &[u8; 32]) -> Answer {
        let Some(state) = self.parking.park(call, binding) else {
            let message = "too many calls wait for their clients' input already; this one was cancelled";
            return Err(Refusal::new(code::INTERNAL_ERROR, message));
        };
        let state = shallow::quote(&state);
        let result =
            [b"{\"resultType\":\"input_required\",\"inputRequests\":", requests, b",\"requestState\":", &state, b"}"]
                .concat();
        Ok(wire::result(frame.id(), &result))
    }
}

/// Of an upstream that asked through a group: it leads back there.
fn is_members(frame: &Frame, state: wire::Span) -> bool {
    shallow::string(frame.bytes(), state).is_some_and(|state| groups::is_of_a_member(&state))
}

/// What makes a retry the same call: method, name and arguments, however they are spelled.
fn binding(frame: &Frame) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(frame.method());
    for key in ["name", "uri", "arguments"] {
        hash.update([0]);
        let Some(place) = field(frame, key) else { continue };
        match serde_json::from_slice::<Value>(frame.text(place)) {
            Ok(value) => hash.update(sorted(&value)),
            // JSON that no `Value` holds (1e400, a lone surrogate): the same in one spelling only.
            Err(_) => hash.update(frame.text(place)),
        }
    }
    hash.finalize().into()
}

/// The same for every order of keys.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key:?}:{}", sorted(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(arguments: &str) -> [u8; 32] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        );
        binding(&Frame::parse(text.into()).unwrap())
    }

    #[test]
    fn a_state_is_bound_to_the_arguments_however_they_are_spelled() {
        assert_eq!(bound(r#"{"a":1,"b":"x"}"#), bound(r#"{ "b":"\u0078", "a":1 }"#));
        assert_ne!(bound(r#"{"a":1}"#), bound(r#"{"a":2}"#));
        // Also to those that serde_json cannot hold.
        for odd in ["1e400", r#""\ud800""#] {
            assert_ne!(bound(&format!(r#"{{"a":{odd},"to":"me"}}"#)), bound(&format!(r#"{{"a":{odd},"to":"you"}}"#)));
        }
    }
}
