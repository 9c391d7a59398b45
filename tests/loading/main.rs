//! Loading and unloading while running, through the shipped binary: who owns a provider decides what may change it.

#[path = "../support/gateway.rs"]
mod gateway;

mod clash;
mod load;
mod surfaces;

use gateway::{Gateway, Home, UNWATCHED, Value, json};

/// `a` in service, `off` disabled, `kept` in the catalogue.
pub fn yaml(home: &Home) -> String {
    with_sections(&(home.provider("a", &[], "") + &off(home, "")), &home.provider("kept", &[], ""))
}

pub fn off(home: &Home, keys: &str) -> String {
    home.provider("off", &[], &format!("enabled: false, {keys}"))
}

pub fn with_sections(providers: &str, catalog: &str) -> String {
    let catalog = if catalog.is_empty() { String::new() } else { format!("catalog:\n{catalog}") };
    format!("{UNWATCHED}providers:\n{providers}{catalog}")
}

pub fn start(home: &std::sync::Arc<Home>) -> Gateway {
    home.put(&yaml(home));
    Gateway::again(home)
}

/// The structured answer, and whether it is an error.
pub fn ask(gateway: &Gateway, tool: &str, provider: &str) -> (Value, bool) {
    let mut answer = gateway.client.tool(tool, json!({"provider": provider}));
    (answer["structuredContent"].take(), answer["isError"] == true)
}

pub fn load(gateway: &Gateway, provider: &str) -> Value {
    let (answer, failed) = ask(gateway, "hangar_load", provider);
    assert!(!failed, "{answer}");
    answer
}
