//! Loading, unloading, and what reloads and restarts do to what is loaded: nothing.

use crate::{
    ask,
    gateway::{Gateway, Home, SOON, Signal, eventually, json},
    load, off, start, with_sections, yaml,
};

#[test]
fn an_entry_of_the_catalogue_is_neither_listed_nor_started_until_it_is_loaded() {
    let home = Home::new();
    let gateway = start(&home);
    assert!(!gateway.client.tools().iter().any(|tool| tool.starts_with("kept__") || tool.starts_with("off__")));
    assert_eq!(gateway.state("kept"), "gone");
    assert_eq!(gateway.provider("off")["enabled"], false);
    let status = gateway.client.structured("hangar_status", json!({}));
    assert_eq!(status["loadable"], json!(["kept", "off"]));
    assert_eq!(home.start_count("kept"), 0);
    for name in ["kept", "off"] {
        let generation = gateway.generation();
        let loaded = load(&gateway, name);
        assert_eq!((&loaded["provider"], &loaded["state"]), (&json!(name), &json!("cold")));
        assert!(loaded["owner"].as_str().unwrap().starts_with("load:mcp_tool/"), "{loaded}");
        assert_eq!(gateway.generation(), generation + 1);
        assert_eq!(home.start_count(name), 0, "nothing is started by being loaded");
        assert!(gateway.client.tools().contains(&format!("{name}__echo")));
        gateway.client.pid_of(name);
    }
    assert_eq!(gateway.provider("a")["owner"], "config");
    assert_eq!(gateway.provider("off")["enabled"], true);
    let status = gateway.client.structured("hangar_status", json!({}));
    assert_eq!(status["loadable"], json!([]));
    assert!(status["owners"]["kept"].as_str().unwrap().starts_with("load:"), "{status}");
    gateway.stop();
}

#[test]
fn clients_are_told_once_of_a_load_and_of_an_unload() {
    let home = Home::new();
    let gateway = start(&home);
    gateway.client.tools();
    load(&gateway, "kept");
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    gateway.client.tools();
    let before = gateway.client.messages("notifications/tools/list_changed").len();
    ask(&gateway, "hangar_unload", "kept");
    gateway.client.wait_messages("notifications/tools/list_changed", before + 1);
    gateway.client.tools();
    assert_eq!(gateway.client.messages("notifications/tools/list_changed").len(), before + 1);
    gateway.stop();
}

#[test]
fn an_unloaded_provider_finishes_its_call_and_is_gone() {
    let home = Home::new();
    let gateway = start(&home);
    load(&gateway, "kept");
    let call = gateway.client.start_tool("kept__sleep", json!({"ms": 700}));
    eventually("the call runs", SOON, || (gateway.provider("kept")["calls_in_flight"] == 1).then_some(()));
    let (answer, failed) = ask(&gateway, "hangar_unload", "kept");
    assert!(!failed && answer["draining"] == true, "{answer}");
    assert!(gateway.client.start_tool("kept__echo", json!({})).error().contains("kept__echo"));
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    assert_eq!(gateway.state("kept"), "gone");
    home.assert_nothing_left(SOON);
    let old = home.starts("kept")[0].1;
    load(&gateway, "kept");
    assert_ne!(gateway.client.pid_of("kept"), old, "it may be loaded again");
    home.assert_never_two("kept");
    gateway.stop();
}

#[test]
fn no_reload_touches_what_is_loaded() {
    let home = Home::new();
    let gateway = start(&home);
    load(&gateway, "kept");
    load(&gateway, "off");
    let pids = [gateway.client.pid_of("kept"), gateway.client.pid_of("off")];
    let same = gateway.reload_to(&yaml(&home), json!({}));
    assert_eq!(same["providers_unchanged"], json!(["a", "off"]));
    assert_eq!(same["warnings"], json!([]));

    let otherwise = with_sections(
        &(home.provider("b", &[], "") + &off(&home, "idle_ttl_s: 7")),
        &home.provider("kept", &["--version", "9"], ""),
    );
    let report = gateway.reload_to(&otherwise, json!({}));
    assert_eq!(report["status"], "success", "{report}");
    assert_eq!((&report["providers_added"], &report["providers_removed"]), (&json!(["b"]), &json!(["a"])));
    assert_eq!(report["settings_updated"], json!(["catalog"]));
    let warnings = report["warnings"].to_string();
    for name in ["kept", "off"] {
        assert!(
            warnings.contains(&format!("\\\"{name}\\\" is loaded, and the file defines it otherwise")),
            "{warnings}"
        );
    }
    let report = gateway.reload_to(&with_sections(&home.provider("b", &[], ""), ""), json!({}));
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("defines it no more"), "{warnings}");
    assert_eq!([gateway.client.pid_of("kept"), gateway.client.pid_of("off")], pids);
    assert!(gateway.client.tools().contains(&"off__echo".to_owned()));

    let (answer, failed) = ask(&gateway, "hangar_unload", "kept");
    assert!(!failed, "{answer}");
    let (answer, failed) = ask(&gateway, "hangar_load", "kept");
    assert!(failed && answer["error"] == "unknown_provider", "{answer}");
    gateway.stop();
}

#[test]
fn what_is_loaded_is_loaded_again_by_a_restart_in_place() {
    let home = Home::new();
    let gateway = start(&home);
    load(&gateway, "kept");
    let (old, owner) = (gateway.client.pid_of("kept"), gateway.provider("kept")["owner"].clone());
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("gateway_restarted");
    assert_eq!(gateway.provider("kept")["owner"], owner);
    assert_ne!(gateway.client.pid_of("kept"), old);
    assert_eq!(gateway.state("off"), "cold");
    assert_eq!(gateway.provider("off")["enabled"], false);
    gateway.stop();
}

#[test]
fn a_loaded_member_takes_its_turn_in_a_group() {
    let home = Home::new();
    let groups = "groups:\n  g: {members: [{id: off}], min_healthy: 0}\n";
    home.put(&(yaml(&home) + groups));
    let gateway = Gateway::again(&home);
    load(&gateway, "off");
    assert_eq!(gateway.client.text("g__pid", json!({})), gateway.client.text("off__pid", json!({})));
    gateway.stop();
}
