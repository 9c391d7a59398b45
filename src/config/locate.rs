//! Where the configuration is.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Problem, codes};

/// `--config` > `$MCP_CONFIG` > `./config.yaml` > `$XDG_CONFIG_HOME/hangar/config.yaml` (`~/.config` where that is not
/// set); the error names every place looked at. A file that was named but is not there is an error: nothing else is tried.
pub fn locate(flag: Option<&Path>) -> Result<PathBuf, Problem> {
    locate_in(flag, &|name| std::env::var_os(name).filter(|value| !value.is_empty()), &Path::exists)
}

fn locate_in(
    flag: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, Problem> {
    let named = match flag {
        Some(path) => Some(("--config", path.to_owned())),
        None => variable("MCP_CONFIG").map(|path| ("$MCP_CONFIG", PathBuf::from(path))),
    };
    if let Some((by, path)) = named {
        let message = format!("there is no such file: {} (named by {by})", path.display());
        return if exists(&path) { Ok(path) } else { Err(missing(message)) };
    }
    let mut places = vec![("./config.yaml", PathBuf::from("config.yaml"))];
    if let Some(dir) = variable("XDG_CONFIG_HOME") {
        places.push(("$XDG_CONFIG_HOME", Path::new(&dir).join("hangar/config.yaml")));
    } else if let Some(home) = variable("HOME") {
        places.push(("~/.config", Path::new(&home).join(".config/hangar/config.yaml")));
    }
    if let Some((_, path)) = places.iter().find(|(_, path)| exists(path)) {
        return Ok(path.clone());
    }
    let looked: Vec<String> = places.iter().map(|(_, path)| path.display().to_string()).collect();
    Err(missing(format!(
        "no configuration found; looked at {} (--config and $MCP_CONFIG are not given)",
        looked.join(", ")
    )))
}

fn missing(message: String) -> Problem {
    let help = "name a file with --config FILE or MCP_CONFIG=FILE".to_owned();
    Problem { code: codes::MISSING_FILE, path: String::new(), place: None, message, help: Some(help) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(flag: Option<&str>, vars: &[(&str, &str)], files: &[&str]) -> Result<PathBuf, Problem> {
        let variable = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        locate_in(flag.map(Path::new), &variable, &|path| files.iter().any(|file| Path::new(file) == path))
    }

    #[test]
    fn the_first_place_that_applies_wins() {
        let vars = [("MCP_CONFIG", "/m.yaml"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        let files = ["/f.yaml", "/m.yaml", "config.yaml", "/x/hangar/config.yaml", "/h/.config/hangar/config.yaml"];
        assert_eq!(look(Some("/f.yaml"), &vars, &files).unwrap(), Path::new("/f.yaml"));
        assert_eq!(look(None, &vars, &files).unwrap(), Path::new("/m.yaml"));
        assert_eq!(look(None, &vars[1..], &files).unwrap(), Path::new("config.yaml"));
        assert_eq!(look(None, &vars[1..], &files[3..]).unwrap(), Path::new("/x/hangar/config.yaml"));
        assert_eq!(look(None, &vars[2..], &files[4..]).unwrap(), Path::new("/h/.config/hangar/config.yaml"));
    }

    #[test]
    fn the_error_names_every_place() {
        let vars = [("XDG_CONFIG_HOME", "/x")];
        let message = look(None, &vars, &[]).unwrap_err().message;
        for place in ["--config", "$MCP_CONFIG", "config.yaml", "/x/hangar/config.yaml"] {
            assert!(message.contains(place), "{message}");
        }
        assert!(look(Some("/f"), &vars, &["config.yaml"]).unwrap_err().message.contains("/f (named by --config)"));
        assert!(look(None, &[("MCP_CONFIG", "/m")], &["config.yaml"]).unwrap_err().message.contains("$MCP_CONFIG"));
    }
}
