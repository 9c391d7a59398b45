//! All sessions of the gateway: found by their secret key, forgotten when silent for too long.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Session, SessionRecord};
use crate::{provider::CatalogueNews, telemetry::Telemetry};

/// When a client was seen that is there all the time.
const CONNECTED: u64 = u64::MAX;

/// 128 random bits; in `Mcp-Session-Id` as 32 hex digits.
pub type SessionKey = [u8; 16];

pub struct Sessions {
    by_key: Mutex<HashMap<SessionKey, Entry>>,
    /// The stdio client: no key leads to it, and it does not expire.
    keyless: OnceLock<Arc<Session>>,
    telemetry: Arc<Telemetry>,
    born: Instant,
    leaving: AtomicBool,
    /// One has ended on whose behalf upstreams were asked for something.
    missed: Notify,
}

struct Entry {
    session: Arc<Session>,
    /// Seconds since `born`; of one that listens the greatest.
    seen: AtomicU64,
}

impl Sessions {
    pub fn new(telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self {
            by_key: Mutex::default(),
            keyless: OnceLock::new(),
            telemetry,
            born: Instant::now(),
            leaving: AtomicBool::new(false),
            missed: Notify::new(),
        })
    }

    /// A new session under a fresh key. Beyond `most` the one that was silent longest goes. `None`: the system gave no random
    /// bytes.
    pub fn open(&self, news: CatalogueNews, most: usize) -> Option<(SessionKey, Arc<Session>)> {
        let session = Session::new(news);
        self.add(session.clone(), self.now(), most).map(|key| (key, session))
    }

    /// A client that holds a connection: it ends with that, and is never taken for a silent one.
    pub fn open_connected(&self, session: Arc<Session>) -> Option<SessionKey> {
        self.add(session, CONNECTED, usize::MAX)
    }

    fn add(&self, session: Arc<Session>, seen: u64, most: usize) -> Option<SessionKey> {
        let mut key = SessionKey::default();
        getrandom::fill(&mut key).ok()?;
        let mut all = self.all();
        if all.len() >= most {
            // Who holds a connection has a bound of its own.
            let silent = all.iter().map(|(key, entry)| (entry.seen.load(Ordering::Relaxed), *key));
            let oldest = silent.filter(|(seen, _)| *seen != CONNECTED).min();
            if let Some(entry) = oldest.and_then(|(_, key)| all.remove(&key)) {
                self.over(&entry.session);
            }
        }
        all.insert(key, Entry { session, seen: AtomicU64::new(seen) });
        self.count(&all);
        Some(key)
    }

    /// A modern client that listens, as long as it does. When the gateway leaves it is over at once.
    pub(super) fn open_listening(&self, session: Arc<Session>) -> Option<SessionKey> {
        let mut key = SessionKey::default();
        getrandom::fill(&mut key).ok()?;
        let mut all = self.all();
        if self.leaving.load(Ordering::Relaxed) {
            session.end();
        }
        all.insert(key, Entry { session, seen: AtomicU64::new(u64::MAX) });
        Some(key)
    }

    /// The gateway leaves: what listens has its answer now.
    pub fn end_listening(&self) {
        let all = self.all();
        self.leaving.store(true, Ordering::Relaxed);
        let listening = all.values().filter(|entry| entry.session.listen().is_some());
        listening.for_each(|entry| entry.session.end());
    }

    /// Every client that comes back by its key.
    pub fn records(&self) -> Vec<(SessionKey, SessionRecord)> {
        let all = self.all();
        let returning = all.iter().filter(|(_, entry)| entry.seen.load(Ordering::Relaxed) != CONNECTED);
        returning.filter_map(|(key, entry)| Some((*key, entry.session.record()?))).collect()
    }

    /// Those of an earlier life, under the keys that their clients have.
    pub fn resume(&self, records: Vec<(SessionKey, SessionRecord)>) {
        let mut all = self.all();
        for (key, record) in records {
            all.insert(key, Entry { session: Session::resumed(record), seen: AtomicU64::new(self.now()) });
        }
        self.count(&all);
    }

    /// Adds the stdio client; once.
    pub fn keep(&self, session: Arc<Session>) {
        // A process has one stdin, hence one such client.
        let _ = self.keyless.set(session);
        self.count(&self.all());
    }

    /// The session of `key`, which is seen alive by this.
    pub fn find(&self, key: &SessionKey) -> Option<Arc<Session>> {
        let all = self.all();
        let entry = all.get(key)?;
        entry.seen.store(self.now(), Ordering::Relaxed);
        Some(entry.session.clone())
    }

    /// `false`: there is none.
    pub fn close(&self, key: &SessionKey) -> bool {
        let mut all = self.all();
        let entry = all.remove(key);
        self.count(&all);
        drop(all);
        entry.map(|entry| self.over(&entry.session)).is_some()
    }

    fn over(&self, session: &Session) {
        session.end();
        if session.has_wishes() {
            self.missed.notify_one();
        }
    }

    /// Resolves when what upstreams do for all clients may be more than those want that are left.
    pub(super) async fn missed(&self) {
        self.missed.notified().await;
    }

    pub fn each(&self, mut with: impl FnMut(&Arc<Session>)) {
        let mut sessions: Vec<_> = self.all().values().map(|entry| entry.session.clone()).collect();
        sessions.extend(self.keyless.get().cloned());
        sessions.iter().for_each(&mut with);
    }

    pub fn any(&self, fits: impl Fn(&Session) -> bool) -> bool {
        self.keyless.get().is_some_and(|session| fits(session)) || self.all().values().any(|entry| fits(&entry.session))
    }

    pub fn len(&self) -> usize {
        self.all().len() + usize::from(self.keyless.get().is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets sessions that were silent for `idle`, have nothing in flight and no open stream.
    pub fn sweep(&self, idle: Duration) {
        let now = self.now();
        let mut all = self.all();
        let gone: Vec<_> = all
            .iter()
            .filter(|(_, entry)| now.saturating_sub(entry.seen.load(Ordering::Relaxed)) >= idle.as_secs().max(1))
            .filter(|(_, entry)| !entry.session.has_stream() && entry.session.in_flight() == 0)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            if let Some(entry) = all.remove(&key) {
                self.over(&entry.session);
            }
        }
        // A burst of abandoned sessions must not keep its memory.
        if all.capacity() > 4 * all.len().max(64) {
            all.shrink_to_fit();
        }
        self.count(&all);
    }

    /// The gateway stops: every stream ends.
    pub fn close_all(&self) {
        self.all().drain().for_each(|(_, entry)| entry.session.end());
        self.keyless.get().into_iter().for_each(|session| session.end());
    }

    fn count(&self, all: &HashMap<SessionKey, Entry>) {
        let count = all.len() + usize::from(self.keyless.get().is_some());
        self.telemetry.metrics.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn now(&self) -> u64 {
        self.born.elapsed().as_secs()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SessionKey, Entry>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
