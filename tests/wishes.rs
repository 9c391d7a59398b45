//! What upstreams do for their clients as long as those want it: subscriptions and log levels that end with a session, that
//! outlive a lost session upstream, and floods of changes that are told in few words.

#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/remote_process.rs"]
mod remote_process;

use std::collections::BTreeSet;

use exchange::{Exchange, Legacy, params};
use gateway::{Gateway, Home, Value, eventually, json, ms};
use remote_process::Remote;

fn subscriptions(client: &Legacy) -> BTreeSet<String> {
    serde_json::from_str(&client.text("a__subscriptions", json!({}))).unwrap()
}

fn subscribe(client: &Legacy, uri: &str) {
    let answer = client.request("resources/subscribe", json!({"uri": format!("hangar://a/{uri}")}));
    assert!(answer["result"].is_object(), "{answer}");
}

#[test]
fn what_only_a_session_that_has_ended_wanted_is_given_up_upstream() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let (stays, goes) = (Legacy::open(address, json!({})), Legacy::open(address, json!({})));
    subscribe(&stays, "test://one");
    for uri in ["test://one", "test://two"] {
        subscribe(&goes, uri);
    }
    stays.request("logging/setLevel", json!({"level": "error"}));
    goes.request("logging/setLevel", json!({"level": "debug"}));
    assert_eq!(subscriptions(&stays).len(), 2);
    eventually("the least level holds", ms(5000), || (stays.text("a__log_level", json!({})) == "debug").then_some(()));
    goes.end();
    eventually("the one that nobody wants is gone", ms(5000), || {
        (subscriptions(&stays) == BTreeSet::from(["test://one".to_owned()])).then_some(())
    });
    eventually("the level is the other one's", ms(5000), || {
        (stays.text("a__log_level", json!({})) == "error").then_some(())
    });
    // One that comes back finds it as new.
    let back = Legacy::open(address, json!({}));
    subscribe(&back, "test://two");
    assert_eq!(subscriptions(&stays).len(), 2);
    gateway.stop();
}

#[test]
fn a_modern_upstream_is_listened_to_for_nothing_that_nobody_wants_any_more() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &["--era", "modern"], ""));
    let (stays, goes) = (Legacy::open(address, json!({})), Legacy::open(address, json!({})));
    subscribe(&stays, "test://one");
    subscribe(&goes, "test://two");
    let listens = || stays.text("a__listening", json!({}));
    eventually("both", ms(5000), || listens().contains("test://two").then_some(()));
    goes.end();
    let left = eventually("one", ms(5000), || Some(listens()).filter(|filters| !filters.contains("test://two")));
    assert!(left.contains("test://one"), "{left}");
    // A modern client that stops listening, too.
    let filter = params(json!({"notifications": {"resourceSubscriptions": ["hangar://a/test://two"]}}), json!({}));
    let mut stream = Exchange::start(address, "subscriptions/listen", &filter);
    assert_eq!(stream.event()["method"], "notifications/subscriptions/acknowledged");
    eventually("again", ms(5000), || listens().contains("test://two").then_some(()));
    drop(stream);
    eventually("and not", ms(5000), || (!listens().contains("test://two")).then_some(()));
    gateway.stop();
}

#[test]
fn an_upstream_that_forgets_its_session_is_greeted_once_and_told_again_what_clients_want() {
    let (home, remote) = (Home::new(), Remote::start(&["--resources"]));
    let (gateway, address) = Gateway::over_http(&home, &remote.provider("a", ""));
    let client = Legacy::open(address, json!({}));
    let stats = || -> Value { serde_json::from_str(&client.text("a__stats", json!({}))).unwrap() };
    subscribe(&client, "test://r");
    client.request("logging/setLevel", json!({"level": "warning"}));
    let before = stats();
    let count = |stats: &Value, method: &str| stats[format!("method {method}")].as_u64().unwrap_or_default();
    let told = |stats: &Value| (count(stats, "resources/subscribe"), count(stats, "logging/setLevel"));
    assert_eq!(before["initialises"], 1, "{before}");
    client.text("a__forget", json!({}));
    // Nobody has looked at a call that came in an unknown session: it is sent again, and answered once.
    assert_eq!(client.text("a__echo", json!({"text": "still there"})), "still there");
    let after = eventually("it was told again", ms(5000), || {
        let now = stats();
        (told(&now).0 > told(&before).0 && told(&now).1 > told(&before).1).then_some(now)
    });
    assert_eq!(after["initialises"], 2, "{after}");
    gateway.stop();
}

#[test]
fn a_flood_of_changes_is_told_in_few_words_and_the_last_one_counts() {
    for era in [&[][..], &["--era", "modern"]] {
        let home = Home::new();
        let gateway = Gateway::start(&home, &home.provider("a", era, ""));
        let before = gateway.client.tools().len();
        let flood: Vec<_> =
            (0..1000).map(|n| gateway.client.start_tool("a__add_tool", json!({"name": format!("extra{n}")}))).collect();
        flood.into_iter().for_each(|call| assert!(call.wait()["result"].is_object()));
        // Whoever lists is not told of what is listed.
        gateway.client.wait_messages("notifications/tools/list_changed", 1);
        eventually("every one is listed", ms(10_000), || (gateway.client.tools().len() == before + 1000).then_some(()));
        let told = gateway.client.messages("notifications/tools/list_changed").len();
        assert!((1..=60).contains(&told), "{told} notifications for 1000 changes");
        // The last one, alone, is told as well.
        gateway.client.tool("a__add_tool", json!({"name": "the_last"}));
        gateway.client.wait_messages("notifications/tools/list_changed", told + 1);
        assert!(gateway.client.tools().contains(&"a__the_last".to_owned()));
        gateway.stop();
    }
}
