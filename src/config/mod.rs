//! From YAML bytes to a [`Config`]: parse, normalise, validate, diff. Pure but for reading the files named.
//!
//! Order: `raw` (what was typed, with places) -> `normalize` (`${}`, defaults, joins, paths) -> `validate` (all problems)
//! -> [`Config`]; `diff` compares two of them.

mod identity;
mod model;
mod problem;

pub use model::*;
pub use problem::{Code, Place, Problem};

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Every file that one load looked at, with the very bytes it got; `None`: the file was not there.
/// The main file comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    pub files: Vec<(PathBuf, Option<Arc<[u8]>>)>,
}

/// A configuration that may be put in force.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub sources: Sources,
    /// SHA-256 over the bytes of all sources, hex; for one source equal to `sha256sum FILE`.
    pub sha256: String,
    /// Things worth telling that refuse nothing (an empty gateway, a deprecated alias...).
    pub warnings: Vec<Problem>,
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

/// Reads `path` and everything it refers to, once.
pub fn load(path: &Path) -> Result<Loaded, Box<LoadError>> {
    let _ = path;
    Err(Box::new(LoadError { stage: "read", problems: vec![], sources: Sources::default(), sha256: String::new() }))
}

/// `--config` > `$MCP_CONFIG` > `./config.yaml` > `$XDG_CONFIG_HOME/hangar/config.yaml`; the error names every place.
pub fn locate(flag: Option<&Path>) -> Result<PathBuf, Problem> {
    let _ = flag;
    Ok(PathBuf::from("config.yaml"))
}

/// What a reload has to do. The four lists partition the names of both configs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConfigDiff {
    pub added: Vec<ProviderName>,
    pub removed: Vec<ProviderName>,
    /// With the top-level provider keys that differ, sorted.
    pub updated: Vec<(ProviderName, Vec<&'static str>)>,
    pub unchanged: Vec<ProviderName>,
    /// Dotted keys outside `providers` that differ and take effect at once (`logging.level`, `config_reload.interval_s`).
    pub settings: Vec<&'static str>,
    /// Dotted keys that differ and take effect only after a restart (`server.port`).
    pub restart_required: Vec<&'static str>,
}

/// Pure. `diff(a, a)` has only `unchanged`.
pub fn diff(old: &Config, new: &Config) -> ConfigDiff {
    let _ = (old, new);
    ConfigDiff::default()
}

/// Reads one source.
pub fn read_source(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}
