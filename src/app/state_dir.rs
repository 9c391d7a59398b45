//! Where the gateway remembers things between runs: `$STATE_DIRECTORY` > `$XDG_STATE_HOME/hangar` >
//! `~/.local/state/hangar`. Without any of them it remembers nothing, and says so.

use std::{
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::lives::Lives;
use crate::wire::hex;

#[derive(Debug, Clone)]
pub struct StateDir(Option<PathBuf>);

impl StateDir {
    pub fn locate() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // systemd gives a list when several are configured; the first is ours.
        let systemd = std::env::var("STATE_DIRECTORY").ok().and_then(|list| list.split(':').next().map(PathBuf::from));
        let found = systemd
            .filter(|dir| dir.is_absolute())
            .or_else(|| var("XDG_STATE_HOME").map(|dir| dir.join("hangar")))
            .or_else(|| var("HOME").map(|home| home.join(".local/state/hangar")));
        Self(found.filter(|dir| dir.is_absolute()))
    }

    pub fn path(&self) -> Option<&PathBuf> {
        self.0.as_ref()
    }

    /// The one that children of this directory's gateways bear, if there has been a gateway. Makes nothing.
    pub fn known_instance(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.0.as_ref()?.join("instance")).ok()?;
        Some(text.trim().to_owned()).filter(|id| is_id(id))
    }

    pub fn catalogues(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|dir| dir.join("catalogues"))
    }

    /// Its directory is there once the instance has been written.
    pub fn task_key(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|dir| dir.join("task-key")).filter(|_| self.remembers())
    }

    pub fn lives(&self) -> Lives {
        Lives::new(self.0.as_ref().map(|dir| dir.join("lives")).filter(|_| self.remembers()))
    }

    pub fn sweep_lock(&self) -> Option<PathBuf> {
        // Its directory is there once the instance has been written.
        self.0.as_ref().map(|dir| dir.join("sweep.lock")).filter(|_| self.remembers())
    }

    fn remembers(&self) -> bool {
        self.0.as_ref().is_some_and(|dir| dir.join("instance").is_file())
    }

    /// Random, made once per state directory: children bear it, so that what is left of a dead gateway can be told from
    /// other people's processes.
    pub fn instance(&self) -> Arc<str> {
        let known = self.0.as_deref().map(|dir| instance_of(&dir.join("instance")));
        match known {
            Some(Ok(id)) => id.into(),
            other => {
                if let Some(Err(error)) = other {
                    tracing::warn!(%error, "state_directory_not_writable");
                }
                random_id().into()
            }
        }
    }
}

fn instance_of(file: &Path) -> io::Result<String> {
    let read = || std::fs::read_to_string(file).map(|text| text.trim().to_owned()).ok().filter(|id| is_id(id));
    if let Some(id) = read() {
        return Ok(id);
    }
    let dir = file.parent().unwrap_or(Path::new("."));
    create(dir)?;
    let scratch = dir.join(format!(".instance.{}", std::process::id()));
    std::fs::write(&scratch, random_id())?;
    // Of several gateways that start at this moment one wins; a broken file loses to all.
    if std::fs::hard_link(&scratch, file).is_err() && read().is_none() {
        std::fs::rename(&scratch, file)?;
    }
    let _ = std::fs::remove_file(&scratch);
    read().ok_or_else(|| io::Error::other("the file \"instance\" could not be written"))
}

/// For its owner alone: who could lock a file in there could hold up every sweep.
pub fn create(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

pub fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// 128 random bits as hex digits.
pub fn random_id() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // No system entropy: still different for every process; nothing secret hangs on it.
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
        bytes[8..].copy_from_slice(&fastrand::u64(..).to_le_bytes());
    }
    hex::encode(bytes)
}
