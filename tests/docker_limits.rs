//! What a container may beyond the safe defaults is moved key by key, read back from the engine, and told; and some places of
//! the host are given to none. With a real engine; without one the tests that need it say so and are skipped.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/gateway.rs"]
mod gateway;

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Output},
};

use engine::Engine;
use gateway::{Gateway, Home, UNWATCHED, config, json, ms};

#[test]
fn each_default_is_relaxed_alone_and_the_list_of_it_is_told() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    fs::create_dir(home.path("conf/out")).unwrap();
    // Key, how the container differs from one of defaults, what is told.
    let capabilities = (
        "cap_add: [CAP_NET_RAW, NET_ADMIN]",
        "CapAdd",
        json!(["NET_ADMIN", "NET_RAW"]),
        "cap_add: [NET_ADMIN, NET_RAW]",
    );
    let unlimited = "resources: {memory: 0, cpu: 0, pids: 0}";
    let cases = [
        ("network: bridge", "NetworkMode", json!("bridge"), "network: bridge"),
        ("read_only: false", "ReadonlyRootfs", json!(false), "read_only: false"),
        ("tmpfs: 1g", "Tmpfs", json!({"/tmp": "rw,noexec,nosuid,nodev,mode=1777,size=1073741824"}), "tmpfs: 1g"),
        capabilities,
        ("no_new_privileges: false", "SecurityOpt", json!(null), "no_new_privileges: false"),
        ("init: false", "Init", json!(false), "init: false"),
        (unlimited, "Memory", json!(0), "resources.memory: 0 (unlimited)"),
        ("resources: {cpu: 2}", "NanoCpus", json!(2_000_000_000), "resources.cpu: 2"),
        ("resources: {pids: 500}", "PidsLimit", json!(500), "resources.pids: 500"),
    ];
    let default = engine.provider("plain", &[], "");
    let lines = cases.iter().enumerate().map(|(i, (key, ..))| engine.provider(&format!("p{i}"), &[], key));
    let gateway = Gateway::start(&home, &(default + &lines.collect::<String>()));
    let start = |name: &str| {
        gateway.client.structured("hangar_start", json!({"provider": name}));
        let found = engine.containers(&home).into_iter().find(|c| c["Config"]["Labels"]["hangar.provider"] == name);
        gateway.client.structured("hangar_stop", json!({"provider": name}));
        found.unwrap_or_else(|| panic!("no container of {name}"))["HostConfig"].take()
    };
    let relaxed =
        |name: &str| gateway.client.structured("hangar_details", json!({"provider": name}))["launch"]["relaxed"].take();
    let plain = start("plain");
    assert_eq!(relaxed("plain"), json!([]));
    let looked_at =
        ["NetworkMode", "ReadonlyRootfs", "Tmpfs", "CapAdd", "SecurityOpt", "Init", "Memory", "NanoCpus", "PidsLimit"];
    for (i, (key, field, value, told)) in cases.iter().enumerate() {
        let name = format!("p{i}");
        let host = start(&name);
        assert_eq!(host[*field], *value, "{key}");
        let told_of = relaxed(&name);
        assert!(told_of.as_array().unwrap().contains(&json!(told)), "{key}: {told_of}");
        assert!(*key == unlimited || told_of.as_array().unwrap().len() == 1, "{key}: {told_of}");
        // A `/tmp` of its own belongs to a read-only root; the rest stays as it was.
        for other in looked_at.iter().filter(|other| *other != field && *key != unlimited) {
            assert!(
                host[*other] == plain[*other] || *key == "read_only: false",
                "{key} moved {other}: {}",
                host[*other]
            );
        }
    }
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}

#[test]
fn the_api_tells_the_same_list() {
    let home = Home::new();
    let provider = "  a: {mode: docker, image: x, network: host, user: \"0:0\", inherit_env: true}\n";
    let (_gateway, address) = Gateway::over_http(&home, provider);
    let url = format!("http://{address}/api/providers/a");
    let out = Command::new("curl").args(["-sS", "-m", "10", &url]).output().unwrap();
    let body: gateway::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(body["launch"]["relaxed"], json!(["network: host", "user: 0:0 (root)", "inherit_env: true"]), "{body}");
}

fn validate(home: &Home, volume: &str) -> Output {
    home.put(&config(&format!("  a: {{mode: docker, image: x, volumes: [\"{volume}\"]}}\n"), UNWATCHED));
    Command::new(env!("CARGO_BIN_EXE_hangar"))
        .args(["validate", "--config"])
        .arg(home.config())
        .env("HOME", home.path("people/me"))
        .env("DOCKER_HOST", format!("unix://{}", home.path("run/engine/own.sock").display()))
        .output()
        .unwrap()
}

#[test]
fn keys_engines_and_the_system_are_given_to_none_however_they_are_named() {
    let home = Home::new();
    for dir in ["people/me/.ssh", "people/me/.config/gcloud", "people/me/work/.docker", "conf/data", "run/engine"] {
        fs::create_dir_all(home.path(dir)).unwrap();
    }
    fs::write(home.path("run/engine/own.sock"), "").unwrap();
    let link = |to: &str, name: &str| symlink(to, home.path("conf").join(name)).unwrap();
    link("../people/me/.ssh", "keys");
    link("../people/me", "me");
    link("/", "root");
    link("/proc/self", "self");
    link("/etc", "etc");
    link("../run/engine", "engine");
    link("data", "fine");
    let absolute = |name: &str| home.path(name).display().to_string();
    let refused = [
        ("./keys:/x:ro".to_owned(), "keys and credentials"),
        ("./me:/x:ro".to_owned(), "keys and credentials"),
        ("./me/.kube/config:/x".to_owned(), "keys and credentials"),
        ("../people:/x".to_owned(), "keys and credentials"),
        (absolute("people/me/.config/gcloud") + ":/x", "keys and credentials"),
        ("/home/somebody/.gnupg/private:/x:ro".to_owned(), "keys and credentials"),
        ("./root:/x".to_owned(), "never given"),
        ("./root/etc:/x".to_owned(), "never given"),
        ("./self/fd:/x".to_owned(), "never given"),
        ("./data/../etc:/x".to_owned(), "never given"),
        ("./etc/ssh/keys:/x:ro".to_owned(), "never given"),
        ("/sys/fs/cgroup:/x".to_owned(), "never given"),
        ("./engine:/x".to_owned(), "socket of the container engine"),
        ("./engine/own.sock:/x".to_owned(), "socket of the container engine"),
    ];
    for (volume, says) in &refused {
        let out = validate(&home, volume);
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(3) && text.contains(says), "{volume}: {:?} {text}", out.status);
    }
    // A project may have a `.docker` of its own; a relative path begins where the file is.
    for volume in ["./data:/x", "./fine:/x:ro", "../people/me/work/.docker:/x", "./not/yet/there:/x:ro"] {
        let out = validate(&home, volume);
        assert_eq!(out.status.code(), Some(0), "{volume}: {}", String::from_utf8_lossy(&out.stdout));
    }
}

#[test]
fn a_link_that_is_laid_after_the_file_was_read_is_refused_at_the_start() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    fs::create_dir(home.path("conf/data")).unwrap();
    let gateway = Gateway::start(&home, &engine.provider("a", &[], "volumes: [\"./data:/data:ro\"]"));
    gateway.client.structured("hangar_start", json!({"provider": "a"}));
    gateway.client.structured("hangar_stop", json!({"provider": "a"}));
    fs::remove_dir(home.path("conf/data")).unwrap();
    symlink("/etc", home.path("conf/data")).unwrap();
    let answer = gateway.client.start_tool("hangar_start", json!({"provider": "a"})).wait().to_string();
    assert!(answer.contains("conf/data is refused: this place of the host"), "{answer}");
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}
