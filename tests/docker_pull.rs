//! A pull as the caller of `hangar_start` sees it: progress on the way, and what it was in the answer. With a real engine and
//! a registry on loopback; without them the test says so and is skipped.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/gateway.rs"]
mod gateway;

use std::{
    path::Path,
    process::{Command, Output},
};

use engine::Engine;
use gateway::{Gateway, Home, SOON, Value, eventually, json, ms};

/// One of its own: another test's ends whenever that test does.
struct Registry {
    address: String,
}

impl Registry {
    fn start() -> Option<Self> {
        let started = Self::script(&["start", "5057"]);
        if !started.status.success() {
            eprintln!("!!! skipped: no registry. {}", String::from_utf8_lossy(&started.stderr));
            return None;
        }
        Some(Self { address: String::from_utf8_lossy(&started.stdout).trim().to_owned() })
    }

    fn script(arguments: &[&str]) -> Output {
        let cache = std::env::var("HOME").unwrap_or_else(|_| "/tmp".into());
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/containers/local-registry.sh"))
            .args(arguments)
            .env("REGISTRY_DIR", Path::new(&cache).join(".cache/local-registry-of-pulls"))
            .output()
            .unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        Self::script(&["stop"]);
    }
}

/// The image of the test provider with a layer more, of this many bytes that cannot be compressed.
fn enlarged(engine: &Engine, home: &Home, megabytes: usize, repository: &str) {
    let json = |out: Output| serde_json::from_slice::<Value>(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    let body = json!({"Image": engine.image}).to_string();
    let created =
        json(engine.send("POST", "/containers/create", &["-H", "Content-Type: application/json", "-d", &body]));
    let id = created["Id"].as_str().unwrap_or_else(|| panic!("{created}"));
    let make = format!("head -c {megabytes}M /dev/urandom > ballast && tar -cf ballast.tar ballast");
    assert!(Command::new("sh").args(["-c", &make]).current_dir(home.path("run")).status().unwrap().success());
    let tar = home.path("run/ballast.tar").display().to_string();
    let put = ["-H", "Content-Type: application/x-tar", "-T", &tar];
    assert!(engine.send("PUT", &format!("/containers/{id}/archive?path=/"), &put).status.success());
    let committed = json(engine.send("POST", &format!("/commit?container={id}&repo={repository}&tag=v1"), &[]));
    assert!(committed["Id"].is_string(), "{committed}");
    engine.send("DELETE", &format!("/containers/{id}?force=1"), &[]);
}

#[test]
fn a_pull_is_told_while_it_lasts_and_in_the_answer() {
    let Some(engine) = Engine::bring() else { return };
    let Some(registry) = Registry::start() else { return };
    let home = Home::new();
    let repository = format!("{}/hangar-test/large", registry.address);
    enlarged(&engine, &home, 60, &repository);
    let pushed = engine.send("POST", &format!("/images/{repository}/push?tag=v1"), &["-H", "X-Registry-Auth: e30="]);
    assert!(String::from_utf8_lossy(&pushed.stdout).contains("digest"), "{pushed:?}");
    engine.send("DELETE", &format!("/images/{repository}:v1"), &[]);

    let gateway = Gateway::start(&home, &format!("  a: {{mode: docker, image: \"{repository}:v1\"}}\n"));
    let start = |token: Value| {
        let params = json!({"name": "hangar_start", "arguments": {"provider": "a"}, "_meta": {"progressToken": token}});
        gateway.client.send("tools/call", params)
    };
    let call = start(json!("token-1"));
    // Whoever asks meanwhile sees it, too.
    let pulling = eventually("the pull is seen", SOON, || {
        let status = gateway.client.structured("hangar_status", json!({}));
        status["pulling"].as_array().unwrap().first().cloned()
    });
    assert_eq!((&pulling["provider"], &pulling["image"]), (&json!("a"), &json!(format!("{repository}:v1"))));
    let details = gateway.client.structured("hangar_details", json!({"provider": "a"}));
    assert_eq!((&details["pull"]["done"], &details["state"]), (&json!(false), &json!("initializing")), "{details}");

    let answer = call.wait();
    let pull = &answer["result"]["structuredContent"]["pull"];
    assert_eq!((&pull["done"], &pull["image"]), (&json!(true), &json!(format!("{repository}:v1"))), "{answer}");
    assert!(pull["layers"].as_u64().unwrap() >= 2 && pull["layers"] == pull["layers_done"], "{pull}");
    assert!(pull["bytes"].as_u64().unwrap() >= 60_000_000 && pull["bytes"] == pull["bytes_total"], "{pull}");
    assert!(pull["duration_ms"].as_u64().unwrap() > 0, "{pull}");
    let told = gateway.client.messages("notifications/progress");
    let numbers: Vec<u64> = told.iter().map(|m| m["params"]["progress"].as_u64().unwrap()).collect();
    assert!(numbers.len() >= 2 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    for message in &told {
        assert_eq!(message["params"]["progressToken"], "token-1");
        assert!(message["params"]["message"].as_str().unwrap().starts_with("pulling "), "{message}");
        let total = message["params"]["total"].as_u64();
        assert!(total.is_none_or(|total| total >= message["params"]["progress"].as_u64().unwrap()), "{message}");
    }

    // A start that fetches nothing tells nothing.
    gateway.client.structured("hangar_stop", json!({"provider": "a"}));
    let answer = start(json!(2)).wait();
    assert!(answer["result"]["structuredContent"]["pull"].is_null(), "{answer}");
    assert_eq!(gateway.client.messages("notifications/progress").len(), told.len());
    gateway.stop();
    engine.send("DELETE", &format!("/images/{repository}:v1"), &[]);
    engine.assert_none_left(&home, ms(0));
}
