//! What goes into the audit file. Who has something to write down never waits for the disk: one thread writes (`audit_file`),
//! and what it cannot take is lost and counted.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{audit_file, metrics::AuditCounters};
use crate::config::AuditSettings;

/// Lines that may wait for the disk.
const QUEUE: usize = 8192;
/// How often a flush looks for room in the queue.
const LOOK: Duration = Duration::from_millis(5);
/// Of what clients and upstreams name, so many characters are kept.
const NAME: usize = 256;

pub struct Audit {
    /// `None`: nothing is written down.
    settings: ArcSwapOption<AuditSettings>,
    /// The way to the writing thread, which is there when it was needed first and ends with the process.
    queue: OnceLock<SyncSender<Piece>>,
    losses: Arc<Losses>,
}

/// Lines that were not written.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// And that no line of the file tells of yet.
    pub untold: AtomicU64,
    pub counters: AuditCounters,
}

pub(super) enum Piece {
    /// With the file that it is for, whatever a reload says since.
    Line(Arc<AuditSettings>, Vec<u8>),
    /// Answered when everything before it is written, or lost.
    Mark(SyncSender<()>),
}

/// A call, or one that was refused before it came to a provider.
#[derive(Debug, Serialize)]
pub struct CallRecord<'a> {
    /// `CallFinished` or `RequestRefused`.
    pub event: &'static str,
    /// As the client spelled it.
    pub request_id: Option<&'a RawValue>,
    /// Of `_meta.traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    pub session: u64,
    /// What it calls itself, so anything.
    pub client: String,
    /// `None`: the gateway itself, or nobody.
    pub provider: Option<String>,
    /// The call was for whichever of its members had it: `provider`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub method: String,
    /// What is called, by the provider's own name: a tool, a prompt, a resource.
    pub tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<String>,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    pub bytes_in: usize,
    pub bytes_out: usize,
    pub duration_ms: f64,
}

/// An HTTP request that came past no guard.
#[derive(Debug, Serialize)]
pub struct RefusedRequest {
    pub event: &'static str,
    pub outcome: &'static str,
    pub error: &'static str,
    pub http_method: String,
    pub path: String,
    pub host: Option<String>,
    pub origin: Option<String>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    gateway_pid: u32,
    #[serde(flatten)]
    what: &'a T,
}

impl Audit {
    pub(super) fn new(counters: AuditCounters) -> Self {
        let losses = Arc::new(Losses { untold: AtomicU64::new(0), counters });
        Self { settings: ArcSwapOption::empty(), queue: OnceLock::new(), losses }
    }

    /// From now on.
    pub fn configure(&self, settings: &AuditSettings) {
        let wanted = settings.file.as_ref().map(|_| settings);
        if self.settings.load().as_deref() == wanted {
            return;
        }
        if wanted.is_some() {
            self.queue.get_or_init(|| self.start());
        }
        self.settings.store(wanted.cloned().map(Arc::new));
    }

    fn start(&self) -> SyncSender<Piece> {
        let (queue, pieces) = sync_channel(QUEUE);
        let losses = self.losses.clone();
        // Without the thread every line is lost, and counted.
        if let Err(error) =
            thread::Builder::new().name("hangar-audit".into()).spawn(move || audit_file::write(&pieces, &losses))
        {
            tracing::error!(%error, "audit_not_written");
        }
        queue
    }

    /// Whether it is worth the work to find out what there is to say.
    pub fn is_on(&self) -> bool {
        self.settings.load().is_some()
    }

    pub fn record<T: Serialize>(&self, what: &T) {
        let (Some(settings), Some(queue)) = (self.settings.load_full(), self.queue.get()) else { return };
        let sent = line(what).is_some_and(|line| queue.try_send(Piece::Line(settings, line)).is_ok());
        if !sent {
            self.losses.add(1);
        }
    }

    /// Waits until everything so far is written, for `within` at most.
    pub fn flush(&self, within: Duration) {
        let Some(queue) = self.queue.get() else { return };
        let until = std::time::Instant::now() + within;
        let (written, mark) = sync_channel(1);
        while queue.try_send(Piece::Mark(written.clone())).is_err() {
            if std::time::Instant::now() >= until {
                return;
            }
            thread::sleep(LOOK);
        }
        // Out of time: the disk is too slow.
        let _ = mark.recv_timeout(until.saturating_duration_since(std::time::Instant::now()));
    }
}

impl Losses {
    pub(super) fn add(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.counters.lost.inc_by(lines);
    }
}

/// `{"time": ..., "gateway_pid": ..., "event": ..., ...}` and the end of the line.
pub(super) fn line<T: Serialize>(what: &T) -> Option<Vec<u8>> {
    let line = Line { time: jiff::Timestamp::now().to_string(), gateway_pid: std::process::id(), what };
    let mut line = serde_json::to_vec(&line).ok()?;
    line.push(b'\n');
    Some(line)
}

impl CallRecord<'_> {
    /// As much as is kept of a name that others have chosen.
    pub fn clipped(name: &str) -> String {
        name.chars().take(NAME).collect()
    }
}
