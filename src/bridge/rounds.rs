//! A call of a legacy client on a modern upstream, which asks for what it needs in its answer (`input_required`): the client is
//! asked in the middle of its call, as it knows it, and the upstream is asked again with the answers.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    provider::{CallError, Caller, ClientFeature, Era},
    registry::{Delivery, DeliveryError, Registry, Route},
    wire::{self, Frame, Span, Splice, shallow},
};

/// Answers of an upstream to one call that may be questions.
const MOST_ROUNDS: usize = 16;
/// Questions in one answer.
const MOST_QUESTIONS: usize = 16;
/// How long a client may take to answer.
const WAIT: Duration = Duration::from_secs(600);
const STATE: &str = "requestState";
const RESPONSES: &str = "inputResponses";

/// What an upstream wants to know.
struct Question {
    /// The upstream's name for it.
    key: String,
    method: String,
    request: Frame,
}

/// An answer that is none yet.
struct Pause {
    questions: Vec<Question>,
    /// Raw JSON, for the retry.
    state: Option<Vec<u8>>,
}

/// [`Registry::deliver`], for clients of both eras on upstreams of both.
pub async fn deliver(registry: &Registry, delivery: Delivery<'_>) -> Result<(Frame, Route), DeliveryError> {
    let Delivery { frame, to, name_place, caller, timeout } = delivery;
    let first = Delivery { frame, to, name_place, caller: caller.clone(), timeout };
    let (mut answer, mut route) = registry.deliver(first).await?;
    // One that speaks of itself in its request takes the question as it is.
    if route.provider.era() == Era::Legacy || Era::of(frame) == Era::Modern {
        return Ok((answer, route));
    }
    let unanswered = |route: &Route, what: &str, why: &str| {
        let provider = route.provider.name.clone();
        let error = CallError::NoInput { provider, what: what.to_owned(), why: why.to_owned() };
        DeliveryError::Call(route.provider.told(error))
    };
    for _ in 0..MOST_ROUNDS {
        let Some(pause) = pause(&answer) else { return Ok((answer, route)) };
        let pause = pause.map_err(|why| unanswered(&route, "something", why))?;
        let responses = ask(&caller, &pause.questions).await;
        let responses = responses.map_err(|(what, why)| unanswered(&route, &what, &why))?;
        let (retry, grown) = again(frame, &responses, pause.state.as_deref())
            .ok_or_else(|| unanswered(&route, "something", "its request cannot be sent again"))?;
        let name_place = name_place.map(|place| Span { start: place.start + grown, end: place.end + grown });
        let next = Delivery { frame: &retry, to, name_place, caller: caller.clone(), timeout };
        (answer, route) = registry.deliver(next).await?;
    }
    match pause(&answer) {
        None => Ok((answer, route)),
        Some(_) => Err(unanswered(&route, "something", &format!("it has been asked {MOST_ROUNDS} times already"))),
    }
}

/// `None`: it is an answer. An `Err` says why it is neither.
fn pause(answer: &Frame) -> Option<Result<Pause, &'static str>> {
    let (text, result) = (answer.bytes(), answer.result()?);
    // The long way only for what may be one.
    memchr::memmem::find(text, b"input_required")?;
    let field = |key: &str| shallow::get(text, result, key).ok().flatten();
    if shallow::string(text, field("resultType")?)? != "input_required" {
        return None;
    }
    let mut questions = Vec::new();
    let requests = field("inputRequests").and_then(|place| shallow::fields(text, place)).unwrap_or_default();
    if requests.len() > MOST_QUESTIONS {
        return Some(Err("it asks for too much at a time"));
    }
    for request in requests {
        let part = |key: &str| shallow::get(text, request.value, key).ok().flatten();
        let Some(method) = part("method").and_then(|place| shallow::string(text, place)) else {
            return Some(Err("one of its questions has no method"));
        };
        let params = part("params").map(|place| place.of(text)).unwrap_or(b"{}");
        let Ok(frame) = Frame::parse(wire::request(b"0", &method, params)) else {
            return Some(Err("one of its questions is no request"));
        };
        questions.push(Question { key: request.key.into_owned(), method: method.into_owned(), request: frame });
    }
    let state = field(STATE).map(|place| place.of(text).to_vec());
    if questions.is_empty() && state.is_none() {
        return Some(Err("it does not say what"));
    }
    Some(Ok(Pause { questions, state }))
}

/// The client's answers, `inputResponses` as raw JSON. An `Err`: what was asked, and why there is no answer.
async fn ask(caller: &Caller, questions: &[Question]) -> Result<Vec<u8>, (String, String)> {
    for question in questions {
        let feature = match question.method.as_str() {
            "elicitation/create" => ClientFeature::Elicitation,
            "sampling/createMessage" => ClientFeature::Sampling,
            "roots/list" => ClientFeature::Roots,
            _ => return Err((question.method.clone(), "no client can be asked for that".into())),
        };
        if !caller.client.has(feature) {
            return Err((question.method.clone(), "the client has not declared that it can be asked for it".into()));
        }
    }
    let answers = questions.iter().map(|question| async {
        let lacks = |why: &str| (question.method.clone(), why.to_owned());
        let asked = caller.client.ask(&question.request, &caller.relay);
        let answer = tokio::select! {
            answer = asked.answer => answer.map_err(|_| lacks("the client went away"))?,
            () = caller.relay.closed() => return Err(lacks("the client went away")),
            () = tokio::time::sleep(WAIT) => {
                caller.client.take_back(asked.id, &caller.relay);
                return Err(lacks("the client did not answer within 10 minutes"));
            }
        };
        match (answer.result(), answer.error()) {
            (Some(result), _) => Ok((question.key.as_str(), answer.text(result).to_vec())),
            (None, error) => {
                let said = error.map(|error| String::from_utf8_lossy(answer.text(error)).into_owned());
                Err(lacks(&format!("the client refused it: {}", said.unwrap_or_default())))
            }
        }
    });
    let mut given = Vec::new();
    for answer in join_all(answers).await {
        given.push(answer?);
    }
    let given: Vec<(&str, &[u8])> = given.iter().map(|(key, raw)| (*key, raw.as_slice())).collect();
    Ok([b"{", shallow::members(&given).as_slice(), b"}"].concat())
}

/// The same request with the answers in front of its other params, and by how much those have moved.
fn again(frame: &Frame, responses: &[u8], state: Option<&[u8]>) -> Option<(Frame, u32)> {
    let (text, params) = (frame.bytes(), frame.params()?);
    let mut added: Vec<(&str, &[u8])> = vec![(RESPONSES, responses)];
    added.extend(state.map(|state| (STATE, state)));
    let retry = Splice::new().add_fields(text, params, &added).apply(text);
    let grown = u32::try_from(retry.len() - text.len()).ok()?;
    Some((Frame::parse(retry.into()).ok()?, grown))
}
