//! What a variable of the file does: where it counts, what wins over it, when a change takes effect, and that its value is never seen.

use std::fs;

use crate::{engine::Engine, gateway::*, rig::*};

#[test]
fn a_changed_variable_is_in_force_after_a_reload_by_any_trigger_and_told_by_name_only() {
    let home = Home::new();
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-1\nOTHER=s3cr3t-x\n");
    let gateway = start(&home, "env: {KEY: \"k:${TOKEN}\"}", UNWATCHED);
    assert_eq!(seen(&gateway, "a", "KEY"), "k:s3cr3t-1");
    assert_eq!(seen(&gateway, "a", "TOKEN"), Value::Null, "a reference hands on nothing else");
    let calm = gateway.client.pid_of("calm");

    put_env(&home, "conf/.env", "TOKEN=s3cr3t-2\nNEW=s3cr3t-y\n");
    let (code, said) = hangar(&home, &["diff", "--config", "conf/config.yaml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(".env") && said.contains("TOKEN: used by the configuration;"), "{said}");
    let (code, said) = hangar(&home, &["reload", "--config", "conf/config.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "conf/.env (live):",
        "TOKEN: used by the configuration, in force now",
        "NEW, OTHER: no effect: used by nothing",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(seen(&gateway, "a", "KEY"), "k:s3cr3t-2");

    put_env(&home, "conf/.env", "TOKEN=s3cr3t-3\nNEW=s3cr3t-y\n");
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("requested_by=\"sighup\"");
    eventually("the signal put it in force", SOON, || (seen(&gateway, "a", "KEY") == "k:s3cr3t-3").then_some(()));
    gateway.wait_for_log("dotenv_changed");

    put_env(&home, "conf/.env", "TOKEN=s3cr3t-4\nNEW=s3cr3t-y\n");
    let report = gateway.client.structured("hangar_reload_config", json!({}));
    let told = &report["dotenv"];
    assert_eq!(
        (&told["changed"], &told["used"], &told["source"]),
        (&json!(["TOKEN"]), &json!(["TOKEN"]), &json!("live"))
    );
    assert_eq!(report["changed_fields"], json!({"a": ["env"]}));
    assert_eq!(report["providers_unchanged"], json!(["calm"]));
    let report = reload_by_cli(&home);
    assert_eq!((&report["dotenv"]["changed"], &report["providers_updated"]), (&json!([]), &json!([])));
    assert!(report["dotenv"]["effect"].as_str().unwrap().contains("no variable has changed"), "{report}");
    assert_eq!(gateway.client.pid_of("calm"), calm);
    assert!(!gateway.log().contains(SECRET), "{}", gateway.log());
    gateway.stop();
}

#[test]
fn a_saved_env_file_is_applied_by_itself_when_the_configuration_uses_it() {
    for settings in ["", "config_reload: {use_watchdog: false, interval_s: 0.3}\n"] {
        let home = Home::new();
        put_env(&home, "conf/.env", "TOKEN=s3cr3t-1\n");
        let gateway = start(&home, "env: {KEY: \"${TOKEN}\", MAYBE: \"${MAYBE:-no}\"}", settings);
        assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-1");
        fs::write(home.path("conf/.env"), "TOKEN=s3cr3t-2\n").unwrap();
        eventually("the value is taken", SOON, || (seen(&gateway, "a", "KEY") == "s3cr3t-2").then_some(()));
        // Replaced by a rename, and with a variable that had its default so far.
        fs::write(home.path("conf/.env.new"), "TOKEN=s3cr3t-2\nMAYBE=s3cr3t-3\n").unwrap();
        fs::rename(home.path("conf/.env.new"), home.path("conf/.env")).unwrap();
        eventually("the default is replaced", SOON, || (seen(&gateway, "a", "MAYBE") == "s3cr3t-3").then_some(()));
        let by = gateway.client.structured("hangar_status", json!({}))["last_reload"]["requested_by"].take();
        // The content poll runs beside the watch, and whichever sees it first is named.
        assert!(by == "file_watcher" && settings.is_empty() || by == "poll", "{by}");
        gateway.stop();
    }
}

#[test]
fn the_gateways_own_environment_wins_and_the_report_says_so() {
    let home = Home::new();
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-file\nPLAIN=s3cr3t-1\n");
    let keys = "env: {KEY: \"${TOKEN}\"}, inherit_env: [TOKEN]";
    home.put(&config(&home.provider("a", &[], keys), UNWATCHED));
    let gateway = Gateway::spawn_in(&home, &home.config(), &[], &[("TOKEN", "s3cr3t-own")]);
    gateway.client.initialize(json!({}));
    assert_eq!((seen(&gateway, "a", "KEY"), seen(&gateway, "a", "TOKEN")), (json!("s3cr3t-own"), json!("s3cr3t-own")));
    let text = fs::read_to_string(home.config()).unwrap();
    let sha = |report: &Value| report["config_sha256"].as_str().unwrap().to_owned();

    put_env(&home, "conf/.env", "TOKEN=s3cr3t-new\nPLAIN=s3cr3t-1\n");
    let report = reload_by_cli(&home);
    assert_eq!(report["dotenv"]["shadowed"], json!(["TOKEN"]), "{report}");
    assert_eq!((&report["dotenv"]["changed"], &report["providers_updated"]), (&json!(["TOKEN"]), &json!([])));
    assert!(report["dotenv"]["effect"].as_str().unwrap().contains("own environment"), "{report}");
    assert_eq!(sha(&report), sha256(&text), "nothing depends on the file");
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-own");
    gateway.stop();
}

#[test]
fn a_file_that_nothing_uses_counts_for_nothing_until_something_does() {
    let home = Home::new();
    // Not even its faults count: it may be another program's.
    put_env(&home, "conf/.env", "this is no line\nTOKEN=s3cr3t-1\n");
    let gateway = start(&home, "", UNWATCHED);
    let report = reload_by_cli(&home);
    assert_eq!(report["config_sha256"], json!(sha256(&fs::read_to_string(home.config()).unwrap())));
    assert_eq!(report["dotenv"]["source"], "live");

    put_env(&home, "conf/.env", "TOKEN=s3cr3t-2\n");
    let report = reload_by_cli(&home);
    assert_eq!(report["dotenv"]["unused"], json!(["TOKEN"]), "{report}");
    assert_eq!(report["generation"], 1);
    assert!(report["dotenv"]["effect"].as_str().unwrap().contains("used by nothing"), "{report}");

    let report = gateway.reload(&home.provider("a", &[], "env: {KEY: \"${TOKEN}\"}"));
    assert_eq!(report["changed_fields"], json!({"a": ["env"]}), "{report}");
    assert_ne!(report["config_sha256"], json!(sha256(&fs::read_to_string(home.config()).unwrap())));
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-2");
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-3\n");
    reload_by_cli(&home);
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-3");
    gateway.stop();
}

#[test]
fn providers_inherit_from_it_what_they_ask_for() {
    let home = Home::new();
    put_env(&home, "conf/.env", "ONE=s3cr3t-1\nTWO=s3cr3t-2\nHANGAR_X=s3cr3t-x\nHOME=s3cr3t-home\n");
    let two = |suffix: &str| {
        home.provider("named", &[], &format!("inherit_env: [ONE, LATER]{suffix}"))
            + &home.provider("all", &[], "inherit_env: true, env: {TWO: mine}")
            + &home.provider("none", &[], "")
    };
    let gateway = Gateway::start(&home, &two(""));
    let see = |provider: &str| ["ONE", "TWO", "LATER", "HANGAR_X"].map(|name| seen(&gateway, provider, name));
    let null = Value::Null;
    assert_eq!(see("named"), [json!("s3cr3t-1"), null.clone(), null.clone(), null.clone()]);
    assert_eq!(see("all"), [json!("s3cr3t-1"), json!("mine"), null.clone(), null.clone()]);
    assert_eq!(see("none"), [null.clone(), null.clone(), null.clone(), null]);
    assert_eq!(seen(&gateway, "all", "HOME"), json!(home.path("").to_str().unwrap().trim_end_matches('/')));

    put_env(&home, "conf/.env", "ONE=s3cr3t-1\nTWO=s3cr3t-2\nLATER=s3cr3t-3\n");
    let report = reload_by_cli(&home);
    assert_eq!(report["changed_fields"], json!({"all": ["inherit_env"], "named": ["inherit_env"]}), "{report}");
    assert_eq!(report["providers_unchanged"], json!(["none"]));
    assert_eq!(seen(&gateway, "named", "LATER"), "s3cr3t-3");

    gateway.reload(&home.provider("named", &[], "inherit_env: [ONE, HOME]"));
    put_env(&home, "conf/.env", "ONE=s3cr3t-4\nTWO=s3cr3t-4\nHOME=s3cr3t-4\n");
    let told = reload_by_cli(&home)["dotenv"].take();
    assert_eq!((&told["used"], &told["unused"]), (&json!(["ONE"]), &json!(["LATER", "TWO"])), "{told}");
    assert_eq!(told["shadowed"], json!(["HOME"]));
    gateway.stop();
}

#[test]
fn a_half_written_file_is_not_taken_whoever_asks() {
    let home = Home::new();
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-1\n");
    let gateway = start(&home, "env: {KEY: \"${TOKEN}\"}", UNWATCHED);
    let path = home.path("conf/.env");
    fs::write(&path, "TOKEN=s3cr3t-ha").unwrap();
    let reload = gateway.client.start_tool("hangar_reload_config", json!({}));
    std::thread::sleep(ms(150));
    fs::write(&path, "TOKEN=s3cr3t-half-and-half\n").unwrap();
    assert_eq!(reload.wait()["result"]["structuredContent"]["generation"], 2);
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-half-and-half");
    gateway.stop();
}

#[test]
fn containers_inherit_from_it_too() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    put_env(&home, "conf/.env", "ONE=s3cr3t-1\nTWO=s3cr3t-2\n");
    let gateway = Gateway::start(&home, &engine.provider("a", &[], "inherit_env: [ONE]"));
    assert_eq!((seen(&gateway, "a", "ONE"), seen(&gateway, "a", "TWO")), (json!("s3cr3t-1"), Value::Null));
    put_env(&home, "conf/.env", "ONE=s3cr3t-3\n");
    assert_eq!(reload_by_cli(&home)["changed_fields"], json!({"a": ["inherit_env"]}));
    assert_eq!(seen(&gateway, "a", "ONE"), "s3cr3t-3");
    assert!(!gateway.log().contains(SECRET), "{}", gateway.log());
    gateway.stop();
}

#[test]
fn a_file_that_vanishes_takes_its_variables_along_and_the_running_configuration_stays() {
    let home = Home::new();
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-1\n");
    let gateway = start(&home, "env: {KEY: \"${TOKEN}\"}", "");
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-1");
    fs::remove_file(home.path("conf/.env")).unwrap();
    gateway.wait_for_log("configuration_reload_failed");
    let (code, said) = hangar(&home, &["reload", "--config", "conf/config.yaml"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("HGR0201") && said.contains("TOKEN is not set; the file") && said.contains("is gone"),
        "{said}"
    );
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-1");
    fs::write(home.path("conf/.env"), "TOKEN=s3cr3t-2\n").unwrap();
    eventually("what came back is taken", SOON, || (seen(&gateway, "a", "KEY") == "s3cr3t-2").then_some(()));
    gateway.stop();
}

#[test]
fn a_bad_line_is_a_problem_with_its_place_at_the_start_at_a_reload_and_for_validate() {
    let home = Home::new();
    let bad = "GOOD=1\nTOKEN=\"s3cr3t\" s3cr3t\n";
    put_env(&home, "conf/.env", bad);
    home.put(&config(&home.provider("a", &[], "env: {KEY: \"${TOKEN:-x}\"}"), UNWATCHED));
    let (code, said) = hangar(&home, &["validate", "--config", "conf/config.yaml"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("conf/.env:2:16: ") && said.contains("HGR0205") && !said.contains(SECRET), "{said}");
    let mut gateway = Gateway::spawn(&home);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(3));
    eventually("the place is told", SOON, || gateway.log().contains("conf/.env:2:16: ").then_some(()));
    assert!(!gateway.log().contains(SECRET), "{}", gateway.log());

    put_env(&home, "conf/.env", "TOKEN=fine\n");
    let gateway = Gateway::again(&home);
    put_env(&home, "conf/.env", bad);
    let report = gateway.client.tool("hangar_reload_config", json!({}))["structuredContent"].take();
    assert_eq!((&report["stage"], &report["generation"]), (&json!("normalize"), &json!(1)), "{report}");
    let problem = &report["problems"][0];
    assert_eq!((&problem["line"], &problem["column"], &problem["path"]), (&json!(2), &json!(16), &json!("")));
    assert!(
        problem["file"].as_str().unwrap().ends_with("conf/.env") && !report.to_string().contains(SECRET),
        "{report}"
    );
    assert_eq!(seen(&gateway, "a", "KEY"), "fine");
    gateway.stop();
}

#[test]
fn over_http_the_same_and_no_value_is_in_any_page_or_in_the_finest_log() {
    let home = Home::new();
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-1\nPORTION=7\n");
    let keys = "env: {KEY: \"${TOKEN}\"}, inherit_env: true";
    home.put(&config(&home.provider("a", &[], keys), UNWATCHED));
    let options = ["--http", "--port", "0", "--log-level", "trace"];
    let gateway = Gateway::spawn_with(&home, &home.config(), &options);
    let said = eventually("the gateway answers", SOON, || {
        let (code, said) = hangar(&home, &["status", "--json", "--config", "conf/config.yaml"]);
        (code == Some(0)).then_some(said)
    });
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&status["transport"], &status["dotenv"]["source"]), (&json!("http"), &json!("live")));
    let address = status["address"].as_str().unwrap().parse().unwrap();
    let mut session = HttpSession::open(address);
    assert_eq!(session.call("a__env", json!({"name": "KEY"}))["result"]["content"][0]["text"], "\"s3cr3t-1\"");
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-2\nPORTION=7\n");
    let (code, report) = session.post("/api/config/reload", &json!({}));
    assert_eq!(code, 200, "{report}");
    let told: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(told["dotenv"]["used"], json!(["TOKEN"]));
    assert_eq!(told["changed_fields"], json!({"a": ["env", "inherit_env"]}));
    let mut pages = report;
    for (tool, arguments) in [
        ("hangar_status", json!({})),
        ("hangar_server_info", json!({})),
        ("hangar_details", json!({"provider": "a"})),
        ("hangar_metrics", json!({})),
    ] {
        pages += &session.call(tool, arguments).to_string();
    }
    assert!(pages.contains("conf/.env") && !pages.contains(SECRET), "{pages}");
    session.call("a__echo", json!({}));
    assert!(!gateway.log().contains(SECRET), "{}", gateway.log());
    gateway.stop();
}

#[test]
fn settings_of_the_file_itself_may_come_from_it() {
    let home = Home::new();
    put_env(&home, "conf/.env", "LEVEL=debug\n");
    let gateway = start(&home, "", "config_reload: {enabled: false}\nlogging: {level: \"${LEVEL}\"}\n");
    put_env(&home, "conf/.env", "LEVEL=warn\n");
    let report = reload_by_cli(&home);
    assert_eq!(report["settings_updated"], json!(["logging.level"]), "{report}");
    assert_eq!(report["dotenv"]["used"], json!(["LEVEL"]));
    gateway.stop();
}
