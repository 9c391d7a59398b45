//! The modern era at the front: revision 2026-07-28 over HTTP and stdio, through the shipped binary.

#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/gateway.rs"]
mod gateway;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json, ms};

const VERSION: &str = "2026-07-28";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn meta(more: Value) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "modern-test", "version": "1"},
    });
    meta.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    meta
}

fn params(more: Value) -> Value {
    let mut params = more;
    params["_meta"] = meta(params["_meta"].take());
    params
}

/// One exchange on a connection of its own.
struct Exchange {
    status: u16,
    head: String,
    stream: BufReader<TcpStream>,
}

impl Exchange {
    fn start(address: SocketAddr, headers: &[(&str, &str)], body: &Value) -> Self {
        Self::of("POST", address, headers, &body.to_string())
    }

    fn of(verb: &str, address: SocketAddr, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (head, stream) = exchange::exchange(address, verb, &headers, body, SOON);
        Self { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, stream }
    }

    fn json(mut self) -> (u16, Value) {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        (self.status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The next message of an event stream.
    fn event(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "the stream has ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

/// A request as a client of this era sends it.
fn send(address: SocketAddr, method: &str, parameters: Value) -> Exchange {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params(parameters)});
    let named = ["name", "uri"].iter().find_map(|key| body["params"][key].as_str().map(str::to_owned));
    let mut headers = vec![("MCP-Protocol-Version", VERSION), ("Mcp-Method", method)];
    if let Some(name) = named.as_deref().filter(|_| method != "completion/complete") {
        headers.push(("Mcp-Name", name));
    }
    Exchange::start(address, &headers, &body)
}

fn ask(address: SocketAddr, method: &str, parameters: Value) -> Value {
    let (status, answer) = send(address, method, parameters).json();
    assert_eq!((status, &answer["id"]), (200, &json!(7)), "{answer}");
    answer
}

fn served(home: &Arc<Home>) -> (Gateway, SocketAddr) {
    Gateway::over_http(home, &home.provider("a", &[], ""))
}

#[test]
fn discovery_lists_calls_prompts_and_resources_without_any_handshake() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let found = ask(address, "server/discover", json!({}))["result"].take();
    assert!(found["supportedVersions"].as_array().unwrap().contains(&json!(VERSION)), "{found}");
    assert_eq!(found["resultType"], "complete");
    assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "hangar");
    for (method, key) in [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources")] {
        let list = ask(address, method, json!({}))["result"].take();
        assert!(!list[key].as_array().unwrap().is_empty(), "{list}");
        let cached = (&list["resultType"], &list["ttlMs"], &list["cacheScope"]);
        assert_eq!(cached, (&json!("complete"), &json!(0), &json!("private")), "{method}");
    }
    let called = ask(address, "tools/call", json!({"name": "a__echo", "arguments": {"n": 1.10}}))["result"].take();
    assert_eq!((&called["content"][0]["text"], &called["resultType"]), (&json!("{\"n\":1.1}"), &json!("complete")));
    let read = ask(address, "resources/read", json!({"uri": "hangar://a/test://one"}))["result"].take();
    assert_eq!((&read["contents"][0]["text"], &read["cacheScope"]), (&json!("the first"), &json!("private")));
    let prompt = ask(address, "prompts/get", json!({"name": "a__greet", "arguments": {"who": "you"}}))["result"].take();
    assert_eq!(prompt["resultType"], "complete", "{prompt}");
    let status = gateway::HttpSession::open(address).call("hangar_status", json!({}));
    assert_eq!(status["result"]["structuredContent"]["sessions"], 1, "only the legacy client has a session: {status}");
    gateway.stop();
}

/// As Python's SDK 2 does on a connection that began with a handshake.
#[test]
fn an_upstream_of_the_other_era_does_not_hear_what_the_client_says_about_itself() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &["--refuse-envelope"], ""));
    for more in [json!({}), json!({"progressToken": 1, "com.example/own": {"n": 1.10}})] {
        let called = ask(address, "tools/call", json!({"name": "a__echo", "arguments": {}, "_meta": more}));
        assert!(called["result"].is_object(), "{called}");
    }
    let read = ask(address, "resources/read", json!({"uri": "hangar://a/test://one"}));
    assert!(read["result"].is_object(), "{read}");
    gateway.stop();
}

/// As PHP spells it.
#[test]
fn keys_with_escaped_slashes_are_the_same_keys() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &["--refuse-envelope"], ""), UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params(json!({"name": "a__pid"}))});
    gateway.client.raw(&call.to_string().replace('/', "\\/"));
    let answer = gateway.client.wait_line("the answer", |line| line.contains("\"id\":5"));
    assert!(answer.contains("\"resultType\":\"complete\""), "{answer}");
    gateway.stop();
}

#[test]
fn what_a_request_has_to_say_about_its_client_is_asked_for() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let headers = [("MCP-Protocol-Version", VERSION), ("Mcp-Method", "tools/list")];
    for lacks in ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"] {
        let mut meta = meta(json!({}));
        meta.as_object_mut().unwrap().remove(lacks);
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/list", "params": {"_meta": meta}});
        let (status, answer) = Exchange::start(address, &headers, &body).json();
        assert_eq!((status, &answer["error"]["code"], &answer["id"]), (400, &json!(-32602), &json!("x")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(lacks), "{answer}");
    }
    let (status, answer) =
        Exchange::start(address, &headers, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}))
            .json();
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32602)), "{answer}");
    // Who it is, is a courtesy.
    let mut anonymous = meta(json!({}));
    anonymous.as_object_mut().unwrap().remove("io.modelcontextprotocol/clientInfo");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": anonymous}});
    assert_eq!(Exchange::start(address, &headers, &body).json().0, 200);
    gateway.stop();
}

#[test]
fn another_version_is_refused_with_those_that_there_are() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let meta = meta(json!({"io.modelcontextprotocol/protocolVersion": "2031-01-01"}));
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "server/discover", "params": {"_meta": meta}});
    let headers = [("MCP-Protocol-Version", "2031-01-01"), ("Mcp-Method", "server/discover")];
    let (status, answer) = Exchange::start(address, &headers, &body).json();
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32022)), "{answer}");
    let data = &answer["error"]["data"];
    assert_eq!(data["requested"], "2031-01-01");
    assert!(data["supported"].as_array().unwrap().contains(&json!(VERSION)), "{answer}");
    gateway.stop();
}

#[test]
fn headers_that_do_not_say_what_the_body_says_are_refused() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params(json!({"name": "a__pid"}))});
    let version = ("MCP-Protocol-Version", VERSION);
    let method = ("Mcp-Method", "tools/call");
    let bad: [&[(&str, &str)]; 8] = [
        &[method, ("Mcp-Name", "a__pid")],
        &[("MCP-Protocol-Version", "2025-11-25"), method, ("Mcp-Name", "a__pid")],
        &[version, ("Mcp-Name", "a__pid")],
        &[version, ("Mcp-Method", "TOOLS/CALL"), ("Mcp-Name", "a__pid")],
        &[version, ("Mcp-Method", "tools/list"), ("Mcp-Name", "a__pid")],
        &[version, method],
        &[version, method, ("Mcp-Name", "a__echo")],
        &[version, method, ("Mcp-Name", "a__pid"), ("Mcp-Name", "a__pid")],
    ];
    for headers in bad {
        let (status, answer) = Exchange::start(address, headers, &call).json();
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32020)), "{headers:?}: {answer}");
        assert_eq!(answer["id"], 1);
    }
    for name in ["a__pid", "  a__pid  ", "=?base64?YV9fcGlk?="] {
        let (status, answer) =
            Exchange::start(address, &[version, ("mcp-method", "tools/call"), ("MCP-NAME", name)], &call).json();
        assert_eq!(status, 200, "{name}: {answer}");
    }
    assert_eq!(home.start_count("a"), 1);
    gateway.stop();
}

#[test]
fn a_method_that_is_gone_needs_no_header_to_be_unknown() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    // Tasks of 2025-11-25 had it; this era knows no Mcp-Name for it.
    let (status, answer) = send(address, "tasks/result", json!({"taskId": "x"})).json();
    assert_eq!((status, &answer["error"]["code"]), (404, &json!(-32601)), "{answer}");
    gateway.stop();
}

#[test]
fn methods_of_the_other_era_and_unknown_ones_are_not_found() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "no/such"]
    {
        let (status, answer) = send(address, method, json!({})).json();
        assert_eq!(
            (status, &answer["error"]["code"], &answer["id"]),
            (404, &json!(-32601), &json!(7)),
            "{method}: {answer}"
        );
    }
    for verb in ["GET", "DELETE"] {
        let refused = Exchange::of(verb, address, &[("MCP-Protocol-Version", VERSION)], "");
        assert_eq!(refused.status, 405);
        assert!(refused.head.contains("allow: post"), "{}", refused.head);
    }
    let missing = send(address, "resources/read", json!({"uri": "hangar://a/test://none"})).json().1;
    assert_eq!(missing["error"]["code"], -32602, "{missing}");
    gateway.stop();
}

#[test]
fn progress_and_logs_come_on_the_calls_own_stream_and_logs_only_when_asked_for() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let mut stream = send(
        address,
        "tools/call",
        json!({"name": "a__progress", "arguments": {"n": 3, "ms": 5}, "_meta": {"progressToken": "t"}}),
    );
    for _ in 0..3 {
        let event = stream.event();
        assert_eq!(
            (&event["method"], &event["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("t"))
        );
    }
    assert_eq!(stream.event()["result"]["resultType"], "complete");
    assert!(stream.head.contains("x-accel-buffering: no"), "{}", stream.head);
    // Without a level not one message.
    let quiet = ask(address, "tools/call", json!({"name": "a__log", "arguments": {"n": 3}}));
    assert_eq!(quiet["result"]["content"][0]["text"], "logged");
    let level = json!({"io.modelcontextprotocol/logLevel": "info"});
    let mut told = send(address, "tools/call", json!({"name": "a__log", "arguments": {"n": 2}, "_meta": level}));
    assert_eq!(told.event()["method"], "notifications/message");
    gateway.stop();
}

#[test]
fn a_stream_that_the_client_closes_cancels_its_call() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let mut session = gateway::HttpSession::open(address);
    session.call("a__pid", json!({}));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params(json!({"name": "a__sleep", "arguments": {"ms": 60000}}))});
    let headers = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: a__sleep\r\nContent-Length: {}\r\n\r\n{body}",
        body.to_string().len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(headers.as_bytes()).unwrap();
    let in_flight = |session: &mut gateway::HttpSession| {
        session.call("hangar_list", json!({}))["result"]["structuredContent"]["providers"][0]["calls_in_flight"].clone()
    };
    eventually("it runs", SOON, || (in_flight(&mut session) == 1).then_some(()));
    drop(stream);
    eventually("it is cancelled", SOON, || (in_flight(&mut session) == 0).then_some(()));
    let heard = session.call("a__cancelled", json!({}));
    assert_ne!(heard["result"]["content"][0]["text"], "[]", "the upstream hears of it: {heard}");
    gateway.stop();
}

#[test]
fn a_subscription_is_acknowledged_first_and_tells_what_was_asked_for_and_nothing_else() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    ask(address, "tools/list", json!({}));
    let uri = "hangar://a/test://one";
    let mut all = send(
        address,
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": [uri]}}),
    );
    let ack = all.event();
    assert_eq!(ack["method"], "notifications/subscriptions/acknowledged", "{ack}");
    assert_eq!(ack["params"]["notifications"], json!({"toolsListChanged": true, "resourceSubscriptions": [uri]}));
    assert_eq!(ack["params"]["_meta"][SUBSCRIPTION], 7);
    let mut prompts = send(address, "subscriptions/listen", json!({"notifications": {"promptsListChanged": true}}));
    prompts.event();
    ask(address, "tools/call", json!({"name": "a__add_tool", "arguments": {"name": "fresh"}}));
    let changed = all.event();
    assert_eq!(
        (&changed["method"], &changed["params"]["_meta"][SUBSCRIPTION]),
        (&json!("notifications/tools/list_changed"), &json!(7))
    );
    eventually("the upstream knows of the subscription", SOON, || {
        let known = ask(address, "tools/call", json!({"name": "a__subscriptions", "arguments": {}}));
        (known["result"]["content"][0]["text"] == "[\"test://one\"]").then_some(())
    });
    ask(address, "tools/call", json!({"name": "a__update_resource", "arguments": {"uri": "test://one"}}));
    let updated = all.event();
    assert_eq!(
        (&updated["method"], &updated["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(uri))
    );
    assert_eq!(updated["params"]["_meta"][SUBSCRIPTION], 7);
    // The gateway's stop ends both with an answer; the other one has heard nothing.
    gateway.signal(gateway::Signal::TERM);
    for stream in [&mut all, &mut prompts] {
        let end = stream.event();
        assert_eq!((&end["id"], &end["result"]["_meta"][SUBSCRIPTION]), (&json!(7), &json!(7)), "{end}");
    }
    let mut gateway = gateway;
    assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn both_eras_are_served_on_one_stdio_stream() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let found = gateway.client.request("server/discover", params(json!({})));
    assert_eq!(found["result"]["resultType"], "complete", "{found}");
    let called = gateway.client.request("tools/call", params(json!({"name": "a__echo", "arguments": {}})));
    assert_eq!(called["result"]["resultType"], "complete", "{called}");
    let unknown = gateway.client.request("ping", params(json!({})));
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
    let listen =
        gateway.client.send("subscriptions/listen", params(json!({"notifications": {"toolsListChanged": true}})));
    gateway.client.wait_line("the acknowledgement", |line| {
        line.contains("subscriptions/acknowledged") && line.contains(&listen.id.to_string())
    });
    gateway.client.initialize(json!({}));
    let legacy = gateway.client.tool("a__add_tool", json!({"name": "fresh"}));
    assert!(legacy["resultType"].is_null(), "{legacy}");
    gateway.client.wait_line("the change", |line| line.contains("tools/list_changed") && line.contains(SUBSCRIPTION));
    // An upstream that asks cannot have its answer: this client has not declared anything.
    let asked = gateway.client.request("tools/call", params(json!({"name": "a__elicit", "arguments": {}})));
    assert_eq!(asked["error"]["code"], -32021, "{asked}");
    // A cancel ends the subscription without an answer, and the end of stdin everything else.
    gateway.client.notify("notifications/cancelled", json!({"requestId": listen.id}));
    assert!(listen.within(ms(300)).is_none());
    let second = gateway.client.send("subscriptions/listen", params(json!({"notifications": {}})));
    gateway.client.wait_line("the acknowledgement", |line| {
        line.contains("acknowledged") && line.contains(&second.id.to_string())
    });
    let mut gateway = gateway;
    gateway.client.close();
    assert!(second.wait()["result"]["_meta"][SUBSCRIPTION].is_number());
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
}

#[test]
fn the_front_can_be_pinned_to_one_era() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    drop(gateway);
    for (pin, modern, legacy) in [("legacy", false, true), ("\"2026-07-28\"", true, false), ("auto", true, true)] {
        home.put(&config(
            &home.provider("a", &[], ""),
            &format!("{UNWATCHED}server: {{port: {}, protocol: {pin}}}\n", address.port()),
        ));
        let gateway = Gateway::spawn_options(&home, &["--http"]);
        gateway.wait_for_log("gateway_started");
        let (status, answer) = send(address, "tools/list", json!({})).json();
        assert_eq!((status == 200, answer["error"]["code"] == -32022), (modern, !modern), "{pin}: {answer}");
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
        let (status, answer) = Exchange::start(address, &[], &hello).json();
        assert_eq!((status == 200, answer["error"]["code"] == -32022), (legacy, !legacy), "{pin}: {answer}");
        gateway.stop();
    }
}

/// The test provider's question, to a client that can be asked.
fn elicit(address: SocketAddr, more: Value) -> Value {
    let mut parameters = json!({
        "name": "a__elicit",
        "arguments": {"b": 1, "a": 2},
        "_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}},
    });
    parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    send(address, "tools/call", parameters).json().1
}

#[test]
fn a_legacy_upstreams_question_becomes_input_required_and_the_retry_goes_on_with_the_same_call() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let asked = elicit(address, json!({}))["result"].take();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let (key, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(request["method"], "elicitation/create");
    assert!(request["params"].is_object() && request.get("id").is_none(), "{request}");
    let state = asked["requestState"].as_str().unwrap().to_owned();
    let mut watcher = gateway::HttpSession::open(address);
    let mut in_flight = || {
        watcher.call("hangar_list", json!({}))["result"]["structuredContent"]["providers"][0]["calls_in_flight"].clone()
    };
    assert_eq!(in_flight(), 1, "the call is parked, not ended");
    let answer = json!({"action": "accept", "content": {"name": "me", "n": 1.50}});
    let responses = json!({key: answer});
    // Another spelling of the same call is the same call.
    let again = json!({"arguments": {"a": 2, "b": 1}, "requestState": state, "inputResponses": responses});
    let done = elicit(address, again.clone());
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    let text = done["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("\"accept\"") && text.contains("me"), "the upstream got the client's answer: {text}");
    assert_eq!(in_flight(), 0);
    // Once.
    let replayed = elicit(address, again);
    assert_eq!(replayed["error"]["code"], -32602, "{replayed}");
    assert!(replayed["error"]["message"].as_str().unwrap().contains("used before"), "{replayed}");
    gateway.stop();
}

#[test]
fn a_state_that_was_changed_or_is_of_another_call_is_refused_and_costs_the_call_nothing() {
    let home = Home::new();
    let (gateway, address) = served(&home);
    let asked = elicit(address, json!({}))["result"].take();
    let state = asked["requestState"].as_str().unwrap().to_owned();
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let responses = json!({key: {"action": "decline"}});
    let last = if state.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{last}", &state[..state.len() - 1]);
    for (bad, arguments) in
        [(changed.as_str(), json!({"b": 1, "a": 2})), ("made-up", json!({"b": 1, "a": 2})), (&state, json!({"b": 1}))]
    {
        let refused =
            elicit(address, json!({"requestState": bad, "inputResponses": responses, "arguments": arguments}));
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("was not made by this gateway"), "{refused}");
    }
    // Without the answer it is asked for again, under a new state.
    let again = elicit(address, json!({"requestState": state, "inputResponses": {}}))["result"].take();
    assert_eq!((&again["resultType"], &again["inputRequests"]), (&json!("input_required"), &asked["inputRequests"]));
    assert_ne!(again["requestState"], asked["requestState"]);
    let done = elicit(address, json!({"requestState": again["requestState"], "inputResponses": responses}));
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("decline"), "{done}");
    // One that is parked does not hold up a stop.
    elicit(address, json!({}));
    gateway.stop();
}

#[test]
fn sampling_is_asked_for_in_the_same_way_on_stdio() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let call = |more: Value| {
        let mut parameters = json!({
            "name": "a__sample",
            "arguments": {},
            "_meta": {"io.modelcontextprotocol/clientCapabilities": {"sampling": {}}},
        });
        parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        gateway.client.request("tools/call", params(parameters))["result"].take()
    };
    let asked = call(json!({}));
    let (key, request) = asked["inputRequests"].as_object().unwrap_or_else(|| panic!("{asked}")).iter().next().unwrap();
    assert_eq!(request["method"], "sampling/createMessage");
    let answer = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "forty-two"}});
    let done = call(json!({"requestState": asked["requestState"], "inputResponses": {key: answer}}));
    assert!(done["content"][0]["text"].as_str().unwrap().contains("forty-two"), "{done}");
    gateway.stop();
}
