//! A gateway in a home with `.env` files, and what it is asked.

use std::{
    process::{Command, Output},
    sync::Arc,
};

use crate::gateway::*;

/// In every value of these tests; never to be seen in a log, a report or a page.
pub const SECRET: &str = "s3cr3t";

/// `hangar` with these words in the home of a gateway, and what it says on stdout.
pub fn hangar(home: &Home, words: &[&str]) -> (Option<i32>, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_hangar"));
    let Output { status, stdout, stderr } = in_home(command, home).args(words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

pub fn in_home(mut command: Command, home: &Home) -> Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path(""));
    command.env("XDG_RUNTIME_DIR", home.path("run")).env("XDG_STATE_HOME", home.path("state"));
    command.current_dir(home.path(""));
    command
}

pub fn reload_by_cli(home: &Home) -> Value {
    let (code, out) = hangar(home, &["reload", "--json", "--config", "conf/config.yaml"]);
    assert_eq!(code, Some(0), "{out}");
    serde_json::from_str(&out).unwrap()
}

pub fn put_env(home: &Home, name: &str, text: &str) {
    put(&home.path(name), text);
}

/// A variable as the provider has it; null when it has none.
pub fn seen(gateway: &Gateway, provider: &str, name: &str) -> Value {
    serde_json::from_str(&gateway.client.text(&format!("{provider}__env"), json!({"name": name}))).unwrap()
}

pub fn dotenv(gateway: &Gateway) -> Value {
    gateway.client.structured("hangar_status", json!({}))["dotenv"].take()
}

pub fn label(gateway: &Gateway) -> String {
    dotenv(gateway)["source"].as_str().unwrap().to_owned()
}

/// A gateway with one provider of these keys and one that none of it concerns.
pub fn start(home: &Arc<Home>, keys: &str, settings: &str) -> Gateway {
    let providers = home.provider("a", &[], keys) + &home.provider("calm", &[], "");
    Gateway::with_settings(home, &providers, settings)
}

pub fn hangar_status(home: &Home) -> (Option<i32>, String) {
    hangar(home, &["status", "--config", "conf/config.yaml"])
}
