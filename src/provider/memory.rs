//! Remembered catalogues: one file per exact provider spec in the state directory, so that a cold gateway lists at once.
//!
//! A file that cannot be read or understood is as good as none; writing one is never in anybody's way.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Catalogue, Hello, Item, Listing};
use crate::{
    config::ProviderSpec,
    wire::{hex, shallow},
};

/// Changes when the layout of the files does.
const FORMAT: &str = "1";
/// Files kept; the oldest go first.
const KEPT: usize = 1000;

#[derive(Debug, Clone)]
pub struct CatalogueMemory {
    /// `None`: nothing is remembered.
    dir: Option<PathBuf>,
}

impl CatalogueMemory {
    /// `dir` is made when the first catalogue is written.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    pub fn recall(&self, digest: &str) -> Option<Catalogue> {
        let text = Bytes::from(std::fs::read(self.file(digest)?).ok()?);
        let root = shallow::root(&text).ok()?;
        let field = |key| shallow::get(&text, root, key).ok().flatten();
        let string = |key| field(key).and_then(|place| shallow::string(&text, place)).map(|s| s.into_owned());
        if string("format")? != FORMAT {
            return None;
        }
        let raw = |key| field(key).map(|place| Bytes::copy_from_slice(place.of(&text)));
        let hello = Hello {
            protocol_version: string("protocolVersion")?,
            capabilities: raw("capabilities")?,
            server_info: raw("serverInfo")?,
            instructions: string("instructions"),
            both: field("both").is_some(),
        };
        let mut catalogue = Catalogue { hello, ..Catalogue::default() };
        for listing in Listing::ALL {
            let elements = shallow::elements(&text, field(listing.field())?)?;
            *catalogue.list_mut(listing) =
                elements.into_iter().filter_map(|place| Item::read(&text, place, listing)).collect();
        }
        Some(catalogue)
    }

    /// Blocking; call it off the runtime's threads.
    pub fn remember(&self, digest: &str, catalogue: &Catalogue) -> io::Result<()> {
        let Some(file) = self.file(digest) else { return Ok(()) };
        let dir = file.parent().unwrap_or(Path::new("."));
        private_dir(dir)?;
        // Another gateway may write the same file: each writes its own and renames it.
        let scratch = dir.join(format!(".{digest}.{}.{}", std::process::id(), fastrand::u64(..)));
        std::fs::write(&scratch, render(catalogue))?;
        private(&scratch, 0o600)?;
        std::fs::rename(&scratch, &file)?;
        self.forget_oldest(dir)
    }

    fn forget_oldest(&self, dir: &Path) -> io::Result<()> {
        let mut files: Vec<_> = std::fs::read_dir(dir)?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        if files.len() > KEPT {
            files.sort();
            for (_, path) in files.iter().take(files.len() - KEPT) {
                // Gone already: as wanted.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    fn file(&self, digest: &str) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(format!("{digest}.json")))
    }
}

/// Stable over runs of the same binary: equal specs give equal digests. It covers what decides *which* upstream this is
/// and what it offers, secrets included (hashed, never stored).
pub fn digest(spec: &ProviderSpec) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    spec.launch.feed(&mut |part| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    });
    hex::encode(hash.finalize())
}

fn render(catalogue: &Catalogue) -> Vec<u8> {
    let mut out = b"{\"format\":".to_vec();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[&shallow::quote(FORMAT), b",\"protocolVersion\":", &shallow::quote(&catalogue.hello.protocol_version)]);
    put(&[b",\"capabilities\":", &catalogue.hello.capabilities, b",\"serverInfo\":", &catalogue.hello.server_info]);
    if let Some(text) = &catalogue.hello.instructions {
        put(&[b",\"instructions\":", &shallow::quote(text)]);
    }
    if catalogue.hello.both {
        put(&[b",\"both\":true"]);
    }
    for listing in Listing::ALL {
        put(&[b",", &shallow::quote(listing.field()), b":["]);
        for (index, item) in catalogue.list(listing).iter().enumerate() {
            put(&[if index == 0 { b"".as_slice() } else { b"," }, &item.raw]);
        }
        put(&[b"]"]);
    }
    out.push(b'}');
    out
}

#[cfg(unix)]
fn private(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn private(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

fn private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    private(dir, 0o700)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_recalled_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let memory = CatalogueMemory::new(Some(dir.path().join("catalogues")));
        let text = Bytes::from_static(br#"{"name":"a\u0062","n":1.10,"z":{"y":1e400}}"#);
        let item = Item::read(&text, shallow::root(&text).unwrap(), Listing::Tools).unwrap();
        let hello = Hello {
            protocol_version: "2025-11-25".into(),
            capabilities: Bytes::from_static(b"{\"tools\":{}}"),
            server_info: Bytes::from_static(b"{}"),
            instructions: Some("say \"hi\"".into()),
            both: true,
        };
        let catalogue = Catalogue { hello, tools: vec![item], ..Catalogue::default() };
        memory.remember("d", &catalogue).unwrap();
        assert_eq!(memory.recall("d"), Some(catalogue));
        assert_eq!(memory.recall("other"), None);
        std::fs::write(dir.path().join("catalogues/d.json"), b"{\"format\":\"1\",").unwrap();
        assert_eq!(memory.recall("d"), None);
    }
}
