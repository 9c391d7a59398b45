//! The configuration by the gateway's own validator, which also looks for every command.

use std::path::PathBuf;

use super::finding::{Finding, Verdict};
use crate::{
    cli::{args::ConfigFile, problems::count},
    config::{self, Config, Dotenv, Launch, LoadError, Problem},
};

const CHECK: &str = "configuration";
const COMMANDS: &str = "commands";
/// The validator's word for a command that is not there, or may not be run.
const COMMAND_NOT_FOUND: &str = "HGR0303";

/// What the other checks go by.
#[derive(Default)]
pub(super) struct Checked {
    pub path: Option<PathBuf>,
    /// `None`: it is not valid.
    pub config: Option<Config>,
}

pub(super) fn check(typed: &ConfigFile) -> (Vec<Finding>, Checked) {
    let path = match config::locate(typed.as_deref()) {
        Ok(path) => path,
        Err(problem) => return (vec![told(&problem)], Checked::default()),
    };
    let dotenv = match Dotenv::locate(typed.dotenv_path(), &path) {
        Ok(dotenv) => dotenv,
        Err(problem) => return (vec![told(&problem)], Checked { path: Some(path), config: None }),
    };
    match config::load_with_dotenv(&path, &dotenv) {
        Ok(loaded) => {
            let providers = loaded.config.providers.values();
            let message = format!("{} is valid: {}", path.display(), count(providers.len(), "provider"));
            let mut findings = vec![Finding::ok(CHECK, message)];
            findings.extend(loaded.warnings.iter().map(|warning| Finding { verdict: Verdict::Note, ..told(warning) }));
            let commands =
                providers.filter(|spec| spec.enabled && matches!(spec.launch, Launch::Subprocess(_))).count();
            if commands > 0 {
                let message = format!("{}, each found and executable", count(commands, "command"));
                findings.push(Finding::ok(COMMANDS, message));
            }
            (findings, Checked { path: Some(path), config: Some(loaded.config) })
        }
        Err(error) => {
            let LoadError { problems, .. } = *error;
            (problems.iter().map(told).collect(), Checked { path: Some(path), config: None })
        }
    }
}

fn told(problem: &Problem) -> Finding {
    let check = if problem.code == COMMAND_NOT_FOUND { COMMANDS } else { CHECK };
    let message = Problem { help: None, ..problem.clone() }.to_string();
    Finding { check, verdict: Verdict::Found, message, help: problem.help.clone() }
}
