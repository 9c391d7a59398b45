//! Which places of this machine a container is never given, however they are named.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{Volume, codes, load::Load, raw::At};

/// Whoever writes there owns the machine, and whoever reads some of it, too. Those marked take everything below them along.
const FORBIDDEN: &[(&str, bool)] = &[
    ("/", false),
    ("/boot", true),
    ("/dev", true),
    ("/etc", false),
    ("/etc/gshadow", true),
    ("/etc/kubernetes", true),
    ("/etc/shadow", true),
    ("/etc/ssh", true),
    ("/etc/ssl/private", true),
    ("/etc/sudoers", true),
    ("/etc/sudoers.d", true),
    ("/proc", true),
    ("/run", false),
    ("/sys", true),
    ("/var", false),
    ("/var/lib", false),
    ("/var/lib/containerd", true),
    ("/var/lib/containers", true),
    ("/var/lib/docker", true),
    ("/var/lib/kubelet", true),
    ("/var/run", false),
];

/// Where people keep their keys, below their home.
const KEYS: &[&str] = &[
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pypirc",
    ".ssh",
];
/// Homes are the directories in these.
const HOMES: &[&str] = &["/home", "/Users"];

/// Where container engines listen.
const SOCKETS: &[&str] = &[
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
];

/// Variables of the gateway.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Refuses volumes that open the machine to the container, and two on one place.
pub(super) fn check(load: &mut Load<'_>, volume: &Volume, others: &[Volume], at: At, machine: bool) {
    let refused = {
        let variable = |name: &str| load.variable_of_gateway(name);
        if machine { refusal(&volume.host, &variable) } else { refused(&volume.host, &variable, false) }
    };
    if let Some(why) = refused {
        load.problem(codes::VOLUME, Some(at), why, Some("mount only the directory that the provider needs".into()));
    }
    if volume.container == Path::new("/") {
        load.problem(codes::VOLUME, Some(at), "the container's root directory cannot be replaced", None);
    } else if others.iter().any(|other| other.container == volume.container) {
        load.problem(codes::VOLUME, Some(at), "another volume has the same place in the container", None);
    }
}

/// Why the absolute path `host` is not given to any container, as this machine is now: links are followed. Asked again
/// before each start, since a link may have been laid meanwhile.
pub fn refusal(host: &Path, variable: Lookup<'_>) -> Option<&'static str> {
    refused(host, variable, false).or_else(|| refused(&resolved(host), variable, true))
}

fn refused(host: &Path, variable: Lookup<'_>, machine: bool) -> Option<&'static str> {
    let listed = |(place, below): &(&str, bool)| host == Path::new(place) || *below && host.starts_with(place);
    if FORBIDDEN.iter().any(listed) {
        Some("this place of the host is never given to a container")
    } else if holds_keys(host, variable, machine) {
        Some("this would give the container keys and credentials of a person")
    } else if opens_engine(host, variable, machine) {
        Some("this would give the container the socket of the container engine, and with it the whole machine")
    } else {
        None
    }
}

fn holds_keys(host: &Path, variable: Lookup<'_>, machine: bool) -> bool {
    let mut homes = vec![PathBuf::from("/root")];
    homes.extend(variable("HOME").map(PathBuf::from).filter(|home| home.is_absolute()));
    for all in HOMES.iter().map(Path::new) {
        homes.extend(host.strip_prefix(all).ok().and_then(|rest| Some(all.join(rest.components().next()?))));
    }
    let mut keys = homes.iter().flat_map(|home| KEYS.iter().map(|key| home.join(key)));
    keys.any(|key| {
        // A home of which they are a part gives them, too.
        let real = if machine { resolved(&key) } else { key };
        host.starts_with(&real) || machine && real.starts_with(host) && real.exists()
    })
}

fn opens_engine(host: &Path, variable: Lookup<'_>, machine: bool) -> bool {
    let mut sockets: Vec<PathBuf> = SOCKETS.iter().map(PathBuf::from).collect();
    let of_user = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    sockets.extend(of_user.iter().flat_map(|dir| [dir.join("docker.sock"), dir.join("podman/podman.sock")]));
    let engine = variable("DOCKER_HOST").and_then(|host| host.into_string().ok());
    sockets.extend(engine.iter().filter_map(|host| host.strip_prefix("unix://")).map(PathBuf::from));
    sockets.iter().any(|socket| {
        let real = if machine { resolved(socket) } else { socket.clone() };
        host == real || machine && real.exists() && real.starts_with(host)
    })
}

/// Symbolic links followed as far as the path exists.
fn resolved(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let Ok(real) = fs::canonicalize(above) {
            return match path.strip_prefix(above) {
                Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
                _ => real,
            };
        }
    }
    path.to_owned()
}
