//! `validate` and `schema`: the configuration without a gateway.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    exit::Exit,
    output::{Colour, Out},
    problems::{self, count},
};
use crate::config::{self, Dotenv, LoadError, Loaded, Problem};

/// Loads the file as `serve` would, and tells all that is wrong with it.
pub(super) fn validate(flag: Option<&Path>, dotenv: Option<&Path>, out: &mut Out) -> anyhow::Result<Exit> {
    let path = match config::locate(flag) {
        Ok(path) => path,
        Err(problem) => return invalid(out, None, std::slice::from_ref(&problem)),
    };
    let dotenv = match Dotenv::locate(dotenv, &path) {
        Ok(dotenv) => dotenv,
        Err(problem) => return invalid(out, Some(&path), std::slice::from_ref(&problem)),
    };
    match config::load_with_dotenv(&path, &dotenv) {
        Ok(loaded) => valid(out, &path, &loaded),
        Err(error) => {
            let LoadError { problems, .. } = *error;
            invalid(out, Some(&path), &problems)
        }
    }
}

/// The schema is JSON by nature.
pub(super) fn schema(out: &mut Out) -> anyhow::Result<Exit> {
    out.document(&config::schema())?;
    Ok(Exit::Ok)
}

fn invalid(out: &mut Out, path: Option<&Path>, found: &[Problem]) -> anyhow::Result<Exit> {
    if out.json {
        out.document(&json!({"valid": false, "config": path, "problems": found, "warnings": []}))?;
    } else {
        problems::print(out, &values(found)?, Colour::Red)?;
        let what = path.map_or("no configuration".to_owned(), |path| format!("{} is not valid", path.display()));
        let verdict = format!("{what}: {}", count(found.len(), "problem"));
        out.line(out.paint(&verdict, Colour::Red))?;
    }
    Ok(Exit::ConfigInvalid)
}

fn valid(out: &mut Out, path: &Path, loaded: &Loaded) -> anyhow::Result<Exit> {
    if out.json {
        out.document(&json!({"valid": true, "config": path, "problems": [], "warnings": loaded.warnings}))?;
        return Ok(Exit::Ok);
    }
    problems::print(out, &values(&loaded.warnings)?, Colour::Yellow)?;
    let providers = &loaded.config.providers;
    let mut verdict = format!("{} is valid: {}", path.display(), count(providers.len(), "provider"));
    let off = providers.values().filter(|spec| !spec.enabled).count();
    if off > 0 {
        verdict += &format!(" ({off} switched off)");
    }
    let others = loaded
        .sources
        .files
        .iter()
        .skip(1)
        .filter(|(path, _)| path.file_name().is_none_or(|name| name != "*.yaml"))
        .count();
    if others > 0 {
        verdict += &format!(", {} it refers to read as well", count(others, "file"));
    }
    if !loaded.warnings.is_empty() {
        verdict += &format!("; {}", count(loaded.warnings.len(), "warning"));
    }
    out.line(out.paint(&verdict, Colour::Green))?;
    Ok(Exit::Ok)
}

fn values(problems: &[Problem]) -> anyhow::Result<Vec<Value>> {
    Ok(problems.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}
