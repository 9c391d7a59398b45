//! Running containers that offer themselves, with a real engine. Without one every test here says so and is skipped.

use std::time::Instant;

use crate::{
    engine::{Engine, import},
    gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json, ms},
};

const DOCKER: &str = "discovery: {docker: {enabled: true}}\n";

/// One container of the test remote; gone when dropped.
struct Container<'e> {
    engine: &'e Engine,
    name: String,
}

impl<'e> Container<'e> {
    fn start(engine: &'e Engine, home: &Home, name: &str, labels: Value) -> Self {
        let image = import("remote", &[env!("CARGO_BIN_EXE_hangar-test-remote")]);
        let of_home = home.path("").file_name().unwrap().to_string_lossy().into_owned();
        let name = format!("{of_home}-{name}");
        let body = json!({
            "Image": image, "Cmd": ["--bind", "0.0.0.0:7000"], "OpenStdin": true, "Labels": labels,
            "HostConfig": {"AutoRemove": true},
        });
        let (path, body) = (format!("/containers/create?name={name}"), body.to_string());
        let made = engine.send("POST", &path, &["-H", "Content-Type: application/json", "-d", &body]);
        assert!(String::from_utf8_lossy(&made.stdout).contains("\"Id\""), "{made:?}");
        let container = Self { engine, name };
        engine.send("POST", &format!("/containers/{}/start", container.name), &[]);
        container
    }

    fn owner(&self) -> String {
        format!("docker:{}", self.name)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.engine.send("DELETE", &format!("/containers/{}?force=1", self.name), &[]);
    }
}

/// The engine is everybody's, and so are the names of what its containers offer.
fn own(home: &Home, name: &str) -> String {
    let root = home.path("");
    let suffix: String = root.to_string_lossy().chars().rev().filter(char::is_ascii_alphanumeric).take(6).collect();
    format!("{name}-{suffix}")
}

fn labels(name: &str) -> Value {
    json!({"hangar.provider.name": name, "hangar.provider.port": "7000"})
}

fn gateway(home: &std::sync::Arc<Home>, more: &str) -> Gateway {
    home.put(&(config(&home.provider("a", &[], ""), &format!("{UNWATCHED}{DOCKER}")) + more));
    Gateway::again(home)
}

fn discovery(gateway: &Gateway) -> Value {
    gateway.client.structured("hangar_status", json!({}))["docker_discovery"].take()
}

#[test]
fn a_container_comes_serves_and_goes_and_no_reload_removes_it() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let gateway = gateway(&home, "");
    let box_name = own(&home, "box");
    let prefix = format!("{box_name}__");
    eventually("the engine has been asked", SOON, || discovery(&gateway)["refused"].is_object().then_some(()));
    let began = Instant::now();
    let mut said = labels(&box_name);
    said["hangar.provider.description"] = json!("in a box");
    said["hangar.provider.call_timeout_s"] = json!("7");
    let container = Container::start(&engine, &home, "one", said);
    gateway.wait_state(&box_name, "cold");
    assert!(began.elapsed() < ms(10_000), "found {:?} after its container was asked for", began.elapsed());
    assert_eq!(gateway.provider(&box_name)["owner"], container.owner());
    assert_eq!(gateway.provider(&box_name)["description"], "in a box");
    let details = gateway.client.structured("hangar_details", json!({"provider": box_name}));
    assert_eq!(details["settings"]["call_timeout_s"], 7.0);
    assert!(gateway.client.tools().iter().any(|tool| tool.starts_with(&prefix)), "{:?}", gateway.client.tools());
    assert_eq!(gateway.state(&box_name), "ready");

    let other = config(&home.provider("b", &[], ""), &format!("{UNWATCHED}{DOCKER}"));
    let report = gateway.reload_to(&other, json!({}));
    assert_eq!((&report["providers_added"], &report["providers_removed"]), (&json!(["b"]), &json!(["a"])));
    assert_eq!(gateway.state(&box_name), "ready", "it was not touched");
    let refused = gateway.client.tool("hangar_unload", json!({"provider": box_name}));
    assert!(refused["structuredContent"]["message"].as_str().unwrap().contains("the container "), "{refused}");
    // The file may not take its name.
    let taken = config(&home.provider(&box_name, &[], ""), &format!("{UNWATCHED}{DOCKER}"));
    let report = gateway.reload_to(&taken, json!({}));
    assert_eq!(report["problems"][0]["code"], "HGR0802", "{report}");
    assert!(report["problems"][0]["message"].as_str().unwrap().contains(&container.name), "{report}");

    let began = Instant::now();
    drop(container);
    gateway.wait_state(&box_name, "gone");
    assert!(began.elapsed() < ms(8000), "{:?}", began.elapsed());
    assert!(!gateway.client.tools().iter().any(|tool| tool.starts_with(&prefix)));
    gateway.stop();
}

#[test]
fn what_labels_may_not_say_is_refused_and_told() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let gateway = gateway(&home, &format!("catalog:\n{}", home.provider("kept", &[], "")));
    let twice = own(&home, "twice");
    let mut command = labels(&own(&home, "sneak"));
    command["hangar.provider.command"] = json!("sh");
    let mut reference = labels(&own(&home, "leak"));
    reference["hangar.provider.description"] = json!("${file:/etc/passwd}");
    let first = Container::start(&engine, &home, "0first", labels(&twice));
    gateway.wait_state(&twice, "cold");
    let cases = [
        (Container::start(&engine, &home, "command", command), "command is no label that is taken"),
        (Container::start(&engine, &home, "reference", reference), "holds a reference"),
        (Container::start(&engine, &home, "config", labels("a")), "\"a\" belongs to the configuration file"),
        (Container::start(&engine, &home, "catalog", labels("kept_")), "\"kept\" belongs to the configuration file"),
        (Container::start(&engine, &home, "0before", labels(&twice)), " belongs to the container "),
    ];
    for (container, says) in &cases {
        eventually(says, SOON, || {
            let told = discovery(&gateway)["refused"][&container.name].as_str().unwrap_or_default().to_owned();
            told.contains(says).then_some(())
        });
    }
    assert_eq!(gateway.provider("a")["owner"], "config");
    assert_eq!(gateway.provider(&twice)["owner"], first.owner());
    for name in [&own(&home, "sneak"), &own(&home, "leak"), "kept", "kept_"] {
        assert_eq!(gateway.state(name), "gone", "{name}");
    }
    assert!(gateway.log().contains("container_refused"));
    // A name that becomes free is given to who waits for it.
    drop(first);
    eventually("the second has the name", SOON, || {
        (gateway.provider(&twice)["owner"] == cases[4].0.owner()).then_some(())
    });
    gateway.stop();
}

#[test]
fn nothing_is_looked_for_until_it_is_switched_on_and_an_engine_that_is_away_is_told() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    let gateway = Gateway::again(&home);
    let name = own(&home, "box");
    let container = Container::start(&engine, &home, "one", labels(&name));
    crate::gateway::holds_for("nothing is found", ms(1500), || gateway.state(&name) == "gone");
    assert_eq!(discovery(&gateway), Value::Null);
    let on = config(&home.provider("a", &[], ""), &format!("{UNWATCHED}{DOCKER}"));
    assert_eq!(gateway.reload_to(&on, json!({}))["settings_updated"], json!(["discovery"]));
    gateway.wait_state(&name, "cold");
    // On a network that it is not on: refused, and out of force.
    let elsewhere = on.replace("enabled: true", "enabled: true, network: nowhere");
    gateway.reload_to(&elsewhere, json!({}));
    gateway.wait_state(&name, "gone");
    assert!(
        discovery(&gateway)["refused"][&container.name].as_str().unwrap().contains("no address on network nowhere")
    );
    gateway.reload_to(&on, json!({}));
    gateway.wait_state(&name, "cold");
    gateway.reload_to(&config(&home.provider("a", &[], ""), UNWATCHED), json!({}));
    gateway.wait_state(&name, "gone");
    gateway.stop();

    home.put(&on);
    let nowhere = [("DOCKER_HOST", "unix:///no/such/socket")];
    let gateway = Gateway::spawn_in(&home, &home.config(), &[], &nowhere);
    gateway.client.initialize(json!({}));
    eventually("it is told", SOON, || discovery(&gateway)["engine_error"].is_string().then_some(()));
    gateway.wait_for_log("container_engine_away");
    assert_eq!(gateway.state("a"), "cold");
    gateway.stop();
}
