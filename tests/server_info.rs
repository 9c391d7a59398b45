//! `hangar_server_info`, and what the build says about itself, through the shipped binary.

#[path = "support/gateway.rs"]
mod gateway;

use std::process::Command;

use gateway::{Gateway, Home, SOON, Value, eventually, json};

fn info(gateway: &Gateway) -> Value {
    gateway.client.structured("hangar_server_info", json!({}))
}

#[test]
fn it_tells_the_processes_of_this_gateway_and_what_they_use() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--grandchild", "setsid"], ""));
    assert_eq!(info(&gateway)["processes"].as_array().unwrap().len(), 1, "nothing has been started");
    let server = gateway.client.pid_of("a");
    eventually("the grandchild is there", SOON, || (home.beings("a").len() == 2).then_some(()));
    let info = info(&gateway);
    let [own, shim] = &info["processes"].as_array().unwrap()[..] else { panic!("{info}") };
    assert_eq!(
        (&own["role"], &own["pid"], &own["process_count"]),
        (&json!("gateway"), &json!(gateway.pid()), &json!(1))
    );
    assert_eq!((&shim["role"], &shim["provider"], &shim["server_pid"]), (&json!("shim"), &json!("a"), &json!(server)));
    assert_eq!(shim["process_count"], 3, "shim, server and grandchild: {shim}");
    for entry in [own, shim] {
        assert!(entry["memory_bytes"].as_u64().unwrap() > 500_000, "{entry}");
        assert!(entry["cpu_ms"].is_u64() && entry["uptime_s"].as_u64().unwrap() < 60, "{entry}");
        assert!(entry["uptime"].as_str().unwrap().ends_with(" s"), "{entry}");
    }
    assert_eq!((&info["health"], &info["reasons"]), (&json!("healthy"), &json!([])));
    assert_eq!(info["client"], json!({"parent": "alive", "stdin": "open"}), "{info}");
    let file = &info["pid_file_status"];
    assert_eq!((&file["path"], &file["held"], &file["record_held"]), (&Value::Null, &Value::Null, &json!(true)));
    gateway.stop();
}

#[test]
fn it_tells_the_other_gateways_and_a_failing_provider() {
    let home = Home::new();
    let (http, _) = Gateway::over_http(&home, "");
    let config = home.path("conf/other.yaml");
    gateway::put(&config, &gateway::config(&home.provider("bad", &["--handshake", "exit:3"], ""), gateway::UNWATCHED));
    let gateway = Gateway::spawn_on(&home, &config);
    gateway.client.initialize(json!({}));
    gateway.client.tool("hangar_start", json!({"provider": "bad"}));
    let info = info(&gateway);
    assert_eq!(info["health"], "degraded", "{info}");
    assert_eq!(info["reasons"][0]["provider"], "bad", "{info}");
    let [other] = &info["other_gateways"].as_array().unwrap()[..] else { panic!("{info}") };
    assert_eq!((&other["pid"], &other["transport"]), (&json!(http.pid()), &json!("http")), "{other}");
    assert_eq!((&other["version"], &other["client"]), (&info["version"], &Value::Null), "{other}");
    assert!(other["uid"].is_u64() && other["uptime_s"].is_u64() && other["config"].is_string(), "{other}");
    drop(http);
    // Killed: its record lies there, and is nobody's.
    let left = gateway.client.structured("hangar_server_info", json!({}))["other_gateways"].take();
    assert_eq!(left, json!([]));
    gateway.stop();
}

#[test]
fn the_pid_file_that_http_keeps_is_told_with_its_lock() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, "");
    let mut session = gateway::HttpSession::open(address);
    let info = session.call("hangar_server_info", json!({}))["result"]["structuredContent"].take();
    let file = &info["pid_file_status"];
    assert!(file["path"].as_str().unwrap().ends_with(".pid") && file["held"] == true, "{file}");
    std::fs::remove_file(file["path"].as_str().unwrap()).unwrap();
    let info = session.call("hangar_server_info", json!({}))["result"]["structuredContent"].take();
    assert_eq!(info["pid_file_status"]["held"], false, "somebody has removed it: {info}");
    assert_eq!(info["client"], Value::Null);
    gateway.stop();
}

#[test]
fn the_build_is_the_same_in_the_tool_the_metric_and_the_version() {
    let home = Home::new();
    let gateway = Gateway::start(&home, "");
    let info = info(&gateway);
    let [version, commit, date] = ["version", "commit", "build_date"].map(|key| info[key].as_str().unwrap().to_owned());
    let metrics = gateway.client.structured("hangar_metrics", json!({"filter": "build_info"}));
    let want = format!("hangar_build_info{{version=\"{version}\",commit=\"{commit}\",build_date=\"{date}\"}} 1");
    assert!(metrics["metrics"].as_str().unwrap().contains(&want), "{metrics} lacks {want}");
    let out = Command::new(env!("CARGO_BIN_EXE_hangar")).args(["--version", "--verbose"]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.starts_with(&format!("hangar {version}\ncommit: {commit}\nbuilt: {date}\n")), "{said}");
    assert!(date.parse::<jiff::Timestamp>().is_ok(), "{date}");
    gateway.stop();
}
