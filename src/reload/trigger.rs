//! Noticing by itself that a source has changed: a directory watch for speed, a content poll for truth.
//!
//! Neither trusts names or times: whatever moves in a directory of a source means "compare the bytes".

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{ReloadHandle, ReloadOptions, Trigger};
use crate::config::{Sources, look_at, read_source};

/// A change is looked at when nothing moved for this long...
const QUIET: Duration = Duration::from_millis(500);
/// ...or this long after it began, under a writer that never stops.
const CAP: Duration = Duration::from_secs(5);

/// Links followed on the way to one source; the system gives up at 40, too.
const MAX_LINKS: usize = 40;

/// The directory watch; re-armed when the set of directories changes.
struct Directories {
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Sender<()>,
    /// By name, and which directory that was: one that was replaced under its name is not watched any more.
    armed: BTreeMap<PathBuf, Option<(u64, u64)>>,
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
                settle(&mut events, &sources).await;
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

/// Waits until the sources themselves are quiet; what neighbours do in the directory delays nothing.
async fn settle(events: &mut mpsc::Receiver<()>, sources: &Sources) {
    let cap = Instant::now() + CAP;
    loop {
        let before = look_of(sources);
        sleep(QUIET).await;
        while events.try_recv().is_ok() {}
        if look_of(sources) == before || Instant::now() >= cap {
            return;
        }
    }
}

/// Length and last change of each source, as far as it is there. Equal looks prove nothing about the bytes; unequal ones
/// say that somebody is writing.
fn look_of(sources: &Sources) -> Vec<Option<(u64, Option<SystemTime>)>> {
    let look = |path: &PathBuf| look_at(path).ok().map(|data| (data.len(), data.modified().ok()));
    sources.files.iter().map(|(path, _)| look(path)).collect()
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

/// The directory each source stands in, and that of every link on the way to where it really lies: swapping any of them
/// puts other bytes under the same name.
fn directories_of(sources: &Sources) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for (path, _) in &sources.files {
        let mut path = path.clone();
        for _ in 0..MAX_LINKS {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            directories.insert(real(parent));
            let prefixes: Vec<_> = path.ancestors().collect();
            let link = prefixes.into_iter().rev().find_map(|prefix| Some((prefix, std::fs::read_link(prefix).ok()?)));
            let Some((link, target)) = link else { break };
            let place = link.parent().unwrap_or(Path::new("/"));
            directories.insert(real(place));
            let rest = path.strip_prefix(link).unwrap_or(Path::new(""));
            let place = place.join(target);
            // Joining an empty rest would leave a slash behind.
            path = if rest.as_os_str().is_empty() { place } else { place.join(rest) };
        }
    }
    directories
}

/// The one name of a directory: the system gives one watch per directory, and who ends it under a second name ends it.
fn real(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

/// Which directory a name means now.
fn identity(directory: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(directory).ok().map(|data| (data.dev(), data.ino()))
}

impl Directories {
    fn new(sender: mpsc::Sender<()>) -> Self {
        let events = sender.clone();
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
        Self { watcher, events, armed: BTreeMap::new() }
    }

    fn arm(&mut self, wanted: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.armed.retain(|directory, known| {
            let stays = wanted.contains(directory) && identity(directory) == *known;
            if !stays {
                // The directory may be gone itself.
                let _ = watcher.unwatch(directory);
            }
            stays
        });
        for directory in wanted {
            if self.armed.contains_key(&directory) {
                continue;
            }
            let known = identity(&directory);
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(directory, known);
                    // What moved between the read of the sources and the watch over them has made no event. Full: a
                    // look is due already.
                    let _ = self.events.try_send(());
                }
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "directory cannot be watched yet");
                }
            }
        }
    }
}
