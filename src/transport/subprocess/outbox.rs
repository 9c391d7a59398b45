//! The sending half: a write from any task goes straight into the pipe; what does not fit waits in a bounded queue.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{net::unix::pipe, sync::Notify, time::timeout};

use crate::transport::TransportError;

/// Lines written by one system call.
const BATCH: usize = 32;

/// What may wait for a server that does not read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Longest time without a byte taken.
    pub(super) stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { messages: 4096, bytes: 64 * 1024 * 1024, stall: Duration::from_secs(30) }
    }
}

pub(super) struct Outbox {
    bounds: Bounds,
    inner: Mutex<Inner>,
    /// Wakes the writer: something waits, or the end.
    wake: Notify,
}

/// Held for one nonblocking write at most, never across an await.
struct Inner {
    /// `None` once closed; the server's end of file.
    pipe: Option<std::sync::Arc<pipe::Sender>>,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Bytes of the first line that are written already, its newline counted.
    written: usize,
}

/// Why [`Outbox::flush_forever`] returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriterEnd {
    Closed,
    Stalled { queued: usize },
}

impl Outbox {
    pub(super) fn new(pipe: pipe::Sender, bounds: Bounds) -> Self {
        let inner = Inner { pipe: Some(pipe.into()), queue: VecDeque::new(), queued_bytes: 0, written: 0 };
        Self { bounds, inner: Mutex::new(inner), wake: Notify::new() }
    }

    /// Sends one line; `message` holds no newline. An `Err` means that not a byte of it was sent.
    pub(super) fn send(&self, message: Bytes) -> Result<(), TransportError> {
        debug_assert!(!message.contains(&b'\n'), "one message is one line");
        let mut inner = self.lock();
        if inner.pipe.is_none() {
            return Err(TransportError::Closed);
        }
        let waiting = inner.queue.len();
        if waiting > 0 {
            if waiting >= self.bounds.messages || inner.queued_bytes.saturating_add(message.len()) > self.bounds.bytes {
                return Err(TransportError::Overloaded { queued: waiting });
            }
            inner.push(message);
            return Ok(());
        }
        inner.push(message);
        match inner.write() {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.wake.notify_one();
                Ok(())
            }
            Err(_) => {
                let sent_nothing = inner.written == 0;
                inner.close();
                self.wake.notify_one();
                // A line that was cut off counts as sent: its answer is lost with the connection.
                if sent_nothing { Err(TransportError::Closed) } else { Ok(()) }
            }
        }
    }

    /// Closes the pipe; what still waits is dropped.
    pub(super) fn close(&self) {
        self.lock().close();
        self.wake.notify_one();
    }

    /// The one writer task.
    pub(super) async fn flush_forever(&self) -> WriterEnd {
        loop {
            let pipe = {
                let mut inner = self.lock();
                match inner.write() {
                    Ok(_) => {}
                    Err(_) => inner.close(),
                }
                let Some(pipe) = &inner.pipe else { return WriterEnd::Closed };
                (!inner.queue.is_empty()).then(|| std::sync::Arc::clone(pipe))
            };
            let Some(pipe) = pipe else {
                self.wake.notified().await;
                continue;
            };
            // `close` wakes us, so that this copy of the pipe does not keep the server waiting for its end of file.
            let writable = async {
                tokio::select! {
                    _ = pipe.writable() => {}
                    () = self.wake.notified() => {}
                }
            };
            if timeout(self.bounds.stall, writable).await.is_err() {
                return WriterEnd::Stalled { queued: self.lock().queue.len() };
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn push(&mut self, message: Bytes) {
        self.queued_bytes += message.len();
        self.queue.push_back(message);
    }

    fn close(&mut self) {
        self.pipe = None;
        self.queue.clear();
        self.queued_bytes = 0;
        self.written = 0;
    }

    /// Writes as much as the pipe takes now. `true`: nothing is left.
    fn write(&mut self) -> io::Result<bool> {
        while !self.queue.is_empty() {
            let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
            let mut slices = Vec::with_capacity(2 * self.queue.len().min(BATCH));
            let mut skip = self.written;
            for line in self.queue.iter().take(BATCH) {
                slices.push(IoSlice::new(line.get(skip..).unwrap_or_default()));
                slices.push(IoSlice::new(b"\n"));
                skip = 0;
            }
            match pipe.try_write_vectored(&slices) {
                Ok(count) => self.wrote(count),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        while let Some(line) = self.queue.front() {
            let length = line.len() + 1;
            if self.written < length {
                return;
            }
            self.written -= length;
            self.queued_bytes -= line.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read},
        sync::Arc,
    };

    use super::*;

    const SHORT: Bounds = Bounds { messages: 10, bytes: 1_000_000, stall: Duration::from_millis(100) };

    fn outbox(bounds: Bounds) -> (Arc<Outbox>, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        (Arc::new(Outbox::new(pipe::Sender::from_owned_fd(writer.into()).unwrap(), bounds)), reader)
    }

    #[tokio::test]
    async fn lines_of_many_senders_arrive_whole_and_each_senders_in_order() {
        let (outbox, reader) = outbox(Bounds::default());
        let writer = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.flush_forever().await }
        });
        let reading =
            std::thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>());
        let senders = (0..8u32).map(|sender| {
            let outbox = Arc::clone(&outbox);
            tokio::spawn(async move {
                for i in 0..200u32 {
                    let filler = "x".repeat(usize::try_from(i * 37 % 5000).unwrap());
                    outbox.send(Bytes::from(format!("{sender} {i} {filler}"))).unwrap();
                    tokio::task::yield_now().await;
                }
            })
        });
        futures_util::future::join_all(senders).await.into_iter().for_each(|s| s.unwrap());
        while !outbox.lock().queue.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        outbox.close();
        assert_eq!(writer.await.unwrap(), WriterEnd::Closed);
        let lines = reading.join().unwrap();
        assert_eq!(lines.len(), 1600);
        let mut next = [0u32; 8];
        for line in lines {
            let mut words = line.split(' ');
            let mut number = || words.next().unwrap().parse::<u32>().unwrap();
            let (sender, i) = (number(), number());
            assert_eq!(i, std::mem::replace(&mut next[sender as usize], i + 1));
            assert_eq!(words.next().unwrap().len() as u32, i * 37 % 5000);
        }
    }

    #[tokio::test]
    async fn a_reader_that_never_reads_is_overload_and_then_a_stall() {
        let (outbox, _reader) = outbox(SHORT);
        let line = Bytes::from(vec![b'x'; 70_000]);
        let errors: Vec<_> = (0..20).filter_map(|_| outbox.send(line.clone()).err()).collect();
        assert_eq!(errors.first(), Some(&TransportError::Overloaded { queued: 10 }));
        assert!(matches!(outbox.flush_forever().await, WriterEnd::Stalled { queued: 9.. }));
    }

    #[tokio::test]
    async fn after_close_the_reader_sees_the_end_and_a_send_fails() {
        let (outbox, mut reader) = outbox(SHORT);
        outbox.close();
        assert_eq!(outbox.send(Bytes::from_static(b"{}")), Err(TransportError::Closed));
        assert_eq!(outbox.flush_forever().await, WriterEnd::Closed);
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_close_while_the_writer_waits_for_room_ends_it_at_once() {
        let (outbox, _reader) = outbox(Bounds::default());
        outbox.send(Bytes::from(vec![b'x'; 200_000])).unwrap();
        let (end, ()) = tokio::join!(outbox.flush_forever(), async {
            tokio::task::yield_now().await;
            outbox.close();
        });
        assert_eq!(end, WriterEnd::Closed);
    }
}
