//! Request bodies: bounded in size and in time, one piece when they came as one.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::{config::Limits, server::Room};

/// What is read and thrown away, at most, beyond `server.limits.request_bytes`, so that a client which sends first and reads later sees why it was refused.
const DISCARD: usize = 16 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is longer than {limit} bytes (server.limits.request_bytes)")]
    TooLong { limit: usize },
    #[error("the body was not complete within {} s (server.limits.request_timeout_s)", .limit.as_secs_f64())]
    TooSlow { limit: Duration },
    #[error("there is no room for the body (server.limits.held_bytes: {limit})")]
    NoRoom { limit: usize },
    #[error("the body ended before its time")]
    Broken,
}

impl BodyError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoom { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limits: &Limits,
    room: &Room,
) -> Result<Bytes, BodyError> {
    let (limit, patience) = (limits.request, limits.request_timeout);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let read = async {
        if announced.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLong { limit });
        }
        let mut share = room.share();
        let whole = collect(&mut body, announced.unwrap_or_default(), limit, |bytes| {
            if share.grow(bytes, limits.held) { Ok(()) } else { Err(BodyError::NoRoom { limit: limits.held }) }
        });
        let whole = whole.await?;
        // For as long as the request is served.
        Ok(share.hold(whole))
    };
    let read = timeout(patience, read).await.unwrap_or(Err(BodyError::TooSlow { limit: patience }));
    // Who waits for "100 Continue" has sent nothing yet, and polling the body would invite it.
    if matches!(read, Err(BodyError::TooLong { .. } | BodyError::NoRoom { .. }))
        && !headers.contains_key(header::EXPECT)
    {
        discard(&mut body).await;
    }
    read
}

async fn collect(
    body: &mut Body,
    announced: usize,
    limit: usize,
    mut room: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(BodyError::TooLong { limit });
        }
        room(first.len() + whole.len() + data.len())?;
        if whole.is_empty() && first.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            // Reserved as it comes, not as announced: a head alone must not cost megabytes.
            whole.reserve(announced.min(first.len() * 4));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

async fn discard(body: &mut Body) {
    let mut left = DISCARD;
    let throw_away = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Out of time: the connection is closed with the refusal, read or not.
    let _ = timeout(DISCARD_TIMEOUT, throw_away).await;
}
