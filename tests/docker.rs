//! Docker mode as a client sees it, with a real engine: what the container is allowed is read back from the engine, and
//! nothing is left when it is over. Without an engine every test here says so and is skipped.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/gateway.rs"]
mod gateway;

use std::{fs, time::Duration, time::Instant};

use engine::Engine;
use gateway::{Gateway, Home, Pending, SOON, Signal, Value, eventually, json, ms, signal};

/// Everything that a failed call says.
fn failure(call: Pending) -> String {
    let answer = call.wait();
    assert!(answer["error"].is_object() || answer["result"]["isError"] == true, "{answer}");
    answer.to_string()
}

fn echo(gateway: &Gateway, provider: &str) {
    assert_eq!(gateway.client.text(&format!("{provider}__echo"), json!({"a": 1})), r#"{"a":1}"#);
}

#[test]
fn a_container_serves_and_what_it_may_is_what_the_engine_says() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    for dir in ["in", "out"] {
        fs::create_dir(home.path("conf").join(dir)).unwrap();
    }
    let keys = r#"env: {API_KEY: hunter2-in-the-env}, volumes: ["./in:/in:ro", "./out:/out"]"#;
    let gateway = Gateway::start(&home, &engine.provider("a", &[], keys));
    assert!(gateway.client.tools().contains(&"a__echo".to_owned()));
    echo(&gateway, "a");
    assert_eq!(gateway.client.text("a__env", json!({"name": "API_KEY"})), "\"hunter2-in-the-env\"");
    assert_eq!(gateway.client.text("a__env", json!({"name": "HANGAR_INSTANCE"})), "null");

    let container = engine.container(&home);
    let (host, config) = (&container["HostConfig"], &container["Config"]);
    assert_eq!(host["NetworkMode"], "none");
    assert_eq!(host["ReadonlyRootfs"], true);
    engine.assert_no_capabilities(&container);
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(512 << 20), &json!(512 << 20)));
    assert_eq!((&host["NanoCpus"], &host["PidsLimit"]), (&json!(1_000_000_000), &json!(128)));
    assert_eq!((&host["AutoRemove"], &host["Init"], &host["Privileged"]), (&json!(true), &json!(true), &json!(false)));
    assert_eq!(host["LogConfig"]["Type"], "none");
    assert!(host["Tmpfs"]["/tmp"].as_str().unwrap().contains("noexec"));
    // Podman has no word for it in its answer; what it is for is shown by `kill_9_of_the_gateway_...`.
    assert_eq!((&config["StdinOnce"], &config["Tty"]), (&json!(!engine.podman), &json!(false)));
    assert_eq!(config["User"], "65534:65534");
    for (label, value) in [("hangar.managed", "true"), ("hangar.provider", "a")] {
        assert_eq!(config["Labels"][label], value);
    }
    assert!(config["Labels"]["hangar.generation"].is_string());
    let mounts: Vec<_> =
        container["Mounts"].as_array().unwrap().iter().map(|m| (&m["Destination"], &m["RW"])).collect();
    assert!(mounts.contains(&(&json!("/in"), &json!(false))) && mounts.contains(&(&json!("/out"), &json!(true))));
    assert_no_argument_says("hunter2-in-the-env");
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());

    let stopping = Instant::now();
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}: its end of stdin was not heard", stopping.elapsed());
}

/// No process on this machine has the text in its command line.
fn assert_no_argument_says(secret: &str) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(secret), "{entry:?}");
    }
}

#[test]
fn each_limit_can_be_moved() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let keys = "network: bridge, read_only: false, user: \"1000:1001\", resources: {memory: 64m, cpu: 0.5, pids: 64}";
    let open = engine.provider("a", &[], keys);
    let own = engine.provider("b", &[], "user: current");
    let gateway = Gateway::start(&home, &format!("{open}{own}"));
    echo(&gateway, "a");
    let container = engine.container(&home);
    let host = &container["HostConfig"];
    assert_eq!((&host["NetworkMode"], &host["ReadonlyRootfs"]), (&json!("bridge"), &json!(false)));
    assert_eq!((&host["Memory"], &host["NanoCpus"]), (&json!(64 << 20), &json!(500_000_000)));
    assert_eq!((&host["PidsLimit"], &container["Config"]["User"]), (&json!(64), &json!("1000:1001")));
    let details = gateway.client.structured("hangar_details", json!({"provider": "a"}));
    assert!(details.to_string().contains(r#""network":"bridge""#), "{details}");
    echo(&gateway, "b");
    let me = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    assert!(engine.containers(&home).iter().any(|c| c["Config"]["User"] == me), "{me}");
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}

#[test]
fn large_messages_and_floods_pass_both_ways() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let gateway = Gateway::start(&home, &engine.provider("a", &["--noise", "50", "--stderr-flood", "3000000"], ""));
    assert_eq!(gateway.client.text("a__big", json!({"bytes": 12_000_000})).len(), 12_000_000);
    let long = "y".repeat(3_000_000);
    assert_eq!(gateway.client.text("a__echo", json!({"long": long})).len(), long.len() + r#"{"long":""}"#.len());
    let calls: Vec<_> = (0..200).map(|i| (i, gateway.client.start_tool("a__echo", json!({"i": i})))).collect();
    for (i, call) in calls {
        assert_eq!(call.wait()["result"]["content"][0]["text"], format!(r#"{{"i":{i}}}"#));
    }
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}

#[test]
fn a_crash_is_told_with_its_code_and_the_next_call_starts_anew() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let gateway = Gateway::start(&home, &engine.provider("a", &[], ""));
    gateway.client.text("a__stderr", json!({"bytes": 100}));
    let text = failure(gateway.client.start_tool("a__exit", json!({"code": 7})));
    assert!(text.contains("exited with code 7"), "{text}");
    engine.assert_none_left(&home, SOON);
    gateway.wait_state("a", "cold");
    echo(&gateway, "a");
    // Somebody removes it by hand.
    let id = engine.container(&home)["Id"].as_str().unwrap().to_owned();
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 60_000}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    engine.send("DELETE", &format!("/containers/{id}?force=1"), &[]);
    let text = failure(call);
    assert!(text.contains("SIGKILL") || text.contains("its container is gone"), "{text}");
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}

#[test]
fn running_out_of_memory_is_told_as_that() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let gateway = Gateway::start(&home, &engine.provider("a", &[], "resources: {memory: 24m}"));
    echo(&gateway, "a");
    let text = failure(gateway.client.start_tool("a__big", json!({"bytes": 300_000_000})));
    assert!(text.contains("memory") && text.contains("24 MiB"), "{text}");
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}

#[test]
fn one_that_ignores_everything_goes_down_the_ladder() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let stubborn = ["--ignore-eof", "--ignore-term"];
    let keys = "stop: {grace_s: 0.5, term_s: 0.5}";
    let providers = engine.provider("a", &stubborn, keys) + &engine.provider("b", &["--ignore-eof"], keys);
    let gateway = Gateway::start(&home, &providers);
    echo(&gateway, "a");
    echo(&gateway, "b");
    // The second one ends in an orderly way at SIGTERM.
    for (name, exit) in [("a", Some("exited with code 137")), ("b", None)] {
        let start = Instant::now();
        gateway.client.structured("hangar_stop", json!({"provider": name}));
        gateway.wait_state(name, "cold");
        assert!(start.elapsed() < Duration::from_secs(6), "{name}: {:?}", start.elapsed());
        if let Some(exit) = exit {
            gateway.wait_for_log(exit);
        }
    }
    engine.assert_none_left(&home, ms(0));
    gateway.stop();
}

#[test]
fn a_reload_from_process_to_container_and_back_leaves_nothing_and_disturbs_nobody() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let neighbour = home.provider("n", &[], "");
    let (process, container) = (home.provider("a", &[], ""), engine.provider("a", &[], ""));
    let gateway = Gateway::start(&home, &format!("{process}{neighbour}"));
    let pid = gateway.client.pid_of("n");
    for _ in 0..2 {
        echo(&gateway, "a");
        let report = gateway.reload(&format!("{container}{neighbour}"));
        assert_eq!(report["providers_updated"], json!(["a"]), "{report}");
        echo(&gateway, "a");
        assert_eq!(engine.containers(&home).len(), 1);
        gateway.reload(&format!("{process}{neighbour}"));
        echo(&gateway, "a");
        engine.assert_none_left(&home, ms(0));
    }
    assert_eq!(gateway.client.pid_of("n"), pid);
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn what_cannot_be_started_says_why_and_leaves_nothing() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let missing = |pull: &str| format!("{{mode: docker, image: \"127.0.0.1:1/no/such:v1\", pull: {pull}}}\n");
    let image = &engine.image;
    let providers = [
        format!("  never: {}", missing("never")),
        format!("  pulled: {}", missing("missing")),
        format!("  entry: {{mode: docker, image: \"{image}\", entrypoint: [/no/such/program]}}\n"),
        format!("  network: {{mode: docker, image: \"{image}\", network: no-such-network}}\n"),
        format!("  volume: {{mode: docker, image: \"{image}\", volumes: [\"./not-there:/x:ro\"]}}\n"),
        engine.provider("code", &["--handshake", "exit:5", "--stderr-flood", "2000"], ""),
        engine.provider("hung", &["--handshake", "hang"], "startup_timeout_s: 2"),
    ];
    let gateway = Gateway::start(&home, &providers.concat());
    let says = [
        ("never", "pull: never"),
        ("pulled", "could not be pulled"),
        // Podman's init starts, and then finds nothing.
        ("entry", if engine.podman { "failed to exec" } else { "/no/such/program" }),
        ("network", "no-such-network"),
        ("volume", "not-there"),
        ("code", "exited with code 5"),
        ("hung", "startup_timeout_s"),
    ];
    let calls =
        says.map(|(name, text)| (name, text, gateway.client.start_tool("hangar_start", json!({"provider": name}))));
    for (name, text, call) in calls {
        let said = failure(call);
        assert!(said.contains(text), "{name}: {said}");
    }
    engine.assert_none_left(&home, Duration::from_secs(5));
    gateway.stop();
}

#[test]
fn a_missing_image_is_pulled_once_and_its_time_is_not_the_starts() {
    let Some(engine) = Engine::bring() else { return };
    let Some(registry) = Registry::start() else { return };
    let home = Home::new();
    let remote = format!("{}/hangar-test/pulled", registry.address);
    let tagged = engine.send("POST", &format!("/images/{}/tag?repo={remote}&tag=v1", engine.image), &[]);
    assert!(tagged.status.success());
    let pushed = engine.send("POST", &format!("/images/{remote}/push?tag=v1"), &["-H", "X-Registry-Auth: e30="]);
    assert!(String::from_utf8_lossy(&pushed.stdout).contains("digest"), "{pushed:?}");
    engine.send("DELETE", &format!("/images/{remote}:v1"), &[]);

    let provider = |pull: &str| format!("  a: {{mode: docker, image: \"{remote}:v1\", pull: {pull}}}\n");
    let gateway = Gateway::start(&home, &provider("missing"));
    echo(&gateway, "a");
    gateway.wait_for_log("image_pull_started");
    gateway.wait_for_log("image_pulled");
    let pulls = || gateway.log().matches("image_pulled").count();
    gateway.client.structured("hangar_stop", json!({"provider": "a"}));
    echo(&gateway, "a");
    assert_eq!(pulls(), 1);
    gateway.reload(&provider("always"));
    echo(&gateway, "a");
    assert_eq!(pulls(), 2);
    gateway.stop();
    engine.send("DELETE", &format!("/images/{remote}:v1"), &[]);
    engine.assert_none_left(&home, ms(0));
}

/// A registry on loopback, for as long as the test runs.
struct Registry {
    address: String,
}

impl Registry {
    /// `None`: there is none to be had here, and that is said.
    fn start() -> Option<Self> {
        let started = engine::script("local-registry.sh", &["start"]);
        if !started.status.success() {
            eprintln!("!!! skipped: no registry. {}", String::from_utf8_lossy(&started.stderr));
            return None;
        }
        Some(Self { address: String::from_utf8_lossy(&started.stdout).trim().to_owned() })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        engine::script("local-registry.sh", &["stop"]);
    }
}

#[test]
fn kill_9_of_the_gateway_leaves_no_container_not_even_a_stubborn_one() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let keys = "stop: {grace_s: 1, term_s: 1}";
    let stubborn = ["--ignore-eof", "--ignore-term"];
    let providers = engine.provider("polite", &[], keys) + &engine.provider("stubborn", &stubborn, keys);
    let mut gateway = Gateway::start(&home, &providers);
    echo(&gateway, "polite");
    echo(&gateway, "stubborn");
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    // 2 s of ladder, 1 s on top; the machine may be busy.
    engine.assert_none_left(&home, Duration::from_secs(10));
}

#[test]
fn what_a_killed_keeper_leaves_is_swept_by_the_next_gateway_and_a_neighbours_is_not() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &engine.provider("stubborn", &["--ignore-eof"], ""));
    echo(&gateway, "stubborn");
    let name = engine.container(&home)["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let neighbour = Gateway::start(&home, &engine.provider("polite", &[], ""));
    echo(&neighbour, "polite");
    for keeper in keepers(&name) {
        signal(keeper, Signal::KILL);
    }
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    let providers = || -> Vec<Value> {
        engine.containers(&home).iter().map(|c| c["Config"]["Labels"]["hangar.provider"].clone()).collect()
    };
    assert_eq!(providers().len(), 2);
    let next = Gateway::start(&home, "");
    eventually("the stubborn one is swept and the neighbour's is not", SOON, || {
        (providers() == [json!("polite")]).then_some(())
    });
    echo(&neighbour, "polite");
    next.stop();
    neighbour.stop();
    engine.assert_none_left(&home, ms(0));
}

/// The processes that keep the container of this name; one.
fn keepers(container: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let keeps = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("hangar\0__keeper") && line.contains(container)
    };
    let found: Vec<u32> = pids.filter(keeps).collect();
    assert_eq!(found.len(), 1, "{container}");
    found
}

#[test]
fn a_start_that_is_called_off_or_killed_at_any_moment_leaves_no_container() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let gateway = Gateway::start(&home, &engine.provider("a", &[], ""));
    for round in 0..6 {
        let call = gateway.client.start_tool("hangar_start", json!({"provider": "a"}));
        eventually("it starts", SOON, || (gateway.state("a") != "cold").then_some(()));
        std::thread::sleep(ms(round * 30));
        gateway.client.tool("hangar_stop", json!({"provider": "a"}));
        call.wait();
        gateway.wait_state("a", "cold");
        // A start that was called off is over at once; what had been born by then is being ended.
        engine.assert_none_left(&home, SOON);
    }
    gateway.stop();
    for round in 0..5 {
        let mut gateway = Gateway::again(&home);
        gateway.client.start_tool("hangar_start", json!({"provider": "a"}));
        std::thread::sleep(ms(round * 70));
        gateway.signal(Signal::KILL);
        gateway.wait_exit(SOON);
    }
    engine.assert_none_left(&home, Duration::from_secs(10));
}
