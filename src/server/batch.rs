//! JSON-RPC batches (revision 2025-03-26), for every front.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Session, dispatch::Gateway};
use crate::{
    provider::Relay,
    wire::{self, Frame, FrameError, FrameKind, code},
};

/// Serves all messages at the same time. The answers as one array; `None` when no message needs one.
pub(super) async fn answer(
    gateway: &Gateway,
    session: &Arc<Session>,
    frames: Vec<Result<Frame, FrameError>>,
    relay: Relay,
) -> Option<Bytes> {
    let most = gateway.limits().batch;
    if frames.len() > most {
        let message = format!("a batch of more than {most} messages (server.limits.batch)");
        return Some(wire::error(b"", code::INVALID_REQUEST, &message, None));
    }
    let answers = frames.into_iter().map(|frame| {
        let relay = relay.clone();
        async move {
            match frame {
                Ok(frame) if frame.kind() == FrameKind::Request => {
                    let answer = gateway.request(session, &frame, relay).await;
                    answer.map(|answer| gateway.room_for(&frame, answer))
                }
                Ok(frame) => {
                    gateway.receive(session, frame);
                    None
                }
                Err(error) => {
                    let id = match &error {
                        FrameError::Envelope { id: Some(id), .. } => id.clone(),
                        _ => Bytes::new(),
                    };
                    Some(wire::error(&id, error.code(), &error.to_string(), None))
                }
            }
        }
    });
    let answers: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
    (!answers.is_empty()).then(|| [b"[".as_slice(), &answers.join(&b','), b"]"].concat().into())
}
