//! Which `.env` file a gateway takes variables from. Settled once, at the start, and remembered ("recorded"): while the
//! recorded file is there no other one is looked at. What it holds is read again at every load.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Problem, Secret, codes, files::absolute, mounts};

const NAME: &str = ".env";

/// The choice of one gateway. The default one never finds a file.
#[derive(Debug, Clone, Default)]
pub struct Dotenv {
    recorded: Option<PathBuf>,
    /// The default places in order: beside the configuration, the working directory of the start. Absolute.
    places: Vec<PathBuf>,
}

/// Where variables come from at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundDotenv {
    /// For [`Kind::Missing`] where it was.
    pub path: Option<PathBuf>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    None,
    Recorded,
    Fresh,
    Missing,
}

/// What one load took from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DotenvRead {
    pub found: FoundDotenv,
    pub vars: BTreeMap<String, Secret>,
    /// Those of `vars` that the gateway's own environment sets as well: its values count.
    pub shadowed: BTreeSet<String>,
    /// What the configuration asked the file for, found there or not.
    pub asked: BTreeSet<String>,
    /// A provider inherits everything.
    pub all_asked: bool,
}

// === impl Dotenv ===

impl Dotenv {
    /// `--dotenv-path` > `$HANGAR_DOTENV_PATH` > `.env` beside `config` > `.env` in the working directory. A file that was
    /// named but is not there is an error: nothing else is tried.
    pub fn locate(flag: Option<&Path>, config: &Path) -> Result<Self, Problem> {
        let here = std::env::current_dir().unwrap_or_default();
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::locate_in(flag, config, &here, &variable)
    }

    fn locate_in(
        flag: Option<&Path>,
        config: &Path,
        here: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Problem> {
        let beside = absolute(here, config).parent().unwrap_or(Path::new("/")).join(NAME);
        let mut places = vec![beside, here.join(NAME)];
        places.dedup();
        let named = match flag {
            Some(path) => Some(("--dotenv-path", path.to_owned())),
            None => variable("HANGAR_DOTENV_PATH").map(|path| ("$HANGAR_DOTENV_PATH", PathBuf::from(path))),
        };
        let recorded = match named {
            Some((by, path)) if gone(&here.join(&path)) => return Err(missing(by, &path)),
            Some((_, path)) => Some(absolute(here, path)),
            None => first(&places),
        };
        Ok(Self { recorded, places })
    }

    /// The file that was there at the start.
    pub fn recorded(&self) -> Option<&Path> {
        self.recorded.as_deref()
    }

    /// Looks again.
    pub fn now(&self) -> FoundDotenv {
        match &self.recorded {
            Some(path) if !gone(path) => FoundDotenv { path: Some(path.clone()), kind: Kind::Recorded },
            recorded => match (first(&self.places), recorded) {
                (Some(path), _) => FoundDotenv { path: Some(path), kind: Kind::Fresh },
                (None, Some(path)) => FoundDotenv { path: Some(path.clone()), kind: Kind::Missing },
                (None, None) => FoundDotenv::default(),
            },
        }
    }
}

/// What is not a file is passed over: a virtual environment may be a directory of this name.
fn first(places: &[PathBuf]) -> Option<PathBuf> {
    places.iter().find(|path| path.is_file()).cloned()
}

/// A file that may not be read is there: its problem is told when it is needed.
fn gone(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

fn missing(by: &str, path: &Path) -> Problem {
    Problem {
        code: codes::ENV_FILE,
        path: String::new(),
        place: None,
        message: format!("there is no such .env file: {} (named by {by})", path.display()),
        help: Some(format!("create it, or leave {by} out: a .env beside the configuration is found by itself")),
    }
}

// === impl FoundDotenv ===

impl FoundDotenv {
    /// `live` | `live (bind-mounted)` | `fresh-discovery` | `missing` | `none`.
    pub fn source(&self) -> &'static str {
        match (self.kind, &self.path) {
            (Kind::Recorded, Some(path)) if mounts::is_bind_mounted(path) => "live (bind-mounted)",
            (Kind::Recorded, _) => "live",
            (Kind::Fresh, _) => "fresh-discovery",
            (Kind::Missing, _) => "missing",
            (Kind::None, _) => "none",
        }
    }

    pub fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }
}

// === impl DotenvRead ===

impl DotenvRead {
    /// Names that are there in one of the two only, or with another value; sorted.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.vars.keys().chain(before.vars.keys()).collect();
        names.into_iter().filter(|name| self.vars.get(*name) != before.vars.get(*name)).cloned().collect()
    }

    /// Whether the configuration depends on what the file says about this name.
    pub fn uses(&self, name: &str) -> bool {
        self.all_asked || self.asked.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_place_that_applies_is_recorded_and_others_are_looked_at_only_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("conf")).unwrap();
        fs::create_dir_all(at("here/.env")).unwrap();
        let config = at("conf/config.yaml");
        let locate = |flag: Option<&str>, var: Option<&str>| {
            let variable = |name: &str| var.filter(|_| name == "HANGAR_DOTENV_PATH").map(OsString::from);
            Dotenv::locate_in(flag.map(Path::new), &config, &at("here"), &variable)
        };
        let none = locate(None, None).unwrap();
        assert_eq!((none.recorded(), none.now().source()), (None, "none"), "a directory is passed over");

        fs::remove_dir(at("here/.env")).unwrap();
        fs::write(at("here/.env"), "").unwrap();
        assert_eq!(none.now(), FoundDotenv { path: Some(at("here/.env")), kind: Kind::Fresh });
        let working = locate(None, None).unwrap();
        assert_eq!(working.recorded(), Some(&*at("here/.env")));

        fs::write(at("conf/.env"), "").unwrap();
        assert_eq!(working.now(), FoundDotenv { path: Some(at("here/.env")), kind: Kind::Recorded });
        assert_eq!(locate(None, None).unwrap().recorded(), Some(&*at("conf/.env")));
        fs::write(at("here/named"), "").unwrap();
        let named = locate(None, Some("named")).unwrap();
        assert_eq!(named.recorded(), Some(&*at("here/named")));
        assert_eq!(locate(Some(".env"), Some("named")).unwrap().recorded(), Some(&*at("here/.env")));

        fs::remove_file(at("here/named")).unwrap();
        assert_eq!(named.now(), FoundDotenv { path: Some(at("conf/.env")), kind: Kind::Fresh });
        fs::remove_file(at("conf/.env")).unwrap();
        fs::remove_file(at("here/.env")).unwrap();
        assert_eq!(named.now(), FoundDotenv { path: Some(at("here/named")), kind: Kind::Missing });
        assert!(locate(None, Some("named")).unwrap_err().message.contains("named (named by $HANGAR_DOTENV_PATH)"));
    }
}
