//! The same over HTTP and on the command line.

use std::process::{Command, Output};

use crate::{
    gateway::{Gateway, Home, HttpSession, Value, json},
    yaml,
};

fn hangar(home: &Home, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hangar"));
    command.args(words).arg("--config").arg(home.config()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path(""));
    command.env("XDG_RUNTIME_DIR", home.path("run")).env("XDG_STATE_HOME", home.path("state"));
    command.output().unwrap()
}

fn serve(home: &std::sync::Arc<Home>) -> (Gateway, HttpSession) {
    home.put(&yaml(home));
    let gateway = Gateway::spawn_options(home, &["--http", "--port", "0"]);
    gateway.wait_for_log("gateway_started");
    let log = gateway.log();
    let address = log.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let session = HttpSession::open(address.parse().unwrap());
    (gateway, session)
}

#[test]
fn over_http_by_name_and_with_nothing_else() {
    let home = Home::new();
    let (gateway, mut http) = serve(&home);
    let mut post = |path: &str, body: Value| {
        let (status, text) = http.post(path, &body);
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (status, answer) = post("/api/providers/kept/load", json!({"command": ["sh"]}));
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = post("/api/providers/kept/load", json!({}));
    assert_eq!((status, &answer["owner"]), (200, &json!("load:http")), "{answer}");
    let (status, answer) = post("/api/providers/kept/load", json!({}));
    assert_eq!((status, &answer["error"]), (409, &json!("name_taken")), "{answer}");
    let (status, answer) = post("/api/providers/nobody/load", json!({}));
    assert_eq!((status, &answer["details"]["known"]), (404, &json!(["kept", "off"])), "{answer}");
    let (status, answer) = post("/api/providers/kept/unload", json!({}));
    assert_eq!((status, &answer["draining"]), (200, &json!(false)), "{answer}");
    let (status, answer) = post("/api/providers/a/unload", json!({}));
    assert_eq!((status, &answer["error"]), (409, &json!("not_loaded")), "{answer}");
    gateway.stop();
}

#[test]
fn on_the_command_line() {
    let home = Home::new();
    let (gateway, _http) = serve(&home);
    let text =
        |output: &Output| String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    let loaded = hangar(&home, &["load", "off"]);
    assert_eq!(loaded.status.code(), Some(0), "{}", text(&loaded));
    let list = text(&hangar(&home, &["list"]));
    assert!(list.contains("load:cli") && list.contains("config"), "{list}");
    let refused = hangar(&home, &["load", "off"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused));
    assert!(text(&refused).contains("who loaded it (cli)"), "{}", text(&refused));
    let unloaded = hangar(&home, &["unload", "off", "--json"]);
    assert_eq!(unloaded.status.code(), Some(0), "{}", text(&unloaded));
    assert_eq!(serde_json::from_slice::<Value>(&unloaded.stdout).unwrap()["provider"], "off");
    gateway.wait_for_log("provider_unloaded");
    gateway.stop();
}
