//! The thread that writes the audit file. It appends whole lines, puts the file aside when it has grown, and opens it again
//! when something else lies at its path (`logrotate`). What cannot be written is counted, and told once it can.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    thread,
    time::Duration,
};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::Serialize;

use super::audit::{Losses, Piece, line};
use crate::config::AuditSettings;

/// Lines that come together are written together; nobody has to wake this thread meanwhile.
const TOGETHER: Duration = Duration::from_millis(10);
/// Bytes written at a time, about.
const BATCH: usize = 256 * 1024;

/// A gap in the file, told by the first line behind it.
#[derive(Serialize)]
struct RecordsLost {
    event: &'static str,
    records: u64,
}

/// Until the process ends.
pub(super) fn write(pieces: &Receiver<Piece>, losses: &Losses) {
    let mut writer = Writer { open: None, failing: false, stuck: false };
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(piece) => piece,
            None => match pieces.recv() {
                Ok(piece) => piece,
                Err(_) => return,
            },
        };
        match first {
            Piece::Mark(written) => drop(written.try_send(())),
            Piece::Line(settings, mut lines) => {
                thread::sleep(TOGETHER);
                while let Ok(piece) = pieces.try_recv() {
                    match piece {
                        Piece::Line(same, more) if Arc::ptr_eq(&same, &settings) && lines.len() < BATCH => {
                            lines.extend(more);
                        }
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                writer.put(&settings, lines, losses);
            }
        }
    }
}

struct Writer {
    open: Option<Open>,
    /// The last try failed, and the log says so.
    failing: bool,
    /// It could not be put aside, and the log says so.
    stuck: bool,
}

struct Open {
    path: PathBuf,
    file: File,
    /// What the path meant when it was opened.
    identity: (u64, u64),
    /// The last line has no end.
    torn: bool,
}

impl Writer {
    fn put(&mut self, settings: &AuditSettings, lines: Vec<u8>, losses: &Losses) {
        let Some(path) = &settings.file else { return };
        let untold = losses.untold.swap(0, Ordering::Relaxed);
        let told = (untold > 0).then(|| line(&RecordsLost { event: "AuditRecordsLost", records: untold })).flatten();
        let gap = told.as_ref().map_or(0, Vec::len);
        let all = [told.unwrap_or_default(), lines].concat();
        match self.append(path, settings, &all) {
            Ok(()) => {
                losses.counters.written.inc_by(count(all.get(gap..).unwrap_or_default()));
                if untold > 0 {
                    tracing::warn!(file = %path.display(), records = untold, "audit_records_lost");
                }
                if std::mem::take(&mut self.failing) {
                    tracing::info!(file = %path.display(), "audit_written_again");
                }
            }
            Err((written, error)) => {
                let kept = all.get(gap.min(written)..written).unwrap_or_default();
                let lost = all.get(written.max(gap)..).unwrap_or_default();
                losses.counters.written.inc_by(count(kept));
                losses.add(count(lost));
                if written < gap {
                    losses.untold.fetch_add(untold, Ordering::Relaxed);
                }
                if !std::mem::replace(&mut self.failing, true) {
                    let help = "calls go on, their records are lost until the file can be written again";
                    tracing::error!(file = %path.display(), %error, help, "audit_not_written");
                }
            }
        }
    }

    /// An `Err` says how many bytes of whole lines were written in spite of it.
    fn append(&mut self, path: &Path, settings: &AuditSettings, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            let size = self.make_room(path, settings, rest).map_err(|error| (done, error))?;
            let (Some(open), Some(part)) = (&mut self.open, rest.get(..size)) else { return Ok(()) };
            open.append(part).map_err(|(written, error)| (done + written, error))?;
            done += size;
        }
        Ok(())
    }

    /// How many of these bytes, whole lines, belong into what is open now.
    fn make_room(&mut self, path: &Path, settings: &AuditSettings, lines: &[u8]) -> io::Result<usize> {
        let length = self.ready(path)?;
        if settings.max_size == 0 {
            return Ok(lines.len());
        }
        let fits = fitting(lines, settings.max_size.saturating_sub(length));
        if fits > 0 {
            return Ok(fits);
        }
        if length > 0 {
            let moved = self.put_aside(path, settings.keep);
            self.tell_stuck(path, moved.as_ref().err());
            let length = self.ready(path)?;
            return match fitting(lines, settings.max_size.saturating_sub(length)) {
                // Another gateway is at it, or it cannot be done: it grows on.
                0 if length > 0 => Ok(lines.len()),
                0 => Ok(first_line(lines)),
                fits => Ok(fits),
            };
        }
        Ok(first_line(lines))
    }

    fn tell_stuck(&mut self, path: &Path, error: Option<&io::Error>) {
        let Some(error) = error else { return self.stuck = false };
        if !std::mem::replace(&mut self.stuck, true) {
            let help = "the file grows on until it can be renamed";
            tracing::error!(file = %path.display(), %error, help, "audit_not_rotated");
        }
    }

    /// Opens what lies at the path now; its length.
    fn ready(&mut self, path: &Path) -> io::Result<u64> {
        let now = fs::metadata(path).ok();
        if let (Some(open), Some(now)) = (&self.open, &now)
            && open.path == path
            && open.identity == identity(now)
        {
            return Ok(now.len());
        }
        // Closed first: a failure leaves nothing that would be written to.
        self.open = None;
        let open = Open::at(path)?;
        let length = open.file.metadata()?.len();
        self.open = Some(open);
        Ok(length)
    }

    /// `FILE` to `FILE.1`, that to `FILE.2`...
    fn put_aside(&mut self, path: &Path, keep: u32) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        if !open.file.metadata()?.is_file() {
            return Ok(());
        }
        // Gateways of one file: only one of them at a time, and only while it is still the file.
        if flock(&open.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let still = fs::metadata(path).is_ok_and(|now| identity(&now) == open.identity);
        let moved = if still { shift(path, keep) } else { Ok(()) };
        // Goes with the file; when that stays, others may try.
        let _ = flock(&open.file, FlockOperation::Unlock);
        moved
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // A pipe without a reader is an error and no wait.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut file = options.read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
        let data = file.metadata()?;
        if !data.is_file() && !data.file_type().is_char_device() {
            return Err(io::Error::other("this is neither a file nor a device"));
        }
        let torn = data.is_file() && data.len() > 0 && {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        Ok(Self { path: path.to_owned(), identity: identity(&data), file, torn })
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((self.whole(lines, written), io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((self.whole(lines, written), error)),
            }
        }
        Ok(())
    }

    /// How much of what was written is whole lines. The disk was full in the middle of one: its beginning stays, is ended
    /// before the next, and counts as lost.
    fn whole(&mut self, lines: &[u8], written: usize) -> usize {
        let whole = lines.get(..written).and_then(|done| memchr::memrchr(b'\n', done)).map_or(0, |at| at + 1);
        self.torn = whole < written;
        whole
    }
}

fn shift(path: &Path, keep: u32) -> io::Result<()> {
    for number in (1..keep).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn identity(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

/// Bytes of the whole lines that there is room for.
fn fitting(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    lines.get(..room).and_then(|fits| memchr::memrchr(b'\n', fits)).map_or(0, |at| at + 1)
}

fn first_line(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}
