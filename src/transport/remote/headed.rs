//! Streamable HTTP, revision 2026-07-28: one POST is one exchange, without a session; headers repeat what its body says.
//!
//! No GET stream, no resumption, no DELETE. Dropping the exchange is what cancels it.

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use bytes::Bytes;
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    peek,
    reply::{self, Events, Kind, Refusal},
    streamable::{Ended, JSON, JSON_OR_EVENTS, Remote},
};
use crate::{
    transport::{Head, TransportError},
    wire::modern,
};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM: &str = "mcp-param-";

impl Remote {
    /// One request and its answer. `Err`: there will be none.
    pub(super) async fn ask_headed(&self, message: Bytes, id: u64, head: &Head) -> Result<(), TransportError> {
        let mut headers = self.http.headers();
        stamp(&mut headers, head);
        let response = self.http.send(Method::POST, self.http.endpoint(), headers, Some(message)).await?;
        if !response.status().is_success() {
            let refusal = Refusal::read(response).await;
            // In this era many errors have a status of their own, and their text in the body.
            if peek::answers(&refusal.body, id) {
                self.inbound.message(refusal.body, Some(id));
                return Ok(());
            }
            return Err(refusal.error(&self.http));
        }
        match reply::kind(response.headers()) {
            Kind::Events => {
                let mut events = Events::new(&self.http, response);
                match self.pass_on(&mut events, id).await? {
                    Ended::Answered => {
                        events.finish().await;
                        Ok(())
                    }
                    Ended::Early(why) => Err(why),
                }
            }
            Kind::Json => self.take_json(response, id).await,
            Kind::Other => Err(reply::unexpected(&self.http, response).await),
        }
    }
}

/// Over the provider's own headers, of which none may pass for one of these.
fn stamp(headers: &mut HeaderMap, head: &Head) {
    let reserved = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with(PARAM) || name == "mcp-session-id" || name == NAME.as_str()
    };
    let posing: Vec<_> = headers.keys().filter(|name| reserved(name)).cloned().collect();
    for name in posing {
        headers.remove(name);
    }
    headers.insert(ACCEPT, JSON_OR_EVENTS);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(VERSION, HeaderValue::from_static(modern::VERSION));
    let mut put = |name: HeaderName, value: &str| {
        // Plain or encoded, it is a valid header.
        if let Ok(value) = HeaderValue::from_str(&encoded(value)) {
            headers.insert(name, value);
        }
    };
    put(METHOD, &head.method);
    if let Some(name) = &head.name {
        put(NAME, name);
    }
    for (name, value) in &head.params {
        // A tool whose header is no token is not listed, so there is no call of it.
        if let Ok(name) = HeaderName::try_from(format!("{PARAM}{name}")) {
            put(name, value);
        }
    }
}

/// What a request has on its way out, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub fn stamped(head: &Head) -> HeaderMap {
    let mut headers = HeaderMap::new();
    stamp(&mut headers, head);
    headers
}

/// As it stands when it is plain ASCII without white space around it and does not look encoded; `=?base64?...?=` otherwise.
fn encoded(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    let looks_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    if plain && !looks_encoded && value.trim() == value {
        value.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_header_cannot_bear_are_encoded() {
        for (value, header) in [
            ("plain", "plain"),
            ("a b\tc", "a b\tc"),
            ("", ""),
            (" a", "=?base64?IGE=?="),
            ("über", "=?base64?w7xiZXI=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(encoded(value), header, "{value:?}");
        }
    }

    #[test]
    fn what_is_configured_does_not_pass_for_an_argument() {
        let mut headers = HeaderMap::new();
        for name in ["mcp-param-region", "mcp-name", "mcp-session-id", "x-own"] {
            headers.insert(name, HeaderValue::from_static("configured"));
        }
        stamp(&mut headers, &Head { method: "tools/list".into(), ..Head::default() });
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-type", "mcp-method", "mcp-protocol-version", "x-own"]);
    }
}
