//! Which file is taken, and what `status` calls it.

use std::{fs, path::Path, process::Command};

use crate::{gateway::*, rig::*};

#[test]
fn the_file_that_is_named_wins_then_the_one_beside_the_configuration_then_the_working_directory() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], "env: {FROM: \"${FROM}\"}"), UNWATCHED));
    for (name, value) in [("named", "flag"), ("by_variable", "variable"), ("conf/.env", "beside"), (".env", "working")]
    {
        put_env(&home, name, &format!("FROM={value}\n"));
    }
    let from = |options: &[&str], variables: &[(&str, &str)]| {
        let gateway = Gateway::spawn_in(&home, &home.config(), options, variables);
        gateway.client.initialize(json!({}));
        let path = dotenv(&gateway)["path"].as_str().unwrap().to_owned();
        let value = seen(&gateway, "a", "FROM").as_str().unwrap().to_owned();
        gateway.stop();
        assert!(Path::new(&path).is_absolute(), "{path}");
        value
    };
    let variable = [("HANGAR_DOTENV_PATH", "by_variable")];
    assert_eq!(from(&["--dotenv-path", "named"], &variable), "flag");
    assert_eq!(from(&[], &variable), "variable");
    assert_eq!(from(&[], &[("HANGAR_DOTENV_PATH", "")]), "beside");
    fs::remove_file(home.path("conf/.env")).unwrap();
    assert_eq!(from(&[], &[]), "working");
}

#[test]
fn status_says_where_variables_come_from_at_this_moment() {
    let home = Home::new();
    let gateway = start(&home, "env: {KEY: \"${TOKEN:-unset}\"}", UNWATCHED);
    assert_eq!(dotenv(&gateway), json!({"path": null, "source": "none", "recorded": null}));
    put_env(&home, ".env", "TOKEN=s3cr3t-found\n");
    assert_eq!(label(&gateway), "fresh-discovery");
    let report = reload_by_cli(&home);
    assert_eq!(
        (&report["dotenv"]["source"], &report["dotenv"]["used"]),
        (&json!("fresh-discovery"), &json!(["TOKEN"]))
    );
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-found");
    gateway.stop();

    let gateway = Gateway::again(&home);
    assert_eq!(label(&gateway), "live");
    let (code, said) = hangar(&home, &["status", "--config", "conf/config.yaml"]);
    assert!(code == Some(0) && said.contains("/.env (live)"), "{said}");
    put_env(&home, "conf/.env", "TOKEN=s3cr3t-beside\n");
    assert_eq!(label(&gateway), "live", "while the recorded file is there no other is looked at");
    reload_by_cli(&home);
    assert_eq!(seen(&gateway, "a", "KEY"), "s3cr3t-found");
    fs::remove_file(home.path(".env")).unwrap();
    assert_eq!(label(&gateway), "fresh-discovery");
    fs::remove_file(home.path("conf/.env")).unwrap();
    assert_eq!(label(&gateway), "missing");
    let report = reload_by_cli(&home);
    assert_eq!(report["dotenv"]["source"], "missing");
    assert!(report["dotenv"]["effect"].as_str().unwrap().starts_with("the file is gone"), "{report}");
    assert_eq!(seen(&gateway, "a", "KEY"), "unset");
    gateway.stop();
}

#[test]
fn a_file_that_was_mounted_into_place_is_told_apart() {
    let home = Home::new();
    home.put(&config("", UNWATCHED));
    fs::create_dir(home.path("outside")).unwrap();
    put_env(&home, "outside/.env", "");
    put_env(&home, "conf/.env", "");
    // The mount is in a namespace of its own: nobody else sees it, and it goes with the gateway.
    let hangar = env!("CARGO_BIN_EXE_hangar");
    for (what, source) in [("outside/.env conf/.env", "conf/config.yaml"), ("outside conf", "conf/config.yaml")] {
        if what == "outside conf" {
            fs::copy(home.config(), home.path("outside/config.yaml")).unwrap();
        }
        let script = format!("mount --bind {what} && exec {hangar} serve --config {source}");
        let mut command = in_home(Command::new("unshare"), &home);
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
        let probe =
            in_home(Command::new("unshare"), &home).args(["--user", "--map-root-user", "--mount", "true"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: no mount namespace of one's own can be had here");
            return;
        }
        let mut child =
            command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let said = eventually("the gateway answers", SOON, || {
            let (code, said) = hangar_status(&home);
            (code == Some(0)).then_some(said)
        });
        assert!(said.contains("conf/.env (live (bind-mounted))"), "{said}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

#[test]
fn a_named_file_has_to_be_there_and_validate_judges_by_the_same_rules() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], "env: {KEY: \"${TOKEN}\"}"), UNWATCHED));
    let config = ["--config", "conf/config.yaml"];
    let (code, said) = hangar(&home, &["validate", config[0], config[1]]);
    assert!(code == Some(3) && said.contains("HGR0201"), "{said}");
    put_env(&home, "other.env", "TOKEN=s3cr3t\n");
    let (code, said) = hangar(&home, &["validate", config[0], config[1], "--dotenv-path", "other.env"]);
    assert!(code == Some(0) && said.contains("1 file it refers to"), "{said}");
    put_env(&home, ".env", "ELSE=1\n");
    let (code, said) = hangar(&home, &["validate", config[0], config[1]]);
    assert!(code == Some(3) && said.contains("TOKEN is not set, and not in ") && said.contains("/.env"), "{said}");

    for words in [["validate", "--dotenv-path", "gone.env"], ["serve", "--dotenv-path", "gone.env"]] {
        let (code, said) = hangar(&home, &[&words[..], &config[..]].concat());
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("gone.env (named by --dotenv-path)") && said.contains("HGR0204"), "{said}");
    }
    // A file of the wrong kind is a problem of whoever needs it.
    fs::create_dir(home.path("dir.env")).unwrap();
    let (code, said) = hangar(&home, &["validate", config[0], config[1], "--dotenv-path", "dir.env"]);
    assert!(code == Some(3) && said.contains("dir.env:1:1: the .env file cannot be read"), "{said}");
}
