//! A gateway with a group `workers`, and who of its members answers.

use std::{fs, sync::Arc};

pub use crate::gateway::{Gateway, Home, SOON, Value, eventually, json, ms};

/// Test providers of these names that write down what they are asked, and this group `workers`.
pub fn yaml(home: &Home, names: &[&str], group: &str) -> String {
    members(home, &names.iter().map(|name| (*name, &[][..], "")).collect::<Vec<_>>()) + &workers(group)
}

/// Name, arguments, keys of each.
pub fn members(home: &Home, members: &[(&str, &[&str], &str)]) -> String {
    let one = |(name, args, keys): &(&str, &[&str], &str)| {
        let log = home.path(&format!("logs/{name}.requests"));
        let all = [&["--log-requests", log.to_str().unwrap()], *args].concat();
        home.provider(name, &all, keys)
    };
    members.iter().map(one).collect()
}

pub fn workers(group: &str) -> String {
    format!("groups:\n  workers: {{{group}}}\n")
}

pub fn start(home: &Arc<Home>, names: &[&str], group: &str) -> Gateway {
    Gateway::start(home, &yaml(home, names, group))
}

/// The name of the member that answers the next call.
pub fn who(gateway: &Gateway) -> String {
    named(&gateway.client.text("workers__args", json!({})))
}

/// As the tool `args` tells it.
pub fn named(args: &str) -> String {
    let args: Vec<String> = serde_json::from_str(args).unwrap();
    args.iter().skip_while(|arg| *arg != "--name").nth(1).unwrap().clone()
}

/// Who answers so many calls, one after the other.
pub fn turns(gateway: &Gateway, n: usize) -> String {
    (0..n).map(|_| who(gateway)).collect()
}

pub fn group(gateway: &Gateway) -> Value {
    let list = gateway.client.structured("hangar_group_list", json!({}));
    list["groups"].as_array().unwrap().iter().find(|group| group["group"] == "workers").unwrap().clone()
}

pub fn member(gateway: &Gateway, id: &str) -> Value {
    let group = group(gateway);
    group["members"].as_array().unwrap().iter().find(|member| member["id"] == id).unwrap().clone()
}

/// Calls of tools that a member was sent.
pub fn sent(home: &Home, name: &str) -> usize {
    let text = fs::read_to_string(home.path(&format!("logs/{name}.requests"))).unwrap_or_default();
    text.lines().filter(|method| *method == "tools/call").count()
}

/// The JSON-RPC error of a call through the group.
pub fn error(gateway: &Gateway, tool: &str, arguments: Value) -> Value {
    let answer = gateway.client.start_tool(&format!("workers__{tool}"), arguments).wait();
    assert!(answer.get("error").is_some(), "{answer}");
    answer["error"].clone()
}

pub fn wait_in_flight(gateway: &Gateway, name: &str, n: u64) {
    let found = || (gateway.provider(name)["calls_in_flight"] == n).then_some(());
    eventually(&format!("{n} calls run on {name}"), SOON, found);
}
