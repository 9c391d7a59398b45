//! From YAML bytes to a [`Config`]: parse, normalise, validate, diff. Pure but for reading the files named.
//!
//! Order: `raw` (what was typed, with places) -> `shape` (held against the one table of `keys`, `${}` replaced) ->
//! `normalize` (defaults, joins, paths, referenced files) with `validate` on the way (all problems) -> [`Config`]; `diff`
//! compares two of them, `schema` prints the table.

mod audit;
mod catalog;
mod cleanup;
mod codes;
mod daemon;
mod diff;
mod discovery;
pub mod dotenv;
mod dotenv_file;
mod expose;
mod fields;
mod files;
mod group_keys;
mod groups;
mod hints;
mod identity;
mod keys;
#[cfg(test)]
mod laws;
mod limits;
mod load;
mod locate;
mod logging;
mod model;
mod mounts;
mod normalize;
mod noticing;
mod problem;
mod raw;
mod relaxed;
mod rules;
mod scalar;
mod schema;
mod shape;
mod substitute;
mod telemetry;
mod validate;
mod variables;
mod volumes;

pub use audit::AuditSettings;
pub use catalog::could_clash;
pub use cleanup::CleanupSettings;
pub use codes::{CODES, InSchema};
pub use daemon::DaemonSettings;
pub use diff::{diff, providers_diff};
pub use discovery::{DiscoverySettings, Fragment, Fragments};
pub use dotenv_file::{Dotenv, DotenvRead, FoundDotenv};
pub use expose::{ClientRule, Expose, ExposeSettings};
pub use files::{MAX_FILE, look_at, read_source};
pub use groups::{GroupBreaker, GroupMember, GroupSpec, MemberHealth, Strategy};
pub use limits::Limits;
pub use locate::locate;
pub use logging::{LogFormat, LogLevel, LoggingSettings};
pub use model::*;
pub use noticing::ReloadSettings;
pub use problem::{Code, Place, Problem};
pub use schema::{document, schema};
pub use telemetry::{OtlpSettings, TelemetrySettings};
pub use volumes::refusal as volume_refusal;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use variables::Variables;

/// Every file that one load looked at, with the very bytes it got; `None`: the file was not there.
/// The main file comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    pub files: Vec<(PathBuf, Option<Arc<[u8]>>)>,
    /// Read as well, but nothing depends on them: not watched, not in the SHA-256.
    pub aside: Vec<(PathBuf, Option<Arc<[u8]>>)>,
}

impl Sources {
    /// Where the main file has this key, given by the keys that lead to it.
    pub fn place_of(&self, keys: &[&str]) -> Option<Place> {
        let (file, bytes) = self.files.first()?;
        let text = std::str::from_utf8(bytes.as_deref()?).ok()?;
        let at = raw::place_of(text.strip_prefix('\u{feff}').unwrap_or(text), keys)?;
        Some(Place { file: file.clone(), line: at.line, column: at.column })
    }
}

/// A configuration that may be put in force.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub sources: Sources,
    /// SHA-256 over the bytes of all sources, hex; for one source equal to `sha256sum FILE`.
    pub sha256: String,
    pub dotenv: DotenvRead,
    /// Things worth telling that refuse nothing (an empty gateway, a deprecated alias...).
    pub warnings: Vec<Problem>,
    /// Of `discovery.files`.
    pub fragments: Fragments,
}

/// Why there is none. `stage`: `read` | `parse` | `normalize` | `validate`.
#[derive(Debug, Clone)]
pub struct LoadError {
    pub stage: &'static str,
    /// In file order.
    pub problems: Vec<Problem>,
    /// What was read before it failed, so that the watcher can watch it.
    pub sources: Sources,
    /// Over what was read.
    pub sha256: String,
}

/// Reads `path` and everything it refers to, once; without a `.env` file.
pub fn load(path: &Path) -> Result<Loaded, Box<LoadError>> {
    load_from(path, &mut read_source)
}

/// The same as a gateway with this `.env` file does it: the file answers what the gateway's own environment leaves open.
pub fn load_with_dotenv(path: &Path, dotenv: &Dotenv) -> Result<Loaded, Box<LoadError>> {
    let variables = Variables { own: &|name| std::env::var_os(name), found: dotenv.now() };
    load::run(path, &mut read_source, variables)
}

/// The same, but with bytes that the caller provides: the reloader has read them twice already. `read` is called at most
/// once per path; `NotFound` means that the file is not there. `path` is passed on as given, all others are absolute.
pub fn load_from(path: &Path, read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>) -> Result<Loaded, Box<LoadError>> {
    load_with(path, read, &|name| std::env::var_os(name))
}

/// The same with the gateway's own environment given too. `variable` answers `${VAR}` and the `PATH` that a provider
/// inherits.
pub fn load_with(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Loaded, Box<LoadError>> {
    load::run(path, read, Variables { own: variable, found: FoundDotenv::default() })
}

/// What a reload has to do. The four lists partition the names of both configs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConfigDiff {
    pub added: Vec<ProviderName>,
    pub removed: Vec<ProviderName>,
    /// With the top-level provider keys that differ, sorted.
    pub updated: Vec<(ProviderName, Vec<&'static str>)>,
    pub unchanged: Vec<ProviderName>,
    pub groups_added: Vec<ProviderName>,
    pub groups_removed: Vec<ProviderName>,
    /// With the keys that differ, sorted.
    pub groups_updated: Vec<(ProviderName, Vec<&'static str>)>,
    /// Dotted keys outside `providers` that differ and take effect at once (`logging.level`, `config_reload.interval_s`).
    pub settings: Vec<&'static str>,
    /// Dotted keys that differ and take effect only after a restart (`server.port`).
    pub restart_required: Vec<&'static str>,
}
