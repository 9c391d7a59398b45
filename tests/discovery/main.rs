//! Providers that are found beside the configuration file, through the shipped binary.

#[path = "../support/gateway.rs"]
mod gateway;

mod broken;
mod clash;
mod files;

use std::fs;

use gateway::{Gateway, Home, UNWATCHED, json, put};

/// Watched by notification and by poll.
pub const WATCHED: &str = "config_reload: {interval_s: 0.5}\n";
pub const POLLED: &str = "config_reload: {interval_s: 0.5, use_watchdog: false}\n";
const FILES: &str = "discovery: {files: {directory: ./providers.d}}\n";

/// What stands under a provider's name.
pub fn fragment(home: &Home, name: &str, args: &[&str], keys: &str) -> String {
    let line = home.provider(name, args, keys);
    line.split_once(": ").unwrap().1.to_owned()
}

pub fn put_fragment(home: &Home, name: &str, text: &str) {
    put(&home.path(&format!("conf/providers.d/{name}.yaml")), text);
}

pub fn remove_fragment(home: &Home, name: &str) {
    fs::remove_file(home.path(&format!("conf/providers.d/{name}.yaml"))).unwrap();
}

/// The main file, with provider `a`.
pub fn main_file(home: &Home, settings: &str) -> String {
    format!("{settings}{FILES}providers:\n{}", home.provider("a", &[], ""))
}

/// A gateway with `a` in the file and `f` in a fragment.
pub fn start(home: &std::sync::Arc<Home>, settings: &str) -> Gateway {
    fs::create_dir(home.path("conf/providers.d")).unwrap();
    put_fragment(home, "f", &fragment(home, "f", &[], ""));
    home.put(&main_file(home, settings));
    let gateway = Gateway::again(home);
    assert_eq!(gateway.provider("f")["owner"], "file:f.yaml");
    gateway
}

pub fn reload(gateway: &Gateway) -> gateway::Value {
    gateway.client.tool("hangar_reload_config", json!({}))["structuredContent"].take()
}

pub fn unwatched(home: &std::sync::Arc<Home>) -> Gateway {
    start(home, UNWATCHED)
}
