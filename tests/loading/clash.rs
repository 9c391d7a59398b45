//! One name, two owners: refused, and both are named.

use crate::{
    ask,
    gateway::{Home, SOON, eventually, json},
    load, off, start, with_sections, yaml,
};

#[test]
fn what_is_in_force_cannot_be_loaded_and_what_was_not_loaded_cannot_be_unloaded() {
    let home = Home::new();
    let gateway = start(&home);
    load(&gateway, "kept");
    for (tool, name, code, says) in [
        ("hangar_load", "a", "name_taken", "belongs to the configuration file"),
        ("hangar_load", "kept", "name_taken", "who loaded it (mcp_tool/"),
        ("hangar_load", "kepd", "unknown_provider", "keeps no provider \"kepd\""),
        ("hangar_unload", "a", "not_loaded", "belongs to the configuration file"),
        ("hangar_unload", "off", "not_loaded", "no provider \"off\" is loaded"),
        ("hangar_unload", "nobody", "not_loaded", "no provider \"nobody\" is loaded"),
    ] {
        let (answer, failed) = ask(&gateway, tool, name);
        assert!(failed && answer["error"] == code, "{tool} {name}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{tool} {name}: {answer}");
    }
    let (answer, _) = ask(&gateway, "hangar_load", "of");
    assert!(answer["message"].as_str().unwrap().contains("did you mean \"off\"?"), "{answer}");
    gateway.stop();
}

#[test]
fn only_a_name_is_taken_never_a_command() {
    let home = Home::new();
    let gateway = start(&home);
    let answer = gateway.client.tool("hangar_load", json!({"provider": "kept", "command": ["sh"]}));
    assert_eq!(answer["isError"], true, "{answer}");
    assert_eq!(gateway.state("kept"), "gone");
    gateway.stop();
}

#[test]
fn a_file_that_defines_a_loaded_name_is_refused_and_names_both() {
    let home = Home::new();
    let gateway = start(&home);
    load(&gateway, "kept");
    load(&gateway, "off");
    let pid = gateway.client.pid_of("kept");
    let enabled = with_sections(&(home.provider("off", &[], "") + &home.provider("kept_", &[], "")), "");
    for dry_run in [true, false] {
        let report = gateway.reload_to(&enabled, json!({"dry_run": dry_run}));
        assert_eq!((&report["status"], &report["stage"]), (&json!("failed"), &json!("validate")), "{report}");
        let problems = report["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 2, "{report}");
        let off = problems.iter().find(|problem| problem["path"] == "providers.off").unwrap();
        assert_eq!((&off["code"], &off["line"], &off["column"]), (&json!("HGR0802"), &json!(3), &json!(3)));
        let message = off["message"].as_str().unwrap();
        assert!(message.contains("\"off\"") && message.contains("who loaded it (mcp_tool/"), "{message}");
    }
    assert_eq!(gateway.client.pid_of("kept"), pid);
    assert_eq!(gateway.state("a"), "cold", "nothing moved");

    // Switched on in the file, once it is unloaded.
    for name in ["off", "kept"] {
        let (answer, failed) = ask(&gateway, "hangar_unload", name);
        assert!(!failed, "{answer}");
    }
    let report = gateway.reload_to(&enabled, json!({}));
    assert_eq!(report["status"], "success", "{report}");
    assert_eq!(report["changed_fields"]["off"], json!(["enabled"]));
    assert_eq!(gateway.provider("off")["owner"], "config");
    let (answer, failed) = ask(&gateway, "hangar_load", "off");
    assert!(failed && answer["error"] == "name_taken", "{answer}");
    // Then removed from it.
    let report = gateway.reload_to(&with_sections(&home.provider("kept_", &[], ""), ""), json!({}));
    assert_eq!(report["providers_removed"], json!(["off"]));
    assert_eq!(gateway.state("off"), "gone");
    gateway.stop();
}

#[test]
fn a_group_of_a_loaded_name_is_refused_too() {
    let home = Home::new();
    let gateway = start(&home);
    load(&gateway, "kept");
    let groups = "groups:\n  kept: {members: [{id: a}]}\n";
    let yaml = with_sections(&(home.provider("a", &[], "") + &off(&home, "")), "") + groups;
    let report = gateway.reload_to(&yaml, json!({}));
    assert_eq!(report["problems"][0]["path"], "groups.kept", "{report}");
    assert_eq!(report["problems"][0]["code"], "HGR0802");
    gateway.stop();
}

#[test]
fn loads_and_reloads_at_the_same_time_lose_nothing() {
    let home = Home::new();
    let gateway = start(&home);
    let first = yaml(&home);
    let other = yaml(&home) + "server: {session_idle_s: 1000}\n";
    for round in 0..10 {
        let reload = gateway.client.start_tool("hangar_reload_config", json!({}));
        let loading = gateway.client.start_tool("hangar_load", json!({"provider": "kept"}));
        let again = gateway.client.start_tool("hangar_reload_config", json!({}));
        let [reload, loading, again] = [reload, loading, again].map(|pending| pending.wait());
        for answer in [reload, loading, again] {
            assert_ne!(answer["result"]["isError"], true, "{answer}");
        }
        gateway.client.pid_of("kept");
        let (answer, failed) = ask(&gateway, "hangar_unload", "kept");
        assert!(!failed, "{answer}");
        home.put(if round % 2 == 0 { &other } else { &first });
    }
    eventually("the last one has ended", SOON, || {
        home.starts("kept").last().is_some_and(|(started, _)| !started).then_some(())
    });
    home.assert_never_two("kept");
    gateway.stop();
}
