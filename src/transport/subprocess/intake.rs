//! The receiving half: stdout as messages, stderr into the ring. Both are always drained, so the server never blocks.

use std::{io, sync::Arc};

use bytes::BytesMut;
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::{
    transport::{
        Inbound, OutputRing,
        streams::{StderrTail, deliver},
    },
    wire::Lines,
};

/// Reads in a row before other tasks get their turn.
const READS: usize = 16;

/// Delivers every line of stdout, of at most `limit` bytes; returns at its end.
pub(super) async fn read_messages(
    stdout: pipe::Receiver,
    (inbound, limit): (Arc<dyn Inbound>, usize),
    output: Arc<OutputRing>,
) {
    let mut lines = Lines::new(limit);
    drain(stdout, &mut lines, Lines::room, |lines| {
        while let Some(line) = lines.next_line() {
            deliver(line, limit, &*inbound, &output);
        }
    })
    .await;
    if let Some(rest) = lines.rest() {
        output.noise(&rest);
    }
}

/// Keeps the end of stderr in the ring; returns at its end.
pub(super) async fn read_stderr(stderr: pipe::Receiver, output: Arc<OutputRing>) {
    let mut tail = StderrTail::default();
    drain(stderr, &mut tail, StderrTail::room, |tail| tail.take(&output)).await;
    tail.finish(&output);
}

/// Reads `pipe` to its end.
async fn drain<S>(
    mut pipe: pipe::Receiver,
    sink: &mut S,
    room: impl Fn(&mut S) -> &mut BytesMut,
    mut filled: impl FnMut(&mut S),
) {
    loop {
        for _ in 0..READS {
            // A short read tells that the pipe is empty: no second one is needed to learn that.
            match pipe.read_buf(room(sink)).await {
                Ok(0) => return,
                Ok(_) => filled(sink),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        // A flood must not keep this worker from the other tasks. Not after every read: the one whose answer has just come
        // would be moved to another worker, and waking that one costs more than the call.
        tokio::task::yield_now().await;
    }
}
