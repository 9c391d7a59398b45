//! What clients call the tasks of upstreams: `<provider>__<seal>.<the upstream's own id>`.
//!
//! Nothing is kept for it: the id leads to its provider, and only who was given it can have it, for upstreams that believe to
//! have one client may count theirs. One of a session is of no use in another session.

use std::{fs, io, path::Path};

use crate::wire::{Mac, hex, same};

const SEPARATOR: &str = "__";
/// Bytes of the seal.
const SEAL: usize = 16;

pub struct TaskIds(Mac);

impl TaskIds {
    /// With a key that is kept in `file`, so that the ids outlive this process; without one, or when it cannot be kept, they
    /// end with it.
    pub fn kept_in(file: Option<&Path>) -> Self {
        let kept = file.map(key_of);
        if let Some(Err(error)) = &kept {
            tracing::warn!(%error, "task_key_not_kept");
        }
        Self(Mac::new(&kept.and_then(Result::ok).unwrap_or_else(random)))
    }

    /// `tag`: of the client's session, 0 for one without.
    pub fn show(&self, provider: &str, own: &str, tag: u64) -> String {
        format!("{provider}{SEPARATOR}{}.{own}", self.seal(provider, own, tag))
    }

    /// Provider and own id. `None`: it was not given to this client.
    pub fn read<'i>(&self, shown: &'i str, tag: u64) -> Option<(&'i str, &'i str)> {
        let (provider, rest) = shown.split_once(SEPARATOR)?;
        let (seal, own) = rest.split_once('.')?;
        same(self.seal(provider, own, tag).as_bytes(), seal.as_bytes()).then_some((provider, own))
    }

    fn seal(&self, provider: &str, own: &str, tag: u64) -> String {
        let length = (provider.len() as u64).to_le_bytes();
        let mac = self.0.of(&[&tag.to_le_bytes(), &length, provider.as_bytes(), own.as_bytes()]);
        hex::encode(mac.get(..SEAL).unwrap_or_default())
    }
}

fn random() -> [u8; 32] {
    let mut key = [0; 32];
    if getrandom::fill(&mut key).is_err() {
        // No system entropy: still different for every process.
        key.chunks_mut(8).for_each(|part| part.copy_from_slice(&fastrand::u64(..).to_le_bytes()));
    }
    key
}

/// The one in the file; made when there is none. Of several gateways that start at this moment one makes it.
fn key_of(file: &Path) -> io::Result<[u8; 32]> {
    let read = || hex::decode(fs::read(file).ok()?.trim_ascii())?.try_into().ok();
    if let Some(key) = read() {
        return Ok(key);
    }
    let scratch = file.with_extension(std::process::id().to_string());
    write(&scratch, &hex::encode(random()))?;
    // A broken one loses to all.
    if fs::hard_link(&scratch, file).is_err() && read().is_none() {
        fs::rename(&scratch, file)?;
    }
    // Renamed, or of no use any more.
    let _ = fs::remove_file(&scratch);
    read().ok_or_else(|| io::Error::other(format!("{} could not be written", file.display())))
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_by_the_client_it_was_given_to_and_unchanged_only() {
        let ids = TaskIds::kept_in(None);
        for own in ["task-1", "", "a__b.c", "ü/ 1"] {
            let shown = ids.show("a-b", own, 7);
            assert_eq!(ids.read(&shown, 7), Some(("a-b", own)));
            assert_eq!(ids.read(&shown, 8), None, "another session");
            assert_eq!(ids.read(&shown.replacen("a-b", "a-c", 1), 7), None, "another provider");
            assert_eq!(ids.read(&format!("{shown}1"), 7), None, "another task");
            assert_eq!(TaskIds::kept_in(None).read(&shown, 7), None, "another gateway");
        }
        for odd in ["", "__", "a__.", "task-1", "a__x.task-1"] {
            assert_eq!(ids.read(odd, 7), None, "{odd}");
        }
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("task-key");
        let shown = TaskIds::kept_in(Some(&file)).show("a", "1", 0);
        assert_eq!(TaskIds::kept_in(Some(&file)).read(&shown, 0), Some(("a", "1")));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "broken").unwrap();
        assert_eq!(TaskIds::kept_in(Some(&file)).read(&shown, 0), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
