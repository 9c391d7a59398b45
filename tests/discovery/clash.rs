//! A name in a fragment that somebody else has.

use crate::{
    fragment,
    gateway::{Gateway, Home, UNWATCHED, json},
    main_file, put_fragment, reload, remove_fragment, unwatched,
};

#[test]
fn the_main_file_has_its_names_and_the_fragment_is_told() {
    let home = Home::new();
    let gateway = unwatched(&home);
    for name in ["a", "a_"] {
        put_fragment(&home, name, &fragment(&home, "x", &[], ""));
        let report = reload(&gateway);
        let warning = report["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains(&format!("{name}.yaml:1:1")) && warning.contains("HGR0319"), "{report}");
        assert!(warning.contains("`providers.a` of the configuration file (line 4)"), "{report}");
        assert_eq!(gateway.provider("a")["owner"], "config");
        assert_eq!(gateway.state("a_"), "gone");
        remove_fragment(&home, name);
    }
    put_fragment(&home, "f_", &fragment(&home, "x", &[], ""));
    let report = reload(&gateway);
    assert!(report["warnings"][0].as_str().unwrap_or_default().contains("the fragment f.yaml"), "{report}");
    gateway.stop();
}

#[test]
fn a_main_file_that_takes_the_name_of_one_in_force_is_refused_until_the_fragment_is_gone() {
    let home = Home::new();
    let gateway = unwatched(&home);
    let pid = gateway.client.pid_of("f");
    let both = main_file(&home, UNWATCHED) + &home.provider("f", &["--version", "2"], "");
    let report = gateway.reload_to(&both, json!({}));
    assert_eq!(report["status"], "failed", "{report}");
    let problem = &report["problems"][0];
    assert_eq!(
        (&problem["code"], &problem["path"], &problem["line"]),
        (&json!("HGR0802"), &json!("providers.f"), &json!(5))
    );
    assert!(problem["message"].as_str().unwrap().contains("the fragment f.yaml"), "{report}");
    assert_eq!(gateway.client.pid_of("f"), pid);

    remove_fragment(&home, "f");
    let report = reload(&gateway);
    assert_eq!(report["providers_updated"], json!(["f"]), "{report}");
    assert_eq!(report["changed_fields"], json!({"f": ["owner"]}));
    assert_eq!(gateway.provider("f")["owner"], "config");
    assert_ne!(gateway.client.pid_of("f"), pid);

    // And back, in one go.
    home.put(&main_file(&home, UNWATCHED));
    put_fragment(&home, "f", &fragment(&home, "f", &[], ""));
    let report = reload(&gateway);
    assert_eq!(report["providers_updated"], json!(["f"]), "{report}");
    assert_eq!(gateway.provider("f")["owner"], "file:f.yaml");
    home.assert_never_two("f");
    gateway.stop();
}

#[test]
fn what_is_loaded_keeps_its_name_and_what_a_fragment_owns_is_not_unloaded() {
    let home = Home::new();
    std::fs::create_dir(home.path("conf/providers.d")).unwrap();
    let kept = format!("catalog:\n{}", home.provider("kept", &[], ""));
    home.put(&(main_file(&home, UNWATCHED) + &kept));
    let gateway = Gateway::again(&home);
    gateway.client.structured("hangar_load", json!({"provider": "kept"}));
    // The catalogue is gone from the file: the fragment itself is free, but the loaded one is in force.
    home.put(&main_file(&home, UNWATCHED));
    put_fragment(&home, "kept", &fragment(&home, "kept", &[], ""));
    let report = reload(&gateway);
    assert!(report["warnings"].to_string().contains("the fragment kept.yaml is not in force"), "{report}");
    assert!(gateway.provider("kept")["owner"].as_str().unwrap().starts_with("load:"));
    gateway.client.structured("hangar_unload", json!({"provider": "kept"}));
    assert_eq!(reload(&gateway)["providers_added"], json!(["kept"]));
    let refused = gateway.client.tool("hangar_unload", json!({"provider": "kept"}));
    assert_eq!(refused["isError"], true);
    assert!(refused["structuredContent"]["message"].as_str().unwrap().contains("the fragment kept.yaml"), "{refused}");
    gateway.stop();
}
