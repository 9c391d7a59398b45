//! Which generations of an instance live: each gateway holds a lock on a file of its own in the state directory. It tells the
//! truth where process ids cannot, between containers that share a state directory and an engine.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::state_dir::{self, is_id};

/// After this nothing of a generation can be left that anybody would ask about.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The directory of the files; `None`: nothing is remembered here.
#[derive(Clone)]
pub struct Lives(Option<PathBuf>);

/// Of this gateway, until it is dropped.
pub struct Life {
    path: PathBuf,
    locked: File,
}

impl Lives {
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self(dir)
    }

    /// To be called before anything is started that bears the generation. `None`: it cannot be written down, and whether it
    /// lives has to be told by its process.
    pub fn begin(&self, generation: &str) -> Option<Life> {
        let path = self.path(generation)?;
        state_dir::create(path.parent()?).ok()?;
        self.forget();
        let locked = File::options().create(true).append(true).mode(0o600).open(&path).ok()?;
        let life = Life { path, locked };
        // Where files cannot be locked, the file must go again: it would say that this life is over.
        life.locked.try_lock().ok().map(|()| life)
    }

    /// It lived on this state directory, and nobody holds its lock any more.
    pub fn is_over(&self, generation: &str) -> bool {
        let Some(file) = self.path(generation).and_then(|path| File::options().append(true).open(path).ok()) else {
            return false;
        };
        file.try_lock().is_ok()
    }

    /// `generation` may be what somebody else wrote on a container.
    fn path(&self, generation: &str) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(generation)).filter(|_| is_id(generation))
    }

    fn forget(&self) {
        let entries = self.0.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_id)) {
            let made = entry.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::now());
            let old = SystemTime::now().duration_since(made).is_ok_and(|age| age > FORGOTTEN);
            if old && self.is_over(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Life {
    /// An orderly end leaves nothing to ask about.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_life_is_over_when_its_lock_is_free_and_unknown_when_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let lives = Lives::new(Some(dir.path().join("lives")));
        assert!(!lives.is_over(ONE));
        let life = lives.begin(ONE).unwrap();
        assert!(!lives.is_over(ONE));
        // As after kill -9: the lock goes, the file stays.
        let path = life.path.clone();
        drop(life);
        assert!(!path.exists() && !lives.is_over(ONE));
        File::create(&path).unwrap();
        assert!(lives.is_over(ONE));
        // Nothing but an id is ever looked up.
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!lives.is_over("../file") && !lives.is_over("") && lives.begin("../file").is_none());
        assert!(Lives::new(None).begin(ONE).is_none() && !Lives::new(None).is_over(ONE));
    }
}
