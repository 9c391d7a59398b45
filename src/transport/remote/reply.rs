//! What an HTTP response is to us: a JSON body, a stream of events, or a refusal told in few printable words.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER},
};

use super::{
    client::{Http, origin},
    peek,
    sse::{Decoded, Decoder},
};
use crate::transport::TransportError;

/// Bytes read of the body of a refusal.
const MAX_REFUSAL: usize = 256 * 1024;
/// Characters shown of it.
const MAX_DETAIL: usize = 240;
/// Longest wait for the body of a refusal, and for the end of a body whose answer was already seen.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Events,
    Other,
}

pub(super) fn kind(headers: &HeaderMap) -> Kind {
    let essence = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).and_then(|v| v.split(';').next());
    match essence.map(str::trim) {
        Some(t) if t.eq_ignore_ascii_case("application/json") => Kind::Json,
        Some(t) if t.eq_ignore_ascii_case("text/event-stream") => Kind::Events,
        _ => Kind::Other,
    }
}

/// The whole body, at most [`Http::limit`] bytes.
pub(super) async fn body(http: &Http, mut response: Response) -> Result<Bytes, TransportError> {
    let oversize = || TransportError::Oversize { limit: http.limit };
    let announced = response.content_length().unwrap_or_default();
    if announced > http.limit as u64 {
        return Err(oversize());
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| http.fault(e))? {
        if whole.is_empty() && announced == chunk.len() as u64 {
            // The usual case: one chunk is all; no copy. One more read lets the connection go back to the pool.
            finish(response).await;
            return Ok(chunk);
        }
        if whole.len() + chunk.len() > http.limit {
            return Err(oversize());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Reads on to the end of a body that is of no more interest, within bounds, so that its connection can be used again.
pub(super) async fn finish(mut response: Response) {
    let read = async {
        let mut seen = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            seen += chunk.len();
            if seen > MAX_REFUSAL {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, read).await;
}

/// A response whose status is no success, with the beginning of its body.
pub(super) struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    url: Url,
    pub body: Bytes,
}

impl Refusal {
    pub(super) async fn read(mut response: Response) -> Self {
        let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
        let mut body = BytesMut::new();
        let read = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(chunk.get(..MAX_REFUSAL - body.len()).unwrap_or(&chunk));
                if body.len() >= MAX_REFUSAL {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE, read).await;
        Self { status, headers, url, body: body.freeze() }
    }

    /// Says that the session is unknown: 404 as the specification has it; or 400 with a JSON-RPC error about the session
    /// and no id, as servers written along the TypeScript SDK's examples do after a restart.
    pub(super) fn session_lost(&self) -> bool {
        match self.status {
            StatusCode::NOT_FOUND => true,
            StatusCode::BAD_REQUEST => peek::error_without_id(&self.body).is_some_and(|text| {
                let text = text.to_ascii_lowercase();
                text.contains("session") || text.contains("not initialized")
            }),
            _ => false,
        }
    }

    pub(super) fn error(&self, http: &Http) -> TransportError {
        let detail = if self.status.is_redirection() { self.redirect() } else { self.detail(http) };
        let retry_after = self.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(retry_after);
        TransportError::Http { status: self.status.as_u16(), detail, retry_after }
    }

    fn redirect(&self) -> Option<String> {
        let location = self.headers.get(LOCATION)?.to_str().ok()?;
        let target = self.url.join(location).map(|url| origin(&url)).unwrap_or_else(|_| "an unreadable place".into());
        Some(format!("redirects to {target}; redirects are not followed, set `endpoint` to the final address"))
    }

    fn detail(&self, http: &Http) -> Option<String> {
        let said = match peek::error_text(&self.body) {
            Some(text) => text,
            None => String::from_utf8_lossy(&self.body).into_owned(),
        };
        let said = printable(&http.redact(&said));
        let hint = match self.status {
            StatusCode::UNAUTHORIZED if http.has_credentials() => "the credentials were refused; check `auth`",
            StatusCode::UNAUTHORIZED => "the endpoint asks for credentials; set `auth` or `headers`",
            _ => "",
        };
        match (said.is_empty(), hint.is_empty()) {
            (true, true) => None,
            (true, false) => Some(hint.to_owned()),
            (false, true) => Some(said),
            (false, false) => Some(format!("{said} ({hint})")),
        }
    }
}

/// A success that carries neither JSON nor events.
pub(super) async fn unexpected(http: &Http, response: Response) -> TransportError {
    let status = response.status().as_u16();
    let given = match response.headers().get(CONTENT_TYPE) {
        Some(value) => printable(&http.redact(&String::from_utf8_lossy(value.as_bytes()))),
        None => "no content type".into(),
    };
    let detail = format!("answered with {given} where application/json or text/event-stream was expected");
    TransportError::Http { status, detail: Some(detail), retry_after: None }
}

/// One line, no control characters, bounded.
pub(super) fn printable(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_invisible(*c));
    let text: String = clean.take(4 * MAX_DETAIL).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_DETAIL) {
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

/// Characters that reorder or hide text on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
            let seconds = at.as_second().saturating_sub(jiff::Timestamp::now().as_second());
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The events of one response body.
pub(super) struct Events {
    response: Response,
    decoder: Decoder,
    ready: VecDeque<Decoded>,
}

impl Events {
    pub(super) fn new(http: &Http, response: Response) -> Self {
        Self { response, decoder: Decoder::new(http.limit), ready: VecDeque::new() }
    }

    /// `None`: the stream has ended properly.
    pub(super) async fn next(&mut self) -> Result<Option<Decoded>, reqwest::Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.decoder.feed(&chunk, &mut self.ready),
                None => return Ok(None),
            }
        }
    }

    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub(super) async fn finish(self) {
        finish(self.response).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_bounded_printable_line() {
        assert_eq!(printable("  a\r\n\tb\u{1b}[31m \u{202E}c\u{0} "), "a b [31m c");
        let long = printable(&"xy ".repeat(1000));
        assert!(long.len() <= MAX_DETAIL + 3 && long.ends_with("..."));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn content_types_are_compared_without_their_parameters() {
        let of = |value: &'static str| kind(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]));
        assert_eq!(of("Application/JSON; charset=utf-8"), Kind::Json);
        assert_eq!(of("text/event-stream"), Kind::Events);
        assert_eq!(of("text/html"), Kind::Other);
        assert_eq!(kind(&HeaderMap::new()), Kind::Other);
    }
}
