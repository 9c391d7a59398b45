//! Variables during one load: the gateway's own environment answers first, its `.env` file what that leaves open.
//!
//! The file counts as a source from the first question put to it, answered or not: another answer would be another
//! configuration. One that is asked nothing is read all the same, to tell what changed in it, and nothing depends on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use super::{
    DotenvRead, FoundDotenv, InheritEnv, Secret, codes, dotenv, files::NoText, load::Load, raw::At, substitute::Fault,
};

/// What a load is given.
pub(super) struct Variables<'e> {
    /// The gateway's own environment.
    pub own: &'e dyn Fn(&str) -> Option<OsString>,
    pub found: FoundDotenv,
}

/// What it has asked so far.
#[derive(Default)]
pub(super) struct Asked {
    /// `None`: the file has not been needed.
    vars: Option<BTreeMap<String, Secret>>,
    names: BTreeSet<String>,
    all: bool,
}

impl Load<'_> {
    /// Of the gateway's own environment only.
    pub(super) fn variable_of_gateway(&self, name: &str) -> Option<OsString> {
        (self.variables.own)(name)
    }

    /// Of `${name}`.
    pub(super) fn answer(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match (self.variables.own)(name).map(OsString::into_string) {
            None => {
                self.asked.names.insert(name.to_owned());
                Ok(self.dotenv().get(name).map(|value| value.expose().to_owned()))
            }
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(Fault {
                code: codes::UNSET,
                message: format!("the environment variable {name} is not UTF-8 text"),
                help: None,
            }),
        }
    }

    /// What the `.env` file adds to what a provider inherits of the gateway's own environment.
    pub(super) fn inherited(&mut self, inherit: &InheritEnv) -> BTreeMap<String, Secret> {
        let own = self.variables.own;
        match inherit {
            InheritEnv::AllowListOnly => return BTreeMap::new(),
            InheritEnv::All => self.asked.all = true,
            InheritEnv::Names(names) => {
                let open: BTreeSet<_> = names.iter().filter(|name| own(name).is_none()).cloned().collect();
                if open.is_empty() {
                    return BTreeMap::new();
                }
                let vars = self.dotenv().iter().filter(|(name, _)| open.contains(*name));
                let vars = vars.map(|(name, value)| (name.clone(), value.clone())).collect();
                self.asked.names.extend(open);
                return vars;
            }
        }
        let vars = self.dotenv().iter().filter(|(name, _)| own(name).is_none());
        vars.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// For the message about a variable that nobody has.
    pub(super) fn dotenv_lacks_it(&self) -> Option<String> {
        let found = &self.variables.found;
        let path = found.path.as_ref()?.display();
        Some(if found.is_missing() { format!("; the file {path} is gone") } else { format!(", and not in {path}") })
    }

    fn dotenv(&mut self) -> &BTreeMap<String, Secret> {
        if self.asked.vars.is_none() {
            let vars = self.read_dotenv();
            self.asked.vars = Some(vars);
        }
        self.asked.vars.get_or_insert_default()
    }

    fn read_dotenv(&mut self) -> BTreeMap<String, Secret> {
        let Some(path) = self.variables.found.path.clone() else { return BTreeMap::new() };
        // Its problems are nobody's who happened to need it first.
        let mark = self.jump(String::new());
        let vars = match self.files.text(&path) {
            Ok(text) => {
                let (vars, faults) = dotenv::parse(&text);
                for fault in faults {
                    let at = At { line: fault.line, column: fault.column };
                    self.problem_in(&path, codes::ENV_FILE_LINE, at, fault.message.to_owned());
                }
                vars
            }
            // Whoever needs a variable of it says so.
            Err(NoText::Missing) => BTreeMap::new(),
            Err(why) => {
                let line = if let NoText::NotUtf8(line) = why { line } else { 1 };
                let message = format!("the .env file {}", why.phrase());
                self.problem_in(&path, codes::ENV_FILE, At { line, column: 1 }, message);
                BTreeMap::new()
            }
        };
        self.jump(mark);
        secret(vars)
    }

    /// Must be called before the sources are closed.
    pub(super) fn dotenv_read(&mut self) -> DotenvRead {
        let found = std::mem::take(&mut self.variables.found);
        let Asked { vars, names: asked, all: all_asked } = std::mem::take(&mut self.asked);
        let vars = match (vars, &found.path) {
            (Some(vars), _) => vars,
            (None, Some(path)) => self.files.look(path).map(|text| secret(dotenv::parse(&text).0)).unwrap_or_default(),
            (None, None) => BTreeMap::new(),
        };
        let shadowed = vars.keys().filter(|name| (self.variables.own)(name).is_some()).cloned().collect();
        DotenvRead { found, vars, shadowed, asked, all_asked }
    }
}

fn secret(vars: BTreeMap<String, String>) -> BTreeMap<String, Secret> {
    vars.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
}
