//! One JSON-RPC message: its bytes and where the parts of its envelope are. Nothing is decoded that need not be.

use bytes::Bytes;

use super::{
    max_depth,
    scan::{Malformed, Scanner, Span, unescape},
    shallow::Splice,
};

/// Longest id taken, in bytes of JSON between the quotes. CONTRACT section 8.
const MAX_ID: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Request,
    Notification,
    Response,
}

/// A checked message. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    kind: FrameKind,
    id: Option<Span>,
    method: Box<str>,
    params: Option<Span>,
    result: Option<Span>,
    error: Option<Span>,
}

/// Why a text is not a message we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not valid JSON: {0}")]
    Json(#[from] Malformed),
    #[error("not valid JSON: not UTF-8 at byte {at}")]
    Utf8 { at: usize },
    /// `id`: the raw id, where one could be made out, so that the refusal can name it.
    #[error("not a JSON-RPC message: {why}")]
    Envelope { why: &'static str, id: Option<Bytes> },
}

#[derive(Default)]
struct Parts {
    version: Option<Span>,
    id: Option<Span>,
    method: Option<Option<Box<str>>>,
    params: Option<Span>,
    result: Option<Span>,
    error: Option<Span>,
    twice: bool,
}

impl Frame {
    /// Checks the whole text (UTF-8, JSON, depth) and the envelope.
    pub fn parse(bytes: Bytes) -> Result<Self, FrameError> {
        std::str::from_utf8(&bytes).map_err(|e| FrameError::Utf8 { at: e.valid_up_to() })?;
        let mut scanner = Scanner::new(&bytes, max_depth());
        scanner.space();
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            scanner.end()?;
            return Err(FrameError::Envelope { why: "it is not a JSON object", id: None });
        }
        let mut parts = Parts::default();
        scanner.object(|scanner, key| {
            let key = unescape(&bytes, key);
            let is_method = key.as_deref() == Some("method");
            scanner.space();
            if is_method && scanner.peek() == Some(b'"') {
                let text = scanner.string()?;
                parts.twice |= parts.method.is_some();
                parts.method = Some(unescape(&bytes, text).map(|m| m.into_owned().into_boxed_str()));
                return Ok(());
            }
            let value = scanner.value()?;
            let place = match key.as_deref() {
                Some("jsonrpc") => &mut parts.version,
                Some("id") => &mut parts.id,
                Some("params") => &mut parts.params,
                Some("result") => &mut parts.result,
                Some("error") => &mut parts.error,
                Some("method") => {
                    parts.twice |= parts.method.is_some();
                    parts.method = Some(None);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            parts.twice |= place.is_some();
            *place = Some(value);
            Ok(())
        })?;
        scanner.end()?;
        Self::classify(bytes, parts)
    }

    fn classify(bytes: Bytes, parts: Parts) -> Result<Self, FrameError> {
        let id = parts.id.filter(|span| good_id(span.of(&bytes)));
        let refuse = |why| {
            let id = id.map(|span| bytes.slice(span.range()));
            Err(FrameError::Envelope { why, id })
        };
        if parts.twice {
            return refuse("a key of the envelope stands twice");
        }
        if parts.version.map(|span| span.of(&bytes)) != Some(br#""2.0""#) {
            return refuse("\"jsonrpc\" is not \"2.0\"");
        }
        let kind = match (&parts.method, parts.id, parts.result, parts.error) {
            (Some(None), ..) => return refuse("\"method\" is not a string"),
            (Some(Some(_)), _, None, None) => match parts.id {
                None => FrameKind::Notification,
                Some(_) if id.is_some() => FrameKind::Request,
                Some(_) => return refuse("\"id\" is neither an integer nor a string of at most 256 bytes"),
            },
            (None, Some(_), Some(_), None) | (None, _, None, Some(_)) => FrameKind::Response,
            (None, _, None, None) => return refuse("it has no \"method\", \"result\" or \"error\""),
            _ => return refuse("it has \"method\", \"result\" and \"error\" in a way that makes no message"),
        };
        if let Some(params) = parts.params
            && !matches!(params.of(&bytes).first(), Some(b'{' | b'['))
        {
            return refuse("\"params\" is neither an object nor an array");
        }
        let method = parts.method.flatten().unwrap_or_default();
        Ok(Self { kind, id, method, params: parts.params, result: parts.result, error: parts.error, bytes })
    }

    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The id as spelled, quotes included. Empty when there is none (a notification, an error without a usable id).
    pub fn id(&self) -> &[u8] {
        self.id.map(|span| span.of(&self.bytes)).unwrap_or_default()
    }

    /// The id as spelled, sharing the message's memory.
    pub fn id_bytes(&self) -> Bytes {
        self.id.map(|span| self.bytes.slice(span.range())).unwrap_or_default()
    }

    pub fn id_span(&self) -> Option<Span> {
        self.id
    }

    /// The id when it is a number that we may have given out ourselves.
    pub fn id_u64(&self) -> Option<u64> {
        std::str::from_utf8(self.id()).ok()?.parse().ok()
    }

    /// Empty for a response.
    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn params(&self) -> Option<Span> {
        self.params
    }

    pub fn result(&self) -> Option<Span> {
        self.result
    }

    pub fn error(&self) -> Option<Span> {
        self.error
    }

    pub fn text(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// The same message with another id (raw JSON). A message without an id is given back as it is.
    pub fn with_id(&self, id: &[u8]) -> Bytes {
        match self.id {
            Some(place) => Splice::new().replace(place, id).apply(&self.bytes).into(),
            None => self.bytes.clone(),
        }
    }
}

/// An integer, or a string of at most 256 bytes.
fn good_id(raw: &[u8]) -> bool {
    match raw.first() {
        Some(b'"') => raw.len() <= MAX_ID + 2,
        Some(b'-' | b'0'..=b'9') => raw.len() <= MAX_ID && !raw.iter().any(|b| matches!(b, b'.' | b'e' | b'E')),
        _ => false,
    }
}

/// The number a response answers, from the first bytes of a text that is not there as a whole.
pub(super) fn answered_id(start: &[u8]) -> Option<u64> {
    let (mut id, mut response) = (None, true);
    let mut scanner = Scanner::new(start, max_depth());
    // Fails where the text is cut off; what came before has been seen.
    let _cut_off = scanner.object(|scanner, key| {
        response &= key.inner.of(start) != b"method";
        let place = scanner.value()?;
        if key.inner.of(start) == b"id" {
            id = std::str::from_utf8(place.of(start)).ok().and_then(|text| text.parse().ok());
        }
        Ok(())
    });
    id.filter(|_| response)
}

impl FrameError {
    /// The JSON-RPC error code that answers it.
    pub fn code(&self) -> i32 {
        match self {
            Self::Json(_) | Self::Utf8 { .. } => super::code::PARSE_ERROR,
            Self::Envelope { .. } => super::code::INVALID_REQUEST,
        }
    }
}
