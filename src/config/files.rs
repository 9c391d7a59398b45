//! Every file that one load looks at, read once each.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{Code, Sources, codes, discovery};

/// Largest file taken, in bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads a source the way [`super::load()`] does: regular files only (a FIFO would hang every reload), at most
/// [`MAX_FILE`] bytes (one more is handed out, so that the size shows).
pub fn read_source(path: &Path) -> io::Result<Vec<u8>> {
    if discovery::is_listing(path) {
        return discovery::listing(path);
    }
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(kind.len().min(MAX_FILE)).unwrap_or(0) + 1);
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Length and times of a source, as far as it is there.
pub fn look_at(path: &Path) -> io::Result<fs::Metadata> {
    fs::metadata(if discovery::is_listing(path) { path.parent().unwrap_or(path) } else { path })
}

/// Why a file gives no text.
#[derive(Debug, Clone)]
pub(super) enum NoText {
    Missing,
    /// A phrase that completes "cannot be read: ".
    Unreadable(String),
    TooLarge,
    /// Line of the first bad byte.
    NotUtf8(u32),
}

/// The bytes of a file, or why there are none.
type Taken = Result<Arc<[u8]>, NoText>;
type Read<'e> = &'e mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

pub(super) struct Files<'e> {
    read: Read<'e>,
    index: HashMap<PathBuf, usize>,
    list: Vec<(PathBuf, Taken)>,
    aside: Vec<(PathBuf, Option<Arc<[u8]>>)>,
}

impl<'e> Files<'e> {
    pub(super) fn new(read: Read<'e>) -> Self {
        Self { read, index: HashMap::new(), list: Vec::new(), aside: Vec::new() }
    }

    pub(super) fn bytes(&mut self, path: &Path) -> Taken {
        if let Some((_, known)) = self.index.get(path).and_then(|at| self.list.get(*at)) {
            return known.clone();
        }
        let result = (self.read)(path).map(Arc::from).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NoText::Missing,
            _ => NoText::Unreadable(phrase(&error)),
        });
        self.index.insert(path.to_owned(), self.list.len());
        self.list.push((path.to_owned(), result.clone()));
        result
    }

    /// The text without a byte order mark.
    pub(super) fn text(&mut self, path: &Path) -> Result<String, NoText> {
        text_of(&self.bytes(path)?)
    }

    /// The text of a file on which nothing depends, if it has one.
    pub(super) fn look(&mut self, path: &Path) -> Option<String> {
        if self.index.contains_key(path) {
            return self.text(path).ok();
        }
        let bytes: Arc<[u8]> = (self.read)(path).ok()?.into();
        self.aside.push((path.to_owned(), Some(bytes.clone())));
        text_of(&bytes).ok()
    }

    /// What was looked at, and the SHA-256 over all of it.
    pub(super) fn finish(self) -> (Sources, String) {
        let mut hash = Sha256::new();
        let files = self.list.into_iter().map(|(path, result)| {
            let bytes = result.ok();
            if let Some(bytes) = &bytes {
                hash.update(bytes);
            }
            (path, bytes)
        });
        let sources = Sources { files: files.collect(), aside: self.aside };
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (sources, digest)
    }
}

fn text_of(bytes: &[u8]) -> Result<String, NoText> {
    if bytes.len() as u64 > MAX_FILE {
        return Err(NoText::TooLarge);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            Err(NoText::NotUtf8(u32::try_from(line).unwrap_or(u32::MAX)))
        }
    }
}

impl NoText {
    /// Code and phrase for the main file.
    pub(super) fn of_main(&self) -> (Code, String) {
        match self {
            Self::Missing => (codes::MISSING_FILE, "there is no such file".into()),
            Self::Unreadable(why) => (codes::UNREADABLE, format!("the file cannot be read: {why}")),
            Self::TooLarge => (codes::TOO_LARGE, format!("the file is larger than {MAX_FILE} bytes")),
            Self::NotUtf8(_) => (codes::NOT_UTF8, "the file is not UTF-8 text".into()),
        }
    }

    /// A phrase that completes "the file PATH ".
    pub(super) fn phrase(&self) -> String {
        match self {
            Self::Missing => "is not there".into(),
            Self::Unreadable(why) => format!("cannot be read: {why}"),
            Self::TooLarge => format!("is larger than {MAX_FILE} bytes"),
            Self::NotUtf8(line) => format!("is not UTF-8 text (line {line})"),
        }
    }
}

/// An I/O error in words that do not depend on the machine.
pub(super) fn phrase(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::NotADirectory => "a part of its path is not a directory".into(),
        _ => error.to_string(),
    }
}

/// `path` against `base`, with `.` and `..` resolved by name only (a symlink swap must not move the result).
pub(super) fn absolute(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut out = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_by_name() {
        let base = Path::new("/etc/hangar");
        for (path, want) in
            [(".", "/etc/hangar"), ("./a/../b", "/etc/hangar/b"), ("../../../x", "/x"), ("/a/./b/", "/a/b")]
        {
            assert_eq!(absolute(base, path), Path::new(want), "{path}");
        }
    }

    #[test]
    fn each_file_is_read_once_and_all_are_listed() {
        let mut reads = 0;
        let mut read = |path: &Path| {
            reads += 1;
            if path == Path::new("/a") { Ok(b"one".to_vec()) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        let mut files = Files::new(&mut read);
        for _ in 0..2 {
            assert_eq!(files.text(Path::new("/a")).unwrap(), "one");
            assert!(matches!(files.text(Path::new("/b")), Err(NoText::Missing)));
        }
        let (sources, digest) = files.finish();
        assert_eq!(reads, 2);
        assert_eq!(sources.files, vec![("/a".into(), Some(Arc::from(*b"one"))), ("/b".into(), None)]);
        assert_eq!(digest, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
    }
}
