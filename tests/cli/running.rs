//! Commands against real gateways, started with `hangar serve` and found as a user's shell would find them.

use std::{io::Write, os::unix::fs::PermissionsExt, process::Stdio};

use serde_json::{Value, json};

use super::rig::{Done, Place, TWO};

const THREE: &str = "\
providers:
  math: {command: [hangar, demo-server, math], description: Arithmetic, idle_ttl_s: 7}
  clock: {command: [hangar, demo-server, clock]}
config_reload: {enabled: false}
server: {port: 8001}
";

#[test]
fn status_tells_who_where_and_how() {
    let place = Place::new(TWO);
    let gateway = place.serve();
    let status = place.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["pid"], &status["transport"]), (&json!(gateway.pid()), &json!("http")));
    assert_eq!((&status["providers"]["total"], &status["generation"]), (&json!(2), &json!(1)));
    let address = status["address"].as_str().expect("an address").to_owned();
    let text = place.run(&["status"]).exits(0);
    let text =
        text.says(&[&format!("pid {}", gateway.pid()), &format!("http://{address}/mcp"), "config.yaml", "2 cold"]);
    assert!(!text.out.contains('\x1b'), "colour without a terminal: {}", text.out);
    let url = format!("http://{address}");
    assert_eq!(place.run(&["status", "--json", "--url", &url]).exits(0).json()["pid"], gateway.pid());
    let socket = &place.sockets()[0];
    assert_eq!(std::fs::metadata(socket).expect("a socket").permissions().mode() & 0o777, 0o600);
}

#[test]
fn list_tools_and_call() {
    let place = Place::new(TWO);
    let _gateway = place.serve();
    let list = place.run(&["list"]).exits(0);
    let lines: Vec<Vec<&str>> = list.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["PROVIDER", "STATE", "MODE"]);
    assert_eq!((lines[1][..3].to_vec(), lines[2][0], lines.len()), (vec!["math", "cold", "subprocess"], "text", 3));

    place.run(&["tools", "math"]).exits(0).says(&["PROVIDER  TOOL", "math      add "]);
    place.run(&["tools"]).exits(0).says(&["math      add ", "text      uppercase "]);
    let tools = place.run(&["tools", "--json"]).exits(0).json();
    assert_eq!(tools["providers"][0]["tools"][0]["name"], "add", "{tools}");
    assert!(tools["providers"][0]["tools"][0]["inputSchema"].is_object());

    assert_eq!(place.run(&["call", "math", "add", r#"{"a": 2, "b": 40}"#]).exits(0).out.trim(), "42");
    let raw = place.run(&["call", "math", "add", r#"{"a": 2, "b": 40}"#, "--json"]).exits(0).json();
    assert_eq!(raw["content"][0], json!({"type": "text", "text": "42"}), "{raw}");
    place.run(&["call", "math", "divide", r#"{"a": 1, "b": 0}"#]).exits(1);
    place.run(&["call", "math", "ad", "{}"]).exits(1).complains(&["unknown tool `ad`"]);
    place.run(&["call", "maths", "add", "{}"]).exits(5).complains(&["maths", "did you mean \"math\"?"]);
    place.run(&["tools", "maths"]).exits(5).complains(&["maths"]);
    let listed = place.run(&["list", "--json"]).exits(0).json();
    assert_eq!(
        (&listed["providers"][0]["state"], &listed["providers"][1]["provider"]),
        (&json!("ready"), &json!("text"))
    );
}

#[test]
fn arguments_may_come_from_stdin() {
    let place = Place::new(TWO);
    let _gateway = place.serve();
    let mut command = place.command(&["call", "text", "uppercase", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    child.stdin.take().expect("piped").write_all(br#"{"text": "gr\u00fcn"}"#).expect("it reads");
    let done = Done::from(child.wait_with_output().expect("it ends")).exits(0);
    assert_eq!(done.out.trim(), "GRÜN");
}

#[test]
fn diff_tells_and_reload_does() {
    let place = Place::new(TWO);
    let _gateway = place.serve();
    place.run(&["diff"]).exits(0).says(&["no difference"]);
    place.write(THREE);
    let ahead = place.run(&["diff"]).exits(1);
    ahead.says(&[
        "added     clock",
        "removed   text",
        "updated   math (idle_ttl_s)",
        "server.port takes effect after a restart",
    ]);
    let report = place.run(&["diff", "--json"]).exits(1).json();
    assert_eq!((&report["dry_run"], &report["generation"]), (&json!(true), &json!(1)));

    let done = place.run(&["reload"]).exits(0);
    done.says(&[
        "generation 2",
        "added     clock",
        "removed   text",
        "updated   math (idle_ttl_s)",
        "unchanged 0 providers",
    ]);
    let report = place.run(&["reload", "--json"]).exits(0).json();
    assert_eq!((&report["generation"], &report["requested_by"]), (&json!(2), &json!("cli")), "{report}");
    assert_eq!(report["providers_unchanged"], json!(["clock", "math"]));
    place.write(&THREE.replace("server: {port: 8001}\n", ""));
    place.run(&["reload"]).exits(0);
    place.run(&["diff"]).exits(0);
}

#[test]
fn an_invalid_file_is_reported_as_validate_does_and_changes_nothing() {
    let place = Place::new(TWO);
    let _gateway = place.serve();
    place.write("providers:\n  math: {comand: [x]}\n");
    for command in ["reload", "diff"] {
        let done = place.run(&[command]).exits(3);
        let problem = format!("{}:2:10: providers.math.comand: unknown key [HGR0102]", place.config().display());
        done.says(&[&problem, "did you mean `command`?", "1 problem\n", "generation 1 stays in force"]);
        let failure = place.run(&[command, "--json"]).exits(3).json();
        assert_eq!((&failure["status"], failure["problems"].as_array().map(Vec::len)), (&json!("failed"), Some(1)));
    }
    assert_eq!(place.run(&["status", "--json"]).exits(0).json()["providers"]["total"], 2);
}

#[test]
fn a_reload_that_cannot_be_verified_is_refused() {
    let place = Place::new(TWO);
    let _gateway = place.serve();
    place.write(&TWO.replace("  text:", "  lame: {command: [sh, -c, 'exit 3']}\n  text:"));
    place.run(&["reload", "--verify"]).exits(5).says(&["refused (verify)", "providers.lame", "generation 1 stays"]);
    place.run(&["reload", "--no-graceful"]).exits(0).says(&["added     lame", "generation 2"]);
    place.run(&["call", "lame", "x"]).exits(1).complains(&["lame"]);
    place.run(&["tools", "--json"]).exits(1).complains(&["lame"]).says(&["uppercase"]);
    place.run(&["status"]).exits(1).says(&["degraded", "lame is"]);
}

#[test]
fn several_gateways_of_one_file() {
    let place = Place::new(TWO);
    let first = place.serve_stdio();
    let second = place.serve();
    let documents = |done: &Done| -> Vec<Value> {
        serde_json::Deserializer::from_str(&done.out).into_iter().map(|one| one.expect("JSON")).collect()
    };
    let status = documents(&place.run(&["status", "--json"]).exits(0));
    let pids: Vec<&Value> = status.iter().map(|one| &one["pid"]).collect();
    assert_eq!(pids, [&json!(second.pid()), &json!(first.pid())], "newest first");
    assert_eq!(status[1]["transport"], "stdio");
    place.write(THREE);
    let reports = documents(&place.run(&["reload", "--json"]).exits(0));
    assert_eq!(reports.iter().map(|report| &report["generation"]).collect::<Vec<_>>(), [&json!(2), &json!(2)]);
    let listing = place.run(&["list"]).exits(0);
    assert_eq!(listing.out.matches(".sock:\n").count(), 2, "{}", listing.out);
    place.run(&["call", "math", "add", r#"{"a": 1, "b": 1}"#]).exits(0).says(&["2"]);
    let called = documents(&place.run(&["list", "--json"]).exits(0));
    assert_eq!(called.iter().map(|one| &one["providers"][1]["state"]).collect::<Vec<_>>(), ["ready", "cold"]);
}

#[test]
fn the_socket_of_a_gateway_that_was_killed_is_skipped() {
    let place = Place::new(TWO);
    let live = place.serve();
    place.serve_stdio().kill();
    assert_eq!(place.sockets().len(), 2, "the killed one could not tidy up");
    assert_eq!(place.run(&["status", "--json"]).exits(0).json()["pid"], live.pid());
    drop(live);
    place.run(&["status"]).exits(4);
    assert_eq!(place.sockets().len(), 1, "the stopped one did");
}

#[test]
fn a_gateway_is_found_although_its_file_is_gone() {
    let place = Place::new(TWO);
    let _gateway = place.serve();
    std::fs::remove_file(place.config()).expect("removed");
    place.run(&["status", "--config", "config.yaml"]).exits(0);
    place.run(&["reload", "--config", "config.yaml"]).exits(3).says(&["generation 1 stays in force"]);
}
