//! A subprocess provider whose command is `docker run ...`: its container is no process of ours, and is gone with it all the
//! same. With a real engine and its own command line tool; without them every test here says so and is skipped.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/gateway.rs"]
mod gateway;

use std::{process::Command, time::Duration};

use engine::Engine;
use gateway::{Gateway, Home, SOON, Signal, eventually, json, ms, processes::parent, signal};

const STUBBORN: [&str; 2] = ["--ignore-eof", "--ignore-term"];

/// The command line tool of the engine: Podman's is told where its service is.
fn tool(engine: &Engine) -> Vec<String> {
    let url = || format!("unix://{}", engine::socket());
    if engine.podman { vec!["podman".into(), "--url".into(), url()] } else { vec!["docker".into()] }
}

/// The engine, where the tool is there as well.
fn bring() -> Option<Engine> {
    let engine = Engine::bring()?;
    let (tool, demanded) = (tool(&engine), std::env::var("HANGAR_TEST_DOCKER").is_ok());
    let there = Command::new(&tool[0]).args(&tool[1..]).arg("version").output().is_ok_and(|out| out.status.success());
    assert!(there || !demanded, "HANGAR_TEST_DOCKER=1, and there is no command {tool:?}");
    if !there {
        eprintln!("!!! skipped: there is no command {tool:?}");
    }
    there.then_some(engine)
}

/// One line of YAML: `docker GLOBALS run OPTIONS IMAGE ARGS`.
fn provider(engine: &Engine, name: &str, words: [&[&str]; 3]) -> String {
    let [globals, options, args] = words;
    let tool = tool(engine);
    let tool: Vec<&str> = tool.iter().map(String::as_str).collect();
    let own = ["--name", name, "--lifetime", "120"];
    let argv = [&tool, globals, &["run", "-i"], options, &[engine.image.as_str()], &own, args].concat();
    format!("  {name}: {{command: {}, stop: {{grace_s: 0.7, term_s: 0.7}}}}\n", json!(argv))
}

fn echo(gateway: &Gateway, provider: &str) {
    assert_eq!(gateway.client.text(&format!("{provider}__echo"), json!({"a": 1})), r#"{"a":1}"#);
}

#[test]
fn it_bears_labels_an_init_and_a_name_and_is_gone_after_every_kind_of_end() {
    let Some(engine) = bring() else { return };
    let home = Home::new();
    // Neither is removed by the engine: the second one lacks `--rm`, and that is cleared away, too.
    let providers = provider(&engine, "a", [&[], &["--rm", "--network", "none"], &STUBBORN])
        + &provider(
            &engine,
            "b",
            [&["--log-level", "error"], &["--name", &format!("own-{}", std::process::id())], &[]],
        );
    let gateway = Gateway::start(&home, &providers);
    echo(&gateway, "a");
    let container = engine.container(&home);
    let labels = &container["Config"]["Labels"];
    assert_eq!((&labels["hangar.managed"], &labels["hangar.provider"]), (&json!("true"), &json!("a")));
    assert!(labels["hangar.owner"].is_string() && labels["hangar.generation"].is_string());
    assert_eq!(
        (&container["HostConfig"]["Init"], &container["HostConfig"]["NetworkMode"]),
        (&json!(true), &json!("none"))
    );
    assert!(container["Name"].as_str().unwrap().starts_with("/hangar-a-"), "{}", container["Name"]);
    echo(&gateway, "b");
    assert!(engine.containers(&home).iter().any(|c| c["Name"].as_str().unwrap().starts_with("/own-")));
    for name in ["a", "b"] {
        gateway.client.structured("hangar_stop", json!({"provider": name}));
        gateway.wait_state(name, "cold");
    }
    engine.assert_none_left(&home, ms(0));
    // It ends by itself in mid-call.
    echo(&gateway, "b");
    gateway.client.start_tool("b__exit", json!({"code": 3})).wait();
    engine.assert_none_left(&home, SOON);
    echo(&gateway, "a");
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}

#[test]
fn kill_9_of_the_gateway_leaves_none_not_even_a_stubborn_one() {
    let Some(engine) = bring() else { return };
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &provider(&engine, "a", [&[], &["--rm"], &STUBBORN]));
    echo(&gateway, "a");
    assert_eq!(engine.containers(&home).len(), 1);
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    engine.assert_none_left(&home, Duration::from_secs(10));
    home.assert_nothing_left(SOON);
}

#[test]
fn a_killed_shim_leaves_none_and_what_shim_and_gateway_leave_is_swept() {
    let Some(engine) = bring() else { return };
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &provider(&engine, "a", [&[], &["--rm"], &STUBBORN]));
    echo(&gateway, "a");
    let shim = |gateway: &Gateway| {
        parent(gateway.client.structured("hangar_details", json!({"provider": "a"}))["pid"].as_u64().unwrap() as u32)
    };
    signal(shim(&gateway), Signal::KILL);
    engine.assert_none_left(&home, Duration::from_secs(10));
    gateway.wait_state("a", "cold");
    echo(&gateway, "a");
    let shim = shim(&gateway);
    gateway.signal(Signal::STOP);
    signal(shim, Signal::KILL);
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    std::thread::sleep(ms(500));
    assert_eq!(engine.containers(&home).len(), 1, "nobody was left to end it");
    let next = Gateway::start(&home, "");
    engine.assert_none_left(&home, SOON);
    eventually("it is told", SOON, || next.log().contains("container_swept").then_some(()));
    next.stop();
}
