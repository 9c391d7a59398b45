//! Noticing by itself that a source has changed: a directory watch for speed, a content poll for truth.
//!
//! Neither trusts names or times: whatever moves in a directory of a source means "compare the bytes".

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{ReloadHandle, ReloadOptions, Trigger};
use crate::config::{Sources, read_source};

/// A change is looked at when nothing moved for this long...
const QUIET: Duration = Duration::from_millis(500);
/// ...or this long after it began, under a writer that never stops.
const CAP: Duration = Duration::from_secs(5);

/// The directory watch; re-armed when the set of directories changes.
struct Directories {
    watcher: Option<RecommendedWatcher>,
    armed: BTreeSet<PathBuf>,
}

/// Runs until the gateway stops (the caller drops or cancels it). `config_reload.*` of the configuration in force decides
/// at every turn what it does.
pub async fn watch_sources(handle: ReloadHandle) {
    let (sender, mut events) = mpsc::channel(1);
    let mut directories = Directories::new(sender);
    let mut attempted = handle.attempted();
    let mut looked = Instant::now();
    loop {
        let settings = handle.snapshot().config.reload.clone();
        let sources = attempted.borrow_and_update().clone();
        directories.arm(if settings.enabled && settings.use_watchdog {
            directories_of(&sources)
        } else {
            BTreeSet::new()
        });
        let next_poll = looked + settings.interval;
        let trigger = tokio::select! {
            changed = attempted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            Some(()) = events.recv() => {
                settle(&mut events).await;
                Trigger::FileWatcher
            }
            () = sleep_until(next_poll) => {
                looked = Instant::now();
                Trigger::Poll
            }
        };
        let settings = handle.snapshot().config.reload.clone();
        let known = attempted.borrow().clone();
        if !settings.enabled || !differs(known).await {
            continue;
        }
        tracing::info!(trigger = trigger.as_str(), "config_file_modified_detected");
        // Success or failure: the reloader has told everybody, and the bytes are the new baseline.
        let _ = handle.reload(trigger, ReloadOptions::default()).await;
    }
}

/// Waits until the directory is quiet.
async fn settle(events: &mut mpsc::Receiver<()>) {
    let cap = Instant::now() + CAP;
    while Instant::now() < cap && matches!(timeout(QUIET, events.recv()).await, Ok(Some(()))) {}
}

/// Whether any source has other bytes now. A main file that is not there, or cannot be read, is "not yet".
async fn differs(sources: Sources) -> bool {
    let compare = move || {
        let mut files = sources.files.iter();
        let Some((main, known)) = files.next() else { return false };
        let Ok(bytes) = read_source(main) else { return false };
        let same = |path, known: &Option<std::sync::Arc<[u8]>>| match (read_source(path), known) {
            (Ok(bytes), Some(known)) => bytes[..] == known[..],
            (Err(_), None) => true,
            _ => false,
        };
        known.as_deref() != Some(&bytes[..]) || files.any(|(path, known)| !same(path, known))
    };
    tokio::task::spawn_blocking(compare).await.unwrap_or(false)
}

/// The directory each source stands in, and the one it really lies in when it is a link.
fn directories_of(sources: &Sources) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for (path, _) in &sources.files {
        let real = std::fs::canonicalize(path).ok();
        for path in [Some(path.clone()), real].into_iter().flatten() {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            directories.insert(parent.map_or_else(|| PathBuf::from("."), PathBuf::from));
        }
    }
    directories
}

impl Directories {
    fn new(sender: mpsc::Sender<()>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            // Reading causes Access events; an error (queue overflow) means that something may have been missed.
            if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
                // Full: a look is due already.
                let _ = sender.try_send(());
            }
        };
        let watcher = match notify::recommended_watcher(tell) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "directory watch not available; the content poll goes on alone");
                None
            }
        };
        Self { watcher, armed: BTreeSet::new() }
    }

    fn arm(&mut self, wanted: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.armed.difference(&wanted) {
            // The directory may be gone itself.
            let _ = watcher.unwatch(gone);
        }
        self.armed.retain(|directory| wanted.contains(directory));
        for directory in wanted {
            if self.armed.contains(&directory) {
                continue;
            }
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.armed.insert(directory)),
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "directory cannot be watched yet");
                }
            }
        }
    }
}
