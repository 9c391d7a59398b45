//! Whether a value can work: refuses what can never start, and what should never be started. Called while the normal form
//! is built, so that all problems of a file come out of one run.
//!
//! A disabled provider is not held against this machine: its command, directories and files may be missing.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Auth, Environment, OWN_PROGRAM, Secret, codes,
    fields::{Fields, Text},
    load::{Load, home_help},
    normalize::{path_of_child, program_path},
    raw::{At, shown},
};

/// The stop of the whole gateway is bounded by 45 s; this leaves some of it for the rest.
pub(super) const LONGEST_STOP: Duration = Duration::from_secs(40);

/// What was found out about programs, so that a thousand providers of one command cost one search.
#[derive(Default)]
pub(super) struct Commands {
    known: HashMap<(String, PathBuf, String), Found>,
    directories: HashMap<PathBuf, bool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Found {
    Runnable,
    NotRunnable,
    Nowhere,
}

impl Commands {
    /// Refuses a program that the child's own PATH does not lead to.
    pub(super) fn check(&mut self, load: &mut Load<'_>, program: &Text, at: At, cwd: &Path, environment: &Environment) {
        let mark = load.enter("command");
        let inner = load.enter_item(0);
        let name = program_shown(program);
        if program.text.trim().is_empty() {
            load.problem(codes::BAD_TEXT, Some(at), "the program's name is empty", None);
        } else {
            let path = path_of_child(load, environment);
            match self.find(&program.text, cwd, &path) {
                Found::Runnable => {}
                Found::NotRunnable => {
                    let message = format!("{name} is there but may not be executed");
                    load.problem(
                        codes::COMMAND_NOT_FOUND,
                        Some(at),
                        message,
                        Some("chmod +x, or run it by its interpreter".into()),
                    );
                }
                Found::Nowhere => {
                    let (message, help) = not_found(&name, &program.text);
                    load.problem(codes::COMMAND_NOT_FOUND, Some(at), message, help);
                }
            }
        }
        load.leave(inner);
        load.leave(mark);
    }

    fn find(&mut self, program: &str, cwd: &Path, path: &str) -> Found {
        // Only relative things depend on the working directory.
        let relative =
            !program.starts_with('/') && (program.contains('/') || path.split(':').any(|dir| !dir.starts_with('/')));
        let place = if relative { cwd.to_owned() } else { PathBuf::new() };
        let key = (program.to_owned(), place, path.to_owned());
        if let Some(found) = self.known.get(&key) {
            return *found;
        }
        let found = match program_path(cwd, program) {
            _ if program == OWN_PROGRAM => Found::Runnable,
            Some(file) => look(&file),
            None => {
                let looks = path.split(':').map(|dir| look(&cwd.join(dir).join(program)));
                looks.fold(Found::Nowhere, |best, next| match (best, next) {
                    (Found::Runnable, _) | (_, Found::Runnable) => Found::Runnable,
                    (Found::NotRunnable, _) | (_, Found::NotRunnable) => Found::NotRunnable,
                    _ => Found::Nowhere,
                })
            }
        };
        self.known.insert(key, found);
        found
    }

    /// Refuses a working directory that is none.
    pub(super) fn cwd(&mut self, load: &mut Load<'_>, path: &Path, typed: &str, at: At) {
        let there = *self.directories.entry(path.to_owned()).or_insert_with(|| path.is_dir());
        if !there {
            let message = if path.exists() { "it is not a directory" } else { "there is no such directory" };
            load.problem_of("cwd", codes::NO_CWD, at, message, home_help(typed));
        }
    }
}

/// Only the first word: a whole command line in one text may go on with a token.
fn program_shown(program: &Text) -> String {
    let first = program.text.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
    let rest = if first.len() < program.text.len() { "…" } else { "" };
    if program.typed { format!("\"{first}{rest}\"") } else { "the program".to_owned() }
}

fn not_found(name: &str, program: &str) -> (String, Option<String>) {
    if program.contains('/') {
        let message = format!("{name} is not there");
        return (
            message,
            home_help(program).or_else(|| Some("a relative path is taken from the provider's `cwd`".into())),
        );
    }
    let help = match program.split_once(char::is_whitespace) {
        Some(_) => "write program and arguments as separate items: [program, argument]",
        None => "install it, write its full path, or set `env: {PATH: ...}` for this provider",
    };
    (format!("{name} is not found on the PATH that the provider gets"), Some(help.into()))
}

fn look(file: &Path) -> Found {
    match fs::metadata(file) {
        Ok(kind) if kind.is_file() => match rustix::fs::access(file, rustix::fs::Access::EXEC_OK) {
            Ok(()) => Found::Runnable,
            Err(_) => Found::NotRunnable,
        },
        _ => Found::Nowhere,
    }
}

/// Headers that the gateway or HTTP itself sets.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The headers by lower-case name; refuses those that are not the user's to set.
pub(super) fn headers(load: &mut Load<'_>, fields: &Fields, auth: &Auth) -> BTreeMap<String, Secret> {
    let sent_by_auth = match auth {
        Auth::None => None,
        Auth::Bearer { .. } | Auth::Basic { .. } => Some("authorization"),
        Auth::ApiKey { header, .. } => Some(header.as_str()),
    };
    if let (Auth::ApiKey { header, .. }, Some(section)) = (auth, fields.section("auth"))
        && OWN_HEADERS.contains(&header.as_str())
        && let Some((_, at)) = section.text("header")
    {
        let mark = load.enter("auth");
        load.problem_of("header", codes::HEADER, at, "this header is set by the gateway itself", None);
        load.leave(mark);
    }
    let mark = load.enter("headers");
    let mut out = BTreeMap::new();
    for (name, at, item) in fields.map("headers") {
        let lower = name.to_ascii_lowercase();
        let Some((value, _)) = item.text() else { continue };
        if OWN_HEADERS.contains(&lower.as_str()) {
            load.problem_of(name, codes::HEADER, *at, "this header is set by the gateway itself", None);
        } else if sent_by_auth == Some(lower.as_str()) {
            load.problem_of(
                name,
                codes::HEADER,
                *at,
                "`auth` sets this header already",
                Some("leave it out in one place".into()),
            );
        } else if out.insert(lower, Secret::new(value.text.as_str())).is_some() {
            load.problem_of(name, codes::HEADER, *at, "the same header twice: upper and lower case are one", None);
        }
    }
    load.leave(mark);
    out
}

/// The endpoint in its one spelling. `None`: reported.
pub(super) fn endpoint(load: &mut Load<'_>, text: &Text, at: At, secretive: bool) -> Option<String> {
    let Ok(url) = reqwest::Url::parse(&text.text) else {
        load.problem(codes::ENDPOINT, Some(at), "this is not a valid URL", None);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let help = "write `auth: {type: basic, username: ..., password: ...}`";
        load.problem(codes::ENDPOINT, Some(at), "credentials do not belong into the URL", Some(help.into()));
    }
    if url.fragment().is_some() {
        load.problem(codes::ENDPOINT, Some(at), "a `#` part is never sent", Some("leave it out".into()));
    }
    let host = url.host_str().unwrap_or_default();
    let near = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if secretive && url.scheme() == "http" && !near {
        load.warn(
            "",
            codes::PLAIN_CREDENTIALS,
            Some(at),
            "credentials are sent unencrypted",
            Some("use https://".into()),
        );
    }
    Some(url.into())
}

/// The patterns of `key`, each known to compile.
pub(super) fn globs(load: &mut Load<'_>, fields: &Fields, key: &str) -> Vec<String> {
    let mark = load.enter(key);
    let mut out = Vec::new();
    for (index, item) in fields.list(key).iter().enumerate() {
        let Some((text, at)) = item.text() else { continue };
        let inner = load.enter_item(index);
        glob(load, text, at);
        load.leave(inner);
        out.push(text.text.clone());
    }
    load.leave(mark);
    out
}

/// Refuses a pattern that does not compile.
pub(super) fn glob(load: &mut Load<'_>, text: &Text, at: At) {
    if text.text != "*"
        && let Err(error) = globset::Glob::new(&text.text)
    {
        load.problem(codes::GLOB, Some(at), format!("not a valid pattern: {}", error.kind()), None);
    }
}

/// The address to listen on.
pub(super) fn host(load: &mut Load<'_>, fields: &Fields) -> Option<String> {
    let (text, at) = fields.text("host")?;
    let host = text.text.as_str();
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let looks_like_one = host.contains(':') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_name = host.split('.').all(|label| {
        let ends = label.starts_with('-') || label.ends_with('-');
        !label.is_empty()
            && label.len() <= 63
            && !ends
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    });
    if !is_address && (looks_like_one || !is_name) {
        let help = host.rsplit_once(':').filter(|(name, port)| !name.contains(':') && port.parse::<u16>().is_ok());
        let help = help.map(|(name, port)| format!("write `host: {}` and `port: {port}`", shown(name)));
        load.problem_of("host", codes::ADDRESS, at, "must be an IP address or a host name, without a port", help);
    }
    Some(host.to_ascii_lowercase())
}
