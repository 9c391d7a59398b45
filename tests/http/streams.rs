//! The stream of general messages: `GET /mcp`.

use std::time::Duration;

use serde_json::json;

use crate::rig::{Conn, Running, eventually, provider, start_gateway, with_one_provider};

fn open(gateway: &Running, session: &str) -> Conn {
    let mut conn = gateway.connect();
    let session = format!("Mcp-Session-Id: {session}");
    conn.request(&gateway.address, "GET", "/mcp", &[&session, "Accept: text/event-stream"], b"");
    let head = conn.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "{head:?}");
    conn
}

fn list_tools(gateway: &Running, session: &str) -> usize {
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    gateway.mcp(Some(session), &list).json()["result"]["tools"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_stream_needs_a_session_and_a_client_that_takes_it() {
    let gateway = start_gateway("providers: {}\n");
    let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
    let events = "Accept: text/event-stream";
    assert_eq!(gateway.ask("GET", "/mcp", &[&session, "Accept: application/json"], b"").status, 406);
    assert_eq!(gateway.ask("GET", "/mcp", &[events], b"").status, 400);
    assert_eq!(gateway.ask("GET", "/mcp", &[events, "Mcp-Session-Id: 0"], b"").status, 404);
    assert_eq!(gateway.ask("GET", "/mcp", &[&session, events, "MCP-Protocol-Version: 1"], b"").status, 400);
}

#[test]
fn a_reload_is_told_once_per_list() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    let before = list_tools(&gateway, &session);
    let mut stream = open(&gateway, &session);
    gateway.write_config(&format!("providers:\n{}", provider("t", "--tools, brand_new")));
    let report = gateway.ask("POST", "/api/config/reload", &[], b"").json();
    assert_eq!(report["providers_updated"], json!(["t"]), "{report}");
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(stream.events().expect("a message"));
    }
    let mut methods: Vec<_> = told.iter().filter_map(|event| event["method"].as_str()).collect();
    methods.sort_unstable();
    let lists = ["prompts", "resources", "tools"].map(|list| format!("notifications/{list}/list_changed"));
    assert_eq!(methods, lists);
    assert_eq!(list_tools(&gateway, &session), before + 1, "the new catalogue is live");
    // A reload that changes nothing says nothing. What the new instance's own catalogue had to say was told with the list.
    assert_eq!(gateway.ask("POST", "/api/config/reload", &[], b"").status, 200);
    assert_eq!(
        gateway.ask("POST", "/api/config/reload", &["Content-Type: application/json"], b"{\"dry_run\":true}").status,
        200
    );
    stream.limit(Duration::from_secs(2));
    let silence = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.events()));
    assert!(silence.is_err(), "told again: {silence:?}");
}

#[test]
fn what_was_missed_is_told_when_the_stream_opens() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    list_tools(&gateway, &session);
    gateway.write_config(&format!("providers:\n{}", provider("t", "--tools, brand_new")));
    assert_eq!(gateway.ask("POST", "/api/config/reload", &[], b"").status, 200);
    let mut stream = open(&gateway, &session);
    assert!(stream.events().expect("a message")[0]["method"].as_str().is_some_and(|m| m.ends_with("list_changed")));
}

#[test]
fn a_second_stream_takes_the_firsts_place() {
    let gateway = start_gateway("providers: {}\n");
    let session = gateway.session("2025-11-25");
    let mut first = open(&gateway, &session);
    let mut second = open(&gateway, &session);
    assert!(first.events().is_none(), "the first has ended");
    gateway.write_config(&format!("providers:\n{}", provider("t", "--name, a")));
    gateway.ask("POST", "/api/config/reload", &[], b"");
    assert!(second.events().is_some());
}

#[test]
fn a_resource_update_goes_to_its_subscriber_alone() {
    let gateway = with_one_provider();
    let (one, other) = (gateway.session("2025-11-25"), gateway.session("2025-11-25"));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/list"});
    let resources = gateway.mcp(Some(&one), &list).json();
    gateway.mcp(Some(&other), &list);
    let uri = resources["result"]["resources"][0]["uri"].as_str().map(str::to_owned).expect("a resource");
    let (mut stream, mut silent) = (open(&gateway, &one), open(&gateway, &other));
    let subscribe = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": uri}});
    assert!(gateway.mcp(Some(&one), &subscribe).json().get("result").is_some());
    let own = uri.strip_prefix("hangar://t/").expect("prefixed");
    gateway.mcp(Some(&other), &crate::rig::call(3, "t__update_resource", &json!({"uri": own})));
    loop {
        let told = stream.events().expect("an update");
        if let Some(update) = told.iter().find(|event| event["method"] == "notifications/resources/updated") {
            assert_eq!(update["params"]["uri"], uri);
            break;
        }
    }
    assert_eq!(gateway.ask("DELETE", "/mcp", &[&format!("Mcp-Session-Id: {other}")], b"").status, 204);
    while let Some(told) = silent.events() {
        assert!(told.iter().all(|event| event["method"] != "notifications/resources/updated"), "{told:?}");
    }
}

#[test]
fn streams_end_with_the_gateway() {
    let mut gateway = start_gateway("providers: {}\n");
    let session = gateway.session("2025-11-25");
    let mut stream = open(&gateway, &session);
    let mut events = gateway.connect();
    events.request(&gateway.address, "GET", "/api/events?stream=1", &[], b"");
    assert_eq!(events.head().status, 200);
    gateway.signal(rustix::process::Signal::TERM);
    let last = stream.events().expect("the last notification");
    assert!(format!("{last:?}").contains("the gateway is stopping"), "{last:?}");
    assert!(stream.events().is_none());
    eventually("the events end", || events.events().is_none().then_some(()));
    assert!(gateway.wait_for_exit().success());
}
