//! A directory of fragments: added, updated and removed as files are.

use std::{fs, os::unix::fs::symlink};

use crate::{
    POLLED, WATCHED, fragment,
    gateway::{Gateway, Home, SOON, Signal, eventually, json},
    main_file, put_fragment, reload, remove_fragment, start, unwatched,
};

#[test]
fn fragments_are_providers_and_the_report_says_whose_they_are() {
    let home = Home::new();
    let gateway = unwatched(&home);
    let (a, f) = (gateway.client.pid_of("a"), gateway.client.pid_of("f"));
    put_fragment(&home, "g", &fragment(&home, "g", &[], ""));
    let report = reload(&gateway);
    assert_eq!((&report["status"], &report["providers_added"]), (&json!("success"), &json!(["g"])), "{report}");
    assert_eq!(report["providers_unchanged"], json!(["a", "f"]));
    assert_eq!(report["owners"], json!({"g": "file:g.yaml"}));
    assert_eq!(gateway.state("g"), "cold");

    put_fragment(&home, "f", &fragment(&home, "f", &["--version", "2"], "idle_ttl_s: 9"));
    remove_fragment(&home, "g");
    let generation = gateway.generation();
    let report = reload(&gateway);
    assert_eq!(report["providers_updated"], json!(["f"]));
    assert_eq!(report["providers_removed"], json!(["g"]));
    assert_eq!(report["changed_fields"], json!({"f": ["command", "idle_ttl_s"]}));
    assert_eq!(report["generation"], generation + 1);
    assert_eq!(gateway.state("g"), "gone");
    assert_ne!(gateway.client.pid_of("f"), f);
    assert_eq!(gateway.client.pid_of("a"), a);
    home.assert_never_two("f");

    let again = reload(&gateway);
    assert_eq!((&again["generation"], &again["providers_updated"]), (&json!(generation + 1), &json!([])));
    put_fragment(&home, "f", &fragment(&home, "f", &[], "enabled: false"));
    assert_eq!(reload(&gateway)["providers_removed"], json!(["f"]));
    gateway.stop();
}

#[test]
fn a_reload_of_the_main_file_removes_none() {
    let home = Home::new();
    let gateway = unwatched(&home);
    let f = gateway.client.pid_of("f");
    let other = main_file(&home, crate::gateway::UNWATCHED).replace("  a: ", "  b: ");
    let report = gateway.reload_to(&other, json!({}));
    assert_eq!((&report["providers_added"], &report["providers_removed"]), (&json!(["b"]), &json!(["a"])));
    assert_eq!(gateway.client.pid_of("f"), f);
    // Only when it does not name the directory any more.
    let without = crate::gateway::config(&home.provider("a", &[], ""), crate::gateway::UNWATCHED);
    let report = gateway.reload_to(&without, json!({}));
    assert_eq!(report["providers_removed"], json!(["b", "f"]));
    assert_eq!(report["settings_updated"], json!(["discovery"]));
    gateway.stop();
}

fn noticed(settings: &str) {
    let home = Home::new();
    let gateway = start(&home, settings);
    let f = gateway.client.pid_of("f");
    put_fragment(&home, "g", &fragment(&home, "g", &[], ""));
    gateway.wait_state("g", "cold");
    assert_eq!(gateway.client.pid_of("f"), f);
    let pid = gateway.client.pid_of("g");
    put_fragment(&home, "g", &fragment(&home, "g", &["--version", "2"], ""));
    eventually("g is updated", SOON, || (gateway.state("g") == "cold").then_some(()));
    assert_ne!(gateway.client.pid_of("g"), pid);
    let call = gateway.client.start_tool("g__sleep", json!({"ms": 4000}));
    eventually("the call runs", SOON, || (gateway.provider("g")["calls_in_flight"] == 1).then_some(()));
    remove_fragment(&home, "g");
    gateway.wait_state("g", "gone");
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    assert!(gateway.log().contains("provider_added"), "the log says so");
    gateway.stop();
}

#[test]
fn changes_are_noticed_by_notification() {
    noticed(WATCHED);
}

#[test]
fn changes_are_noticed_by_the_poll_alone() {
    noticed(POLLED);
}

#[test]
fn a_directory_that_is_not_there_is_none_yet_and_one_that_is_away_takes_nothing() {
    let home = Home::new();
    home.put(&main_file(&home, WATCHED));
    let gateway = Gateway::again(&home);
    assert_eq!(gateway.state("f"), "gone");
    fs::create_dir(home.path("conf/providers.d")).unwrap();
    put_fragment(&home, "f", &fragment(&home, "f", &[], ""));
    gateway.wait_state("f", "cold");
    let pid = gateway.client.pid_of("f");
    fs::rename(home.path("conf/providers.d"), home.path("conf/away")).unwrap();
    let report = reload(&gateway);
    assert!(report["warnings"].to_string().contains("is not there, or cannot be read"), "{report}");
    assert_eq!(gateway.client.pid_of("f"), pid);
    fs::rename(home.path("conf/away"), home.path("conf/providers.d")).unwrap();
    assert_eq!(reload(&gateway)["warnings"], json!([]));
    assert_eq!(gateway.client.pid_of("f"), pid);
    gateway.stop();
}

/// As a kubelet does it: `providers.d/f.yaml -> ..data/f.yaml`, `..data -> ..N`, swapped by one rename.
#[test]
fn a_swap_of_the_directory_a_mounted_volume_links_to_is_noticed() {
    let home = Home::new();
    let at = |name: &str| home.path(&format!("conf/providers.d/{name}"));
    fs::create_dir_all(at("..1")).unwrap();
    fs::write(at("..1/f.yaml"), fragment(&home, "f", &[], "")).unwrap();
    symlink("..1", at("..data")).unwrap();
    symlink("..data/f.yaml", at("f.yaml")).unwrap();
    home.put(&main_file(&home, "config_reload: {interval_s: 600}\n"));
    let gateway = Gateway::again(&home);
    gateway.client.pid_of("f");
    fs::create_dir(at("..2")).unwrap();
    fs::write(at("..2/f.yaml"), fragment(&home, "f", &["--version", "2"], "")).unwrap();
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    gateway.wait_state("f", "cold");
    gateway.stop();
}

#[test]
fn fragments_are_read_again_by_a_restart_in_place() {
    let home = Home::new();
    let gateway = unwatched(&home);
    put_fragment(&home, "g", &fragment(&home, "g", &[], ""));
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("gateway_restarted");
    assert_eq!(gateway.provider("g")["owner"], "file:g.yaml");
    assert_eq!(gateway.provider("f")["owner"], "file:f.yaml");
    gateway.stop();
}
