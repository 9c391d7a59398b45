//! What a subprocess finds in its environment, and which file its command names there.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::{
    config::{Environment, InheritEnv, OWN_PROGRAM, ProviderName},
    host::Owner,
    transport::{Marker, TransportError, shim, sweep},
};

/// Sorted, so that the same configuration gives the same environment.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// Passed on from the gateway's own environment (CONTRACT section 8). Proxy variables pass in either case.
const ALLOWED: &[&str] = &[
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    // Bundles of certificate authorities: without them uvx, npx and friends cannot fetch behind a company proxy.
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];
const ALLOWED_PREFIXES: &[&str] = &["LC_", "XDG_"];
const ALLOWED_PROXY: &[&str] = &["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

/// Addressed to the gateway itself by its service manager; harmful in a child even with `inherit_env: true`.
const OWN: &[&str] = &["NOTIFY_SOCKET"];
const OWN_PREFIXES: &[&str] = &["HANGAR_", "LISTEN_", "WATCHDOG_"];

/// Where `execvp` looks when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// `parent`: the gateway's own environment. Later wins: what `.env` adds to it, inherited, `env_files`, `env`, the markers.
pub(super) fn build(
    spec: &Environment,
    parent: impl Iterator<Item = (OsString, OsString)>,
    name: &ProviderName,
    marker: &Marker,
) -> Variables {
    let added = spec.from_dotenv.iter().map(|(key, secret)| (key.into(), secret.expose().into()));
    let inherited = added.chain(parent).filter(|(key, value): &(OsString, OsString)| match &spec.inherit {
        InheritEnv::All => !is_own(key),
        InheritEnv::Names(names) => key.to_str().is_some_and(|k| names.contains(k)) || is_allowed(key, value),
        InheritEnv::AllowListOnly => is_allowed(key, value),
    });
    let mut variables: Variables = inherited.collect();
    let files = spec.env_files.iter().flat_map(|file| &file.vars);
    for (key, secret) in files.chain(&spec.env) {
        variables.insert(key.into(), secret.expose().into());
    }
    let owner = Owner::ours().to_string();
    let markers = [
        (sweep::INSTANCE, &*marker.instance),
        (sweep::GENERATION, &*marker.generation),
        (sweep::PROVIDER, name.as_str()),
        (sweep::OWNER, &*owner),
    ];
    variables.extend(markers.map(|(key, value)| (key.into(), value.into())));
    variables
}

fn is_allowed(key: &OsStr, value: &OsStr) -> bool {
    let Some(key) = key.to_str() else { return false };
    // An exported shell function, as the official SDKs leave out too.
    let function = value.as_bytes().starts_with(b"()");
    let listed = ALLOWED.contains(&key) || ALLOWED_PREFIXES.iter().any(|p| key.starts_with(p));
    (listed || ALLOWED_PROXY.iter().any(|p| p.eq_ignore_ascii_case(key))) && !function
}

fn is_own(key: &OsStr) -> bool {
    key.to_str().is_some_and(|key| OWN.contains(&key) || OWN_PREFIXES.iter().any(|p| key.starts_with(p)))
}

/// The file that `command` means, looked up in the child's own `PATH`; relative places start at `cwd`.
pub(super) fn resolve(command: &str, variables: &Variables, cwd: &Path) -> Result<PathBuf, TransportError> {
    if !cwd.is_dir() {
        return Err(open_error(format!("the working directory {} does not exist", cwd.display())));
    }
    if command == OWN_PROGRAM {
        return shim::own_executable()
            .map_err(|e| open_error(format!("hangar's own program file cannot be found: {e}")));
    }
    if command.contains('/') {
        let file = cwd.join(command);
        return match Candidate::look(&file) {
            Candidate::Program => Ok(file),
            Candidate::NotExecutable => Err(not_executable(&file)),
            Candidate::Absent => Err(open_error(format!("the command {} does not exist", file.display()))),
        };
    }
    let path = variables.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    let mut unfit = None;
    for dir in std::env::split_paths(path) {
        let file = cwd.join(dir).join(command);
        match Candidate::look(&file) {
            Candidate::Program => return Ok(file),
            Candidate::NotExecutable => unfit = unfit.or(Some(file)),
            Candidate::Absent => {}
        }
    }
    Err(unfit.map_or_else(
        || {
            let path = path.to_string_lossy();
            open_error(format!(
                "the command `{command}` was not found; looked in PATH={path} (install it, give its full path, or set PATH in `env`)"
            ))
        },
        |file| not_executable(&file),
    ))
}

enum Candidate {
    Program,
    NotExecutable,
    Absent,
}

impl Candidate {
    fn look(file: &Path) -> Self {
        match std::fs::metadata(file) {
            Ok(meta) if meta.is_file() && access(file, Access::EXEC_OK).is_ok() => Self::Program,
            Ok(meta) if meta.is_file() => Self::NotExecutable,
            Ok(_) | Err(_) => Self::Absent,
        }
    }
}

fn not_executable(file: &Path) -> TransportError {
    open_error(format!("the command {} is not executable (chmod +x?)", file.display()))
}

fn open_error(text: String) -> TransportError {
    TransportError::Open(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{EnvFile, Secret};

    const PARENT: &[(&str, &str)] = &[
        ("PATH", "/bin"),
        ("LC_ALL", "C"),
        ("XDG_CACHE_HOME", "/c"),
        ("https_proxy", "http://p"),
        ("SSL_CERT_FILE", "/ca"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("NOTIFY_SOCKET", "/n"),
        ("LISTEN_FDS", "1"),
        ("WATCHDOG_USEC", "1"),
        ("DOCKER_HOST", "tcp://d"),
        ("HANGAR_PID_FILE", "/p"),
        ("LANG", "() { :; }"),
    ];

    fn build_from(spec: &Environment) -> BTreeMap<String, String> {
        let marker = Marker { instance: "i-1".into(), generation: "g-1".into() };
        let parent = PARENT.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
        let built = build(spec, parent, &ProviderName::new("math").unwrap(), &marker);
        built.into_iter().map(|(k, v)| (k.into_string().unwrap(), v.into_string().unwrap())).collect()
    }

    fn keys(spec: &Environment) -> String {
        build_from(spec).into_keys().filter(|k| PARENT.iter().any(|(p, _)| p == k)).collect::<Vec<_>>().join(" ")
    }

    fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect()
    }

    #[test]
    fn only_the_allow_list_passes_unless_more_is_asked_for() {
        assert_eq!(keys(&Environment::default()), "LC_ALL PATH SSL_CERT_FILE XDG_CACHE_HOME https_proxy");
        let names = InheritEnv::Names(BTreeSet::from(["DOCKER_HOST".to_owned()]));
        let spec = Environment { inherit: names, ..Environment::default() };
        assert_eq!(keys(&spec), "DOCKER_HOST LC_ALL PATH SSL_CERT_FILE XDG_CACHE_HOME https_proxy");
    }

    #[test]
    fn inheriting_all_leaves_out_what_is_addressed_to_the_gateway() {
        let from_dotenv = secrets(&[("DOCKER_HOST", "not mine"), ("HANGAR_PID_FILE", "/x"), ("NEW", "1")]);
        let spec = Environment { inherit: InheritEnv::All, from_dotenv, ..Environment::default() };
        let built = build_from(&spec);
        assert_eq!((&*built["DOCKER_HOST"], &*built["NEW"]), ("tcp://d", "1"));
        assert_eq!(
            keys(&spec),
            "AWS_SECRET_ACCESS_KEY DOCKER_HOST LANG LC_ALL PATH SSL_CERT_FILE XDG_CACHE_HOME https_proxy"
        );
    }

    #[test]
    fn env_wins_over_env_files_and_a_later_file_over_an_earlier() {
        let file = |vars| EnvFile { path: "/f".into(), vars: secrets(vars) };
        let spec = Environment {
            env: secrets(&[("A", "env")]),
            env_files: vec![file(&[("A", "1"), ("B", "1"), ("C", "1")]), file(&[("B", "2"), ("PATH", "/mine")])],
            inherit: InheritEnv::AllowListOnly,
            ..Environment::default()
        };
        let built = build_from(&spec);
        let got =
            ["A", "B", "C", "PATH", "HANGAR_INSTANCE", "HANGAR_GENERATION", "HANGAR_PROVIDER"].map(|k| &*built[k]);
        assert_eq!(got, ["env", "2", "1", "/mine", "i-1", "g-1", "math"]);
    }

    #[test]
    fn a_command_is_looked_up_in_the_childs_path_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = Variables::from([("PATH".into(), dir.path().as_os_str().to_owned())]);
        let text = resolve("sh", &path, Path::new("/")).unwrap_err().to_string();
        assert!(text.contains("`sh` was not found") && text.contains(dir.path().to_str().unwrap()), "{text}");

        std::fs::write(dir.path().join("plain"), "text").unwrap();
        let text = resolve("plain", &path, Path::new("/")).unwrap_err().to_string();
        assert!(text.contains("not executable"), "{text}");

        assert_eq!(resolve("sh", &Variables::new(), Path::new("/")).unwrap(), Path::new("/bin/sh"));
        assert_eq!(resolve("./sh", &path, Path::new("/bin")).unwrap(), Path::new("/bin/./sh"));
        let text = resolve("sh", &path, Path::new("/no/such/place")).unwrap_err().to_string();
        assert!(text.contains("working directory /no/such/place"), "{text}");
    }
}
