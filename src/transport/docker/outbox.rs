//! The sending half of an attached container: a bounded queue, and the one task that empties it into the stream.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::Notify,
    time::timeout,
};

use crate::transport::TransportError;

/// What may wait for a server that does not read.
const MESSAGES: usize = 4096;
const BYTES: usize = 64 * 1024 * 1024;
/// Longest time without a byte taken.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Small messages that wait go out as one write of about this size.
const WRITE: usize = 64 * 1024;
/// The end of stdin is one system call here; an engine behind TCP may be gone.
const HALF_CLOSE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    /// Wakes the writer: something waits, or the end.
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    closed: bool,
}

/// Why [`Outbox::write_to`] returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriterEnd {
    Closed,
    Stalled { queued: usize },
}

impl Outbox {
    /// Queues one line; `message` holds no newline. An `Err` means that not a byte of it will be sent.
    pub(super) fn send(&self, message: Bytes) -> Result<(), TransportError> {
        debug_assert!(!message.contains(&b'\n'), "one message is one line");
        let mut inner = self.lock();
        if inner.closed {
            return Err(TransportError::Closed);
        }
        let waiting = inner.queue.len();
        if waiting >= MESSAGES || waiting > 0 && inner.queued_bytes.saturating_add(message.len()) > BYTES {
            return Err(TransportError::Overloaded { queued: waiting });
        }
        inner.queued_bytes += message.len();
        inner.queue.push_back(message);
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// Ends the server's stdin; what still waits is dropped.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        *inner = Inner { closed: true, ..Inner::default() };
        drop(inner);
        self.wake.notify_one();
    }

    /// The one writer task. Half-closes the stream at its end, whatever that is.
    pub(super) async fn write_to(&self, mut stream: Pin<Box<dyn AsyncWrite + Send>>, stall: Duration) -> WriterEnd {
        let end = self.pump(&mut stream, stall).await;
        let _ = timeout(HALF_CLOSE, stream.shutdown()).await;
        end
    }

    async fn pump(&self, stream: &mut Pin<Box<dyn AsyncWrite + Send>>, stall: Duration) -> WriterEnd {
        let mut batch = Vec::new();
        loop {
            if !self.take(&mut batch) {
                return WriterEnd::Closed;
            }
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let mut rest: &[u8] = &batch;
            while !rest.is_empty() {
                let written = tokio::select! {
                    written = timeout(stall, stream.write(rest)) => written,
                    () = self.closing() => return WriterEnd::Closed,
                };
                match written {
                    Ok(Ok(count)) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                    // The stream is gone: from now on nothing is taken.
                    Ok(_) => {
                        self.close();
                        return WriterEnd::Closed;
                    }
                    Err(_) => return WriterEnd::Stalled { queued: self.lock().queue.len() + 1 },
                }
            }
        }
    }

    /// Fills `batch` with whole lines; `false`: closed.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        batch.shrink_to(WRITE);
        let mut inner = self.lock();
        while batch.len() < WRITE
            && let Some(message) = inner.queue.pop_front()
        {
            inner.queued_bytes -= message.len();
            batch.extend_from_slice(&message);
            batch.push(b'\n');
        }
        !inner.closed
    }

    async fn closing(&self) {
        while !self.lock().closed {
            self.wake.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn lines_arrive_whole_in_order_and_then_the_end() {
        let (ours, mut theirs) = tokio::io::duplex(7);
        let outbox = Arc::new(Outbox::default());
        let writer = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.write_to(Box::pin(ours), STALL).await }
        });
        let lines: Vec<String> = (0..500).map(|i| format!("{i} {}", "x".repeat(i))).collect();
        for line in &lines {
            outbox.send(Bytes::from(line.clone())).unwrap();
        }
        let mut got = vec![0; lines.iter().map(|line| line.len() + 1).sum()];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), lines.join("\n") + "\n");
        outbox.close();
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(writer.await.unwrap(), WriterEnd::Closed);
        assert_eq!(outbox.send(Bytes::from_static(b"{}")), Err(TransportError::Closed));
    }

    #[tokio::test]
    async fn a_reader_that_never_reads_is_overload_and_then_a_stall() {
        let (ours, _theirs) = tokio::io::duplex(10);
        let outbox = Outbox::default();
        let line = Bytes::from(vec![b'x'; 40 * 1024 * 1024]);
        outbox.send(line.clone()).unwrap();
        assert_eq!(outbox.send(line), Err(TransportError::Overloaded { queued: 1 }));
        let end = outbox.write_to(Box::pin(ours), Duration::from_millis(50)).await;
        assert_eq!(end, WriterEnd::Stalled { queued: 1 });
    }

    #[tokio::test]
    async fn a_close_while_the_writer_waits_for_room_ends_it_at_once() {
        let (ours, _theirs) = tokio::io::duplex(10);
        let outbox = Outbox::default();
        outbox.send(Bytes::from_static(b"more than there is room for")).unwrap();
        let (end, ()) = tokio::join!(outbox.write_to(Box::pin(ours), STALL), async {
            tokio::task::yield_now().await;
            outbox.close();
        });
        assert_eq!(end, WriterEnd::Closed);
    }
}
