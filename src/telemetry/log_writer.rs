//! Log lines on their way to stderr. One thread writes; who logs never waits for whoever reads, or does not.
//!
//! A client that starts the gateway and leaves its stderr unread fills a pipe of 64 KiB. A write to it would then stop the
//! thread that logs, and with it calls, reloads and the stop.

use std::{
    io::{self, Write, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for stderr; further ones are lost and counted.
const QUEUE: usize = 8192;
/// How often a flush looks for room in the queue.
const LOOK: Duration = Duration::from_millis(5);

/// The way to the writing thread, which ends with the process.
#[derive(Debug, Clone)]
pub struct LogWriter {
    queue: SyncSender<Piece>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Piece {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Mark(SyncSender<()>),
}

/// One line while it is written; sent when dropped.
pub struct Line<'w> {
    text: Vec<u8>,
    writer: &'w LogWriter,
}

impl LogWriter {
    pub fn start() -> Self {
        let (queue, pieces) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        // Without the thread there is no log, and the gateway works.
        let _ = thread::Builder::new().name("hangar-log".into()).spawn(move || write(&pieces, &counted));
        Self { queue, lost }
    }

    /// Waits until everything so far is written, for `within` at most.
    pub fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let (written, mark) = sync_channel(1);
        while self.queue.try_send(Piece::Mark(written.clone())).is_err() {
            if Instant::now() >= until {
                return;
            }
            thread::sleep(LOOK);
        }
        // Out of time: nobody reads.
        let _ = mark.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Self::Writer {
        Line { text: Vec::new(), writer: self }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.writer.queue.try_send(Piece::Line(std::mem::take(&mut self.text))).is_err() {
            self.writer.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Until the process ends. A stderr that is closed takes nothing; there is nobody to tell.
fn write(pieces: &Receiver<Piece>, lost: &AtomicU64) {
    for piece in pieces {
        match piece {
            Piece::Line(text) => drop(stderr().write_all(&text)),
            Piece::Mark(written) => drop(written.try_send(())),
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => drop(writeln!(stderr(), "hangar: {lines} log lines lost: nobody read them")),
        }
    }
}
