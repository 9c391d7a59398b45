//! The runtime directory: where every gateway puts its admin socket, and where the command line looks for it.
//!
//! Sockets are named after the config file and the process, so that several gateways of one file (one per stdio client)
//! stand side by side. The gateway that bound a socket owns the file; one that nobody listens on is stale. PID files lie
//! beside them: `<config>-<pid>.json` of every gateway, `<config>.pid` of the one that serves HTTP.

mod clear;
mod connect;
pub mod pid_file;

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use clear::{clear_after, remove_dead};
pub use connect::{Lock, connect_socket, connect_sockets, key};
use rustix::fs::{Access, access};
use sha2::{Digest, Sha256};

/// Hex digits of the config path's digest in a socket's name. Paths of sockets may have 107 bytes only.
const DIGITS: usize = 16;

/// The first usable one of `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR/hangar`, `/var/run/hangar` and `~/.hangar`; created,
/// for its owner alone, where it is not there. Never one that everybody may write to.
pub fn directory() -> io::Result<PathBuf> {
    first_usable(&candidates(&|name| env::var_os(name)))
}

/// The admin socket of process `pid` for the config file `config`.
pub fn socket_path(config: &Path, pid: u32) -> io::Result<PathBuf> {
    Ok(directory()?.join(format!("{}-{pid}.sock", digest(config))))
}

/// Where every gateway of process `pid` keeps its facts.
pub fn record_path(config: &Path, pid: u32) -> io::Result<PathBuf> {
    Ok(directory()?.join(format!("{}-{pid}.json", digest(config))))
}

/// Where the PID file of a gateway lies that was told no other place.
pub fn pid_file_path(config: &Path) -> io::Result<PathBuf> {
    Ok(directory()?.join(format!("{}.pid", digest(config))))
}

/// Records of gateways of this config file, or of all (`None`), newest first, in every place. Some may be stale.
pub fn records_of(config: Option<&Path>) -> Vec<PathBuf> {
    let wanted = config.map(digest);
    found_in(&places(), |name| {
        let Some((config, pid)) = name.strip_suffix(".json").and_then(|stem| stem.split_once('-')) else {
            return false;
        };
        config.len() == DIGITS && wanted.as_ref().is_none_or(|wanted| wanted == config) && pid.parse::<u32>().is_ok()
    })
}

/// PID files in the places where scripts look, of this config file or of all (`None`). Some may be stale.
pub fn pid_files(config: Option<&Path>) -> Vec<PathBuf> {
    let wanted = config.map(digest);
    let is_digest = |stem: &str| stem.len() == DIGITS && stem.bytes().all(|b| b.is_ascii_hexdigit());
    found_in(&places(), |name| {
        let stem = name.strip_suffix(".pid").filter(|stem| is_digest(stem));
        stem.is_some_and(|stem| wanted.as_ref().is_none_or(|wanted| wanted == stem))
    })
}

/// Whether the place is there and usable; makes nothing. An `Err` says why it is not used.
pub fn look_at(place: &Path) -> io::Result<bool> {
    if matches!(fs::symlink_metadata(place), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Ok(false);
    }
    trusted(place)?;
    access(place, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(true)
}

/// Sockets of gateways of this config file, newest first, in every place where one may be: a gateway that a desktop
/// program has started may know fewer variables than the shell. Some may be stale.
pub fn sockets_of(config: &Path) -> Vec<PathBuf> {
    sockets_in(&candidates(&|name| env::var_os(name)), &digest(config))
}

/// Every place that is looked at, in order.
pub fn places() -> Vec<PathBuf> {
    candidates(&|name| env::var_os(name))
}

fn candidates(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd gives a list when a unit has several.
    let first = |list: OsString| env::split_paths(&list).next().filter(|path| path.is_absolute());
    let places = [
        variable("RUNTIME_DIRECTORY").and_then(first),
        absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("hangar")),
        Some(PathBuf::from("/var/run/hangar")),
        absolute("HOME").map(|home| home.join(".hangar")),
    ];
    places.into_iter().flatten().collect()
}

fn first_usable(places: &[PathBuf]) -> io::Result<PathBuf> {
    let mut refusals = Vec::new();
    for place in places {
        match usable(place) {
            Ok(()) => return Ok(place.clone()),
            Err(error) => refusals.push(format!("{}: {error}", place.display())),
        }
    }
    Err(io::Error::other(format!(
        "there is no directory for the sockets and PID files of a gateway ({})",
        refusals.join("; ")
    )))
}

fn usable(place: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    trusted(place)?;
    Ok(access(place, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Nobody else can have put something there.
fn trusted(place: &Path) -> io::Result<()> {
    let about = fs::metadata(place)?;
    if !about.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"));
    }
    if about.mode() & 0o002 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "everybody may write to it"));
    }
    let me = rustix::process::geteuid();
    if !me.is_root() && ![0, me.as_raw()].contains(&about.uid()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"));
    }
    Ok(())
}

fn sockets_in(places: &[PathBuf], digest: &str) -> Vec<PathBuf> {
    found_in(places, |name| pid_in(name, digest).is_some())
}

/// Files with fitting names, newest first.
fn found_in(places: &[PathBuf], fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for place in places.iter().filter(|place| trusted(place).is_ok()) {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(&fits));
        found.extend(ours.map(|entry| {
            let made = entry.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            (made, entry.path())
        }));
    }
    found.sort_by(|a, b| b.cmp(a));
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().map(|(_, path)| path).collect()
}

/// The process that a socket of this config file is named after.
fn pid_in(name: &str, digest: &str) -> Option<u32> {
    name.strip_prefix(digest)?.strip_prefix('-')?.strip_suffix(".sock")?.parse().ok()
}

/// Names a config file. Links in its directory's path are resolved, one that the file itself is stays: mounted
/// ConfigMaps and some editors replace what it points to while the gateway runs.
fn digest(config: &Path) -> String {
    let absolute = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let resolved = match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => absolute,
    };
    let hash = Sha256::digest(resolved.as_os_str().as_encoded_bytes());
    let mut digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_places_in_their_order() {
        let vars = [("RUNTIME_DIRECTORY", "/r/a:/r/b"), ("XDG_RUNTIME_DIR", "/x"), ("HOME", "/h")];
        let some = |known: &[(&str, &str)]| {
            candidates(&|name| known.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
        };
        assert_eq!(some(&vars), ["/r/a", "/x/hangar", "/var/run/hangar", "/h/.hangar"].map(PathBuf::from));
        assert_eq!(some(&vars[1..2]), ["/x/hangar", "/var/run/hangar"].map(PathBuf::from));
        assert_eq!(some(&[("XDG_RUNTIME_DIR", ""), ("HOME", "rel")]), [PathBuf::from("/var/run/hangar")]);
    }

    #[test]
    fn it_is_made_for_its_owner_alone_and_never_where_everybody_writes() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let fresh = dir.path().join("fresh");
        assert_eq!(first_usable(&[open.clone(), fresh.clone()]).unwrap(), fresh);
        assert_eq!(mode(&fresh), 0o700);
        assert_eq!(first_usable(std::slice::from_ref(&fresh)).unwrap(), fresh, "and taken again");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let refusal = first_usable(&[open, file, dir.path().join("no/parent")]).unwrap_err().to_string();
        for says in ["everybody may write", "no directory", "no/parent"] {
            assert!(refusal.contains(says), "{refusal}");
        }
    }

    #[test]
    fn sockets_are_found_by_config_newest_first_in_every_place() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yaml");
        let places = [dir.path().join("a"), dir.path().join("b"), dir.path().join("gone")];
        let key = digest(&config);
        let other = digest(&dir.path().join("other.yaml"));
        assert_ne!(key, other);
        let now = SystemTime::now();
        let names = [
            (0, format!("{key}-12.sock"), 20),
            (1, format!("{key}-7.sock"), 10),
            (1, format!("{other}-8.sock"), 0),
            (0, format!("{key}-x.sock"), 0),
            (0, key.clone(), 0),
        ];
        fs::create_dir(&places[0]).and_then(|()| fs::create_dir(&places[1])).unwrap();
        for (place, name, age) in &names {
            let file = fs::File::create(places[*place].join(name)).unwrap();
            file.set_modified(now - std::time::Duration::from_secs(*age)).unwrap();
        }
        let want = [places[1].join(&names[1].1), places[0].join(&names[0].1)];
        assert_eq!(sockets_in(&places, &key), want);
        fs::set_permissions(&places[1], fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(sockets_in(&places, &key), want[1..], "a directory that everybody may write to is not looked at");
    }

    #[test]
    fn a_config_keeps_its_name_when_what_it_links_to_is_swapped() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        fs::create_dir(&real).unwrap();
        let config = real.join("config.yaml");
        let before = digest(&config);
        symlink("elsewhere.yaml", &config).unwrap();
        assert_eq!(digest(&config), before, "a link, even one into nowhere");
        symlink(&real, dir.path().join("link")).unwrap();
        assert_eq!(digest(&dir.path().join("link/config.yaml")), before, "through a linked directory");
        assert_eq!(before.len(), DIGITS);
    }
}
