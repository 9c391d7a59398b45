//! Lists that lack a provider say so.

use crate::gateway::*;

#[test]
fn a_list_says_which_providers_it_lacks_and_why() {
    let home = Home::new();
    let broken = home.provider("broken", &["--handshake", "exit:7"], "");
    let gateway = Gateway::start(&home, &(home.provider("well", &[], "") + &broken));
    let list = gateway.client.list("tools/list");
    let lacking = &list["_meta"]["hangar/not_listed"];
    assert_eq!(lacking.as_array().map(Vec::len), Some(1), "{lacking}");
    assert_eq!(lacking[0]["provider"], "broken");
    assert!(lacking[0]["why"].as_str().unwrap().contains("exited with code 7"), "{lacking}");
    assert!(list["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "well__echo"));
    let status = || gateway.client.structured("hangar_status", json!({}));
    assert_eq!(status()["not_listed"], json!(["broken"]));
    // Its back-off may be over by now; each further failure makes it longer.
    let missing = eventually("it is not tried again yet", SOON, || {
        gateway.client.start_tool("broken__echo", json!({})).wait();
        let missing = status()["missing"][0].take();
        missing["retry_after_ms"].as_u64().is_some().then_some(missing)
    });
    assert_eq!(missing["provider"], "broken", "{missing}");
    assert!(["cold", "dead"].contains(&missing["state"].as_str().unwrap()), "{missing}");
    assert!(missing["why"].as_str().unwrap().contains("exited with code 7"), "{missing}");
    assert!(missing["retry_after_ms"].as_u64().is_some_and(|after| after <= 30_000), "{missing}");
    // A call says the same: whose fault it is, and when it is tried again.
    let refused = gateway.client.start_tool("broken__echo", json!({})).wait();
    let data = &refused["error"]["data"];
    assert_eq!((&data["fault"], &data["error"]), (&json!("upstream"), &json!("provider_not_started")), "{refused}");
    assert!(data["cause"].as_str().unwrap().contains("exited with code 7"), "{refused}");
    assert!(data["retry_after_ms"].as_u64().is_some(), "{refused}");
    // A whole list bears nothing of the kind.
    gateway.reload(&home.provider("well", &[], ""));
    assert!(gateway.client.list("tools/list").get("_meta").is_none());
    assert_eq!(status()["missing"], json!([]));
    gateway.stop();
}
