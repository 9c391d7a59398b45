//! A container engine for the tests, brought by the tests: `integration/containers/` has the scripts. What is asked of it is
//! asked with curl, so that the gateway's own client is not its own witness.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use crate::gateway::{Home, PROVIDER, eventually};

pub struct Engine {
    /// The test provider as an image; its entrypoint.
    pub image: String,
    /// It is Podman, which says some things in its own way.
    pub podman: bool,
}

impl Engine {
    /// `None`: there is no engine, and that is said. With `CI=true` or `HANGAR_TEST_DOCKER=1` one is installed and started;
    /// with the latter it has to be there.
    pub fn bring() -> Option<Self> {
        let set = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
        let demanded = set("HANGAR_TEST_DOCKER", "1");
        let arguments: &[&str] = if demanded || set("CI", "true") { &[] } else { &["--check"] };
        let ensured = script("ensure-docker.sh", arguments);
        if !ensured.status.success() {
            let why = String::from_utf8_lossy(&ensured.stderr).into_owned();
            assert!(!demanded, "HANGAR_TEST_DOCKER=1, and there is no engine: {why}");
            eprintln!("!!! skipped: no engine (HANGAR_TEST_DOCKER=1 installs and starts one). {why}");
            return None;
        }
        let image = import("provider", &[PROVIDER]);
        let mut engine = Self { image, podman: false };
        engine.podman = engine.get("/version").to_string().contains("Podman Engine");
        Some(engine)
    }

    /// One line of YAML: the test provider in a container. `keys`: more of the provider's keys.
    pub fn provider(&self, name: &str, args: &[&str], keys: &str) -> String {
        let own = ["--name", name, "--lifetime", "120"];
        let argv: Vec<&str> = own.into_iter().chain(args.iter().copied()).collect();
        let stop = if keys.contains("stop:") { "" } else { "stop: {grace_s: 1, term_s: 0.5}, " };
        let (image, argv) = (&self.image, serde_json::json!(argv));
        format!("  {name}: {{mode: docker, image: \"{image}\", command: {argv}, {stop}{keys}}}\n")
    }

    /// What the engine says; null when there is no such thing.
    pub fn get(&self, path: &str) -> Value {
        let out = self.curl(path, &[]);
        assert!(out.status.success(), "{path}: {out:?}");
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    pub fn send(&self, method: &str, path: &str, more: &[&str]) -> Output {
        self.curl(path, &[&["-X", method], more].concat())
    }

    fn curl(&self, path: &str, more: &[&str]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-g", "-m", "60", "--unix-socket"]).arg(socket()).args(more).arg(format!("http://d{path}"));
        curl.output().expect("curl runs")
    }

    /// Full descriptions of all containers of the gateways of a home, running or not.
    pub fn containers(&self, home: &Home) -> Vec<Value> {
        let instance = fs::read_to_string(home.path("state/hangar/instance")).unwrap_or_default();
        let label = format!("hangar.instance={}", instance.trim());
        let filters = format!("%7B%22label%22%3A%5B%22{label}%22%5D%7D");
        let list = self.get(&format!("/containers/json?all=1&filters={filters}"));
        let ids =
            list.as_array().unwrap_or_else(|| panic!("{list}")).iter().map(|c| c["Id"].as_str().unwrap().to_owned());
        // One that is removed between the two questions is gone.
        ids.map(|id| self.get(&format!("/containers/{id}/json"))).filter(|c| c["Id"].is_string()).collect()
    }

    /// The one container that there is.
    pub fn container(&self, home: &Home) -> Value {
        let mut found = self.containers(home);
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    /// Podman does not repeat what it was asked, but lists what was taken away and what is left.
    pub fn assert_no_capabilities(&self, container: &Value) {
        if self.podman {
            assert!(container["EffectiveCaps"].as_array().is_none_or(Vec::is_empty), "{}", container["EffectiveCaps"]);
        } else {
            assert_eq!(container["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]));
        }
    }

    pub fn assert_none_left(&self, home: &Home, within: Duration) {
        eventually("no container is left", within, || self.containers(home).is_empty().then_some(()));
    }
}

/// An image of nothing but these binaries, the first of which is its entrypoint, and their libraries.
pub fn import(name: &str, binaries: &[&str]) -> String {
    // One name per build tree, so that a new build replaces the image of the one before.
    let mut hasher = DefaultHasher::new();
    binaries.hash(&mut hasher);
    let image = format!("localhost/hangar-test/{name}:{:016x}", hasher.finish());
    let built = script("build-test-image.sh", &["import", &binaries.join(","), &image]);
    assert!(built.status.success(), "{built:?}");
    image
}

/// Where the engine of the tests listens.
pub fn socket() -> String {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

pub fn script(name: &str, arguments: &[&str]) -> Output {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/containers").join(name);
    Command::new(path).args(arguments).output().expect("the script runs")
}
