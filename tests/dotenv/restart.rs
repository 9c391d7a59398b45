//! What a restart does about the file: it is looked for and read anew, and what that has changed is told.

use std::fs;

use crate::{gateway::*, rig::*};

#[test]
fn a_restart_reads_it_anew_and_says_by_name_what_that_has_changed() {
    let home = Home::new();
    put_env(&home, ".env", "TOKEN=s3cr3t-1\nIDLE=s3cr3t-x\nSAME=s3cr3t-same\n");
    let gateway = start(&home, "env: {KEY: \"${TOKEN:-unset}\"}", UNWATCHED);
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-1");
    let lives = || gateway.log().matches("gateway_started").count();
    let restart = |count: usize| {
        gateway.signal(Signal::USR2);
        eventually("the next life has started", SOON, || (lives() == count).then_some(()));
        gateway.client.structured("hangar_server_info", json!({}))
    };
    // Found anew, too: the place beside the configuration comes first.
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-2\nSAME=s3cr3t-same\n");
    let info = restart(2);
    let told = &info["last_restart"]["dotenv"];
    assert_eq!((&told["changed"], &told["used"]), (&json!(["IDLE", "TOKEN"]), &json!(["TOKEN"])), "{info}");
    assert!(told["path"].as_str().unwrap().ends_with("conf/.env") && told["source"] == "live", "{info}");
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-2");
    let record = fs::read_dir(home.path("run/hangar")).unwrap().flatten().map(|entry| entry.path());
    let record = record.filter_map(|path| fs::read_to_string(path).ok()).find(|text| text.contains("\"dotenv\""));
    let record: Value = serde_json::from_str(&record.expect("the facts of the process")).unwrap();
    assert!(record["dotenv"].as_str().unwrap().ends_with("conf/.env"), "{record}");

    put_env(&home, "conf/.env", "TOKEN=s3cr3t-3\nSAME=s3cr3t-same\n");
    let (code, said) = hangar(&home, &["restart", "--config", "conf/config.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("conf/.env (live): TOKEN: used by the configuration, in force now"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    let info = restart(4);
    assert_eq!(info["last_restart"]["dotenv"]["changed"], json!([]), "{info}");
    assert!(info["last_restart"]["dotenv"]["effect"].as_str().unwrap().contains("no variable has changed"), "{info}");

    put_env(&home, "conf/.env", "TOKEN=\"s3cr3t\" s3cr3t\n");
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("restart_refused");
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-3");
    assert!(gateway.log().contains("conf/.env:1:16: ") && !gateway.log().contains(SECRET), "{}", gateway.log());
    gateway.stop();
}

#[test]
fn a_restart_asks_the_next_program_about_the_file_that_was_named() {
    let home = Home::new();
    put_env(&home, "named", "TOKEN=s3cr3t-1\n");
    home.put(&config(&home.provider("a", &[], "env: {KEY: \"${TOKEN}\"}"), UNWATCHED));
    let gateway = Gateway::spawn_with(&home, &home.config(), &["--dotenv-path", "named"]);
    gateway.client.initialize(json!({}));
    put_env(&home, "named", "TOKEN=s3cr3t-2\n");
    gateway.signal(Signal::USR2);
    let lives = || gateway.log().matches("gateway_started").count();
    eventually("the next life has started", SOON, || (lives() == 2).then_some(()));
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-2");
    fs::remove_file(home.path("named")).unwrap();
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("restart_refused");
    assert!(gateway.log().contains("named (named by --dotenv-path)"), "{}", gateway.log());
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-2");
    gateway.stop();
}
