//! The stdio front: one client, one line a message. Nothing but messages ever goes to stdout.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Session,
    dispatch::Gateway,
    lists,
    modern::{self, finish},
};
use crate::{
    provider::Relay,
    wire::{self, Frame, FrameError, FrameKind, Line, Lines, code, shallow},
};

/// Messages on their way out. A client that does not read holds its own calls back, nobody else's.
const OUT_QUEUE: usize = 1024;
/// Requests that were read and wait for their turn (`server.limits.in_flight`). Behind them stand answers and cancellations
/// that the running ones wait for, so reading goes on.
const WAITING: usize = 1024;

/// Messages up to this many bytes that are ready at the same time share a write.
const LARGE: usize = 16 * 1024;

/// The client's end of the wire.
pub struct Wire<I, O, G> {
    pub input: I,
    pub output: O,
    /// Resolves when nobody can read `output` any more; asked only after `input` has ended.
    pub gone: G,
}

/// What ends the service of a client, beside the client.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// Every call has its answer: nothing more is read.
    pub finish: CancellationToken,
    /// The gateway is about to restart in place: what has been read is answered, what has not is left for the next life.
    pub pause: CancellationToken,
}

/// Serves until the client closes its end, or one of `ends` fires. Requests in flight then are answered, as long as the
/// client still reads: a script may have closed its end right after its last request.
///
/// `unread`: what an earlier life read and did not serve; what this one leaves in the same way is given back.
pub async fn serve(
    gateway: Arc<Gateway>,
    session: Arc<Session>,
    wire: Wire<impl AsyncRead + Unpin, impl AsyncWrite + Unpin + Send + 'static, impl Future<Output = ()>>,
    unread: Bytes,
    ends: Ends,
) -> Bytes {
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let writer = tokio::spawn(write(wire.output, queue));
    let pump = tokio::spawn(pump(session.open_stream(), out.clone()));
    // Of an earlier life; any other has said nothing yet.
    lists::catch_up(&gateway.registry, &session);
    let calls = TaskTracker::new();
    let limits = gateway.limits();
    let room = Arc::new(Semaphore::new(limits.in_flight));
    let seats = Arc::new(Semaphore::new(limits.in_flight + WAITING));
    let front =
        Front { gateway, session: session.clone(), out, calls: calls.clone(), room, seats, longest: limits.line };
    let left = tokio::select! {
        left = front.read(wire.input, unread, &ends.pause) => left,
        () = ends.finish.cancelled() => Bytes::new(),
    };
    calls.close();
    // What would wait for ever has its answer now.
    session.closing().cancel();
    tokio::select! {
        () = calls.wait() => {}
        () = wire.gone => {}
    }
    // Cancels what is still in flight.
    session.end();
    calls.wait().await;
    drop(front);
    // Ends when the session's stream does.
    let _ = pump.await;
    let _ = writer.await;
    left
}

/// The session's general stream onto the one wire.
async fn pump(mut general: mpsc::Receiver<Bytes>, out: mpsc::Sender<Bytes>) {
    while let Some(message) = general.recv().await {
        if out.send(message).await.is_err() {
            return;
        }
    }
}

struct Front {
    gateway: Arc<Gateway>,
    session: Arc<Session>,
    out: mpsc::Sender<Bytes>,
    calls: TaskTracker,
    /// For those that run.
    room: Arc<Semaphore>,
    /// For those that run or wait; without one the next line is not read.
    seats: Arc<Semaphore>,
    /// Bytes of a line.
    longest: usize,
}

impl Front {
    /// Until the input ends, or a pause. What came and was not served.
    async fn read(&self, mut input: impl AsyncRead + Unpin, unread: Bytes, pause: &CancellationToken) -> Bytes {
        let mut lines = Lines::new(self.longest);
        lines.room().extend_from_slice(&unread);
        loop {
            while let Some(line) = lines.next_line() {
                match line {
                    Line::Message(text) | Line::Noise(text) => self.line(text).await,
                    Line::Oversize { .. } => {
                        let message = format!(
                            "a message of more than {} bytes was dropped (server.limits.line_bytes)",
                            self.longest
                        );
                        self.send(wire::error(b"", code::INVALID_REQUEST, &message, None)).await;
                    }
                }
                if pause.is_cancelled() {
                    return lines.unread();
                }
            }
            tokio::select! {
                biased;
                () = pause.cancelled() => return lines.unread(),
                read = input.read_buf(lines.room()) => if matches!(read, Ok(0) | Err(_)) {
                    break;
                }
            }
        }
        // The last line of a script may lack its newline.
        if let Some(text) = lines.rest() {
            self.line(text).await;
        }
        Bytes::new()
    }

    async fn line(&self, line: Bytes) {
        if line.first() == Some(&b'[') {
            return self.batch(line).await;
        }
        match Frame::parse(line) {
            Ok(frame) => self.message(frame).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    /// Revision 2025-03-26 has batches; each element is served as if it came alone, answers come together.
    async fn batch(&self, line: Bytes) {
        let elements = match shallow::root(&line) {
            Ok(array) => shallow::elements(&line, array).unwrap_or_default(),
            Err(error) => return self.refuse(&FrameError::Json(error)).await,
        };
        if elements.is_empty() {
            return self.refuse(&FrameError::Envelope { why: "an empty batch", id: None }).await;
        }
        let frames = elements.into_iter().map(|place| Frame::parse(line.slice(place.range()))).collect();
        let (gateway, session, out) = (self.gateway.clone(), self.session.clone(), self.out.clone());
        let (Ok(seat), room) = (self.seats.clone().acquire_owned().await, self.room.clone()) else { return };
        self.calls.spawn(async move {
            let place = room.acquire().await;
            if let Some(answers) = super::batch::answer(&gateway, &session, frames, relay_to(&out)).await {
                let _ = out.send(answers).await;
            }
            drop((place, seat));
        });
    }

    async fn message(&self, frame: Frame) {
        if frame.kind() != FrameKind::Request {
            return self.gateway.receive(&self.session, frame);
        }
        if frame.method() == "initialize" {
            // What a client sends right behind it must find it done.
            if let Some(answer) = self.gateway.request(&self.session, &frame, relay_to(&self.out)).await {
                self.send(answer).await;
            }
            return;
        }
        // Never closed.
        let (Ok(seat), room) = (self.seats.clone().acquire_owned().await, self.room.clone()) else { return };
        let (gateway, session, out) = (self.gateway.clone(), self.session.clone(), self.out.clone());
        self.calls.spawn(async move {
            let place = if frame.method() == "ping" { None } else { room.acquire().await.ok() };
            let relay = relay_to(&out);
            let answer = match modern::speaks(&frame) {
                true => {
                    gateway.modern(&session, &frame, relay).await.map(|answer| finish(frame.method(), answer).bytes)
                }
                false => gateway.request(&session, &frame, relay).await,
            };
            if let Some(answer) = answer {
                // The client is gone: nobody to tell.
                let _ = out.send(gateway.room_for(&frame, answer)).await;
            }
            drop((place, seat));
        });
    }

    async fn refuse(&self, error: &FrameError) {
        let id = match error {
            FrameError::Envelope { id: Some(id), .. } => id.clone(),
            _ => Bytes::new(),
        };
        self.send(wire::error(&id, error.code(), &error.to_string(), None)).await;
    }

    async fn send(&self, message: Bytes) {
        let _ = self.out.send(message).await;
    }
}

/// On stdio all calls share one stream.
fn relay_to(out: &mpsc::Sender<Bytes>) -> Relay {
    Relay::into_stream(out.clone())
}

async fn write(mut output: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>) {
    let mut batch = Vec::with_capacity(64);
    let mut text = Vec::new();
    while queue.recv_many(&mut batch, 64).await > 0 {
        for message in batch.drain(..) {
            let line = wire::one_line(message);
            // A large one goes out from where it lies: copying it would cost more than a write.
            if line.len() > LARGE {
                if output.write_all(&text).await.is_err() || output.write_all(&line).await.is_err() {
                    return;
                }
                text.clear();
            } else {
                text.extend_from_slice(&line);
            }
            text.push(b'\n');
        }
        if output.write_all(&text).await.is_err() || output.flush().await.is_err() {
            return;
        }
        text.clear();
        text.shrink_to(4 * LARGE);
    }
}
