//! Every way to be refused, and what each is told.

use serde_json::json;

use crate::rig::{BOTH, call, initialize, start_gateway, with_one_provider};

const LIMIT: usize = 4 * 1024 * 1024;
const JSON: &str = "Content-Type: application/json";

#[test]
fn what_is_no_message_for_us_is_refused_by_name() {
    let gateway = start_gateway("providers: {}\n");
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}).to_string();
    let unknown = format!("Mcp-Session-Id: {}", "0".repeat(32));
    let cases: &[(&[&str], &str, u16, &str)] = &[
        (&[JSON, BOTH], "{\"jsonrpc\":", 400, "-32700"),
        (&[JSON, BOTH], "\"hello\"", 400, "-32600"),
        (&[JSON, BOTH], "{\"jsonrpc\":\"1.0\",\"id\":7,\"method\":\"ping\"}", 400, "\"id\":7"),
        (&[JSON, BOTH], "", 400, "-32700"),
        (&["Content-Type: text/plain", BOTH], &ping, 415, "Content-Type"),
        (&[BOTH], &ping, 415, "Content-Type"),
        (&[JSON, "Accept: text/html"], &ping, 406, "Accept"),
        (&[JSON, BOTH, "MCP-Protocol-Version: 1999-01-01"], &ping, 400, "2025-11-25"),
        (&[JSON, BOTH], &ping, 400, "Mcp-Session-Id"),
        (&[JSON, BOTH, "Mcp-Session-Id: x"], &ping, 404, "initialize"),
        (&[JSON, BOTH, &unknown], &ping, 404, "initialize"),
        (&[JSON, BOTH, &unknown], &initialize("2025-11-25").to_string(), 404, "initialize"),
    ];
    for (headers, body, status, says) in cases {
        let answer = gateway.ask("POST", "/mcp", headers, body.as_bytes());
        assert_eq!(answer.status, *status, "{headers:?} {body}: {}", answer.text());
        assert!(answer.text().contains(says), "{headers:?} {body}: {}", answer.text());
        assert_eq!(answer.json()["jsonrpc"], "2.0");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    // Nothing of it left a session behind.
    assert_eq!(gateway.get("/api/status").json()["sessions"], 0);
}

#[test]
fn lenient_where_it_does_no_harm() {
    let gateway = start_gateway("providers: {}\n");
    let hello = initialize("2025-06-18").to_string();
    for headers in [
        &["Content-Type: application/json; charset=utf-8"][..],
        &["Content-Type: APPLICATION/JSON", "Accept: */*"],
        &[JSON, "Accept: application/json"],
        &[JSON, BOTH, "MCP-Protocol-Version: 2024-11-05"],
    ] {
        let answer = gateway.ask("POST", "/mcp", headers, hello.as_bytes());
        assert_eq!((answer.status, answer.is_json()), (200, true), "{headers:?}: {}", answer.text());
        let id = answer.header("mcp-session-id").expect("a session");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(answer.json()["result"]["protocolVersion"], "2025-06-18");
    }
    let answer = gateway.ask("POST", "/mcp", &[JSON, "Accept: text/event-stream"], hello.as_bytes());
    assert_eq!(answer.events()[0]["result"]["protocolVersion"], "2025-06-18");
    assert!(answer.header("mcp-session-id").is_some());
}

#[test]
fn initialize_opens_one_session_once_and_a_failed_one_none() {
    let gateway = start_gateway("providers: {}\n");
    let session = gateway.session("2025-11-25");
    let again = gateway.mcp(Some(&session), &initialize("2025-11-25"));
    assert_eq!((again.status, again.json()["error"]["code"].as_i64()), (400, Some(-32600)), "{}", again.text());
    let nameless = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}});
    let failed = gateway.mcp(None, &nameless);
    assert_eq!((failed.status, failed.json()["error"]["code"].as_i64()), (400, Some(-32602)), "{}", failed.text());
    assert!(failed.header("mcp-session-id").is_none());
    assert_eq!(gateway.get("/api/status").json()["sessions"], 1);
}

#[test]
fn batches_belong_to_one_revision() {
    let gateway = with_one_provider();
    let batch = json!([
        call(1, "t__echo", &json!({"a": 1})),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
        {"jsonrpc": "2.0", "id": 3},
    ]);
    let newer = gateway.session("2025-11-25");
    let refused = gateway.mcp(Some(&newer), &batch);
    assert_eq!((refused.status, refused.json()["error"]["code"].as_i64()), (400, Some(-32600)));
    let session = gateway.session("2025-03-26");
    let answer = gateway.mcp(Some(&session), &batch);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut ids: Vec<_> = answer.json().as_array().expect("an array").iter().map(|a| a["id"].to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["1", "2", "3"]);
    let said = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    assert_eq!(gateway.mcp(Some(&session), &said).status, 202);
    assert_eq!(gateway.mcp(Some(&session), &json!([])).status, 400);
    assert_eq!(gateway.mcp(None, &batch).status, 400);
    let hello = json!([initialize("2025-03-26")]);
    assert!(gateway.mcp(None, &hello).text().contains("cannot be part of a batch"));
    let many = json!(vec![json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}); 300]);
    assert!(gateway.mcp(Some(&session), &many).text().contains("more than 256"));
}

#[test]
fn strangers_are_refused_on_every_route_and_counted() {
    let gateway = start_gateway("providers: {}\n");
    let own = gateway.address.clone();
    let port = own.rsplit(':').next().expect("a port");
    for path in ["/mcp", "/health/live", "/metrics", "/api/status", "/", "/nothing"] {
        for host in ["Host: evil.example", "Host: 127.0.0.1:1", "Host: localhost", "Host: 127.0.0.1.evil.example"] {
            let answer = gateway.ask("GET", path, &[host], b"");
            assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("host_not_allowed")), "{path} {host}");
        }
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "https://localhost"] {
            let answer = gateway.ask("GET", path, &[&format!("Origin: {origin}")], b"");
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (403, &json!("origin_not_allowed")),
                "{path} {origin}"
            );
            assert!(answer.header("access-control-allow-origin").is_none());
        }
    }
    assert_eq!(gateway.ask("GET", "/health/live", &["Host: a", "Host: b"], b"").status, 400);
    let mut bare = gateway.connect();
    bare.send(b"GET /health/live HTTP/1.1\r\n\r\n");
    assert_eq!(bare.answer().status, 400);
    let mut absolute = gateway.connect();
    absolute.request(&own, "GET", "http://evil.example/health/live", &[], b"");
    assert_eq!(absolute.answer().status, 403);
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
        let answer = gateway.ask("GET", "/health/live", &[&format!("Host: {host}:{port}")], b"");
        assert_eq!(answer.status, 200, "{host}");
        let origin = format!("Origin: http://{host}:{port}");
        assert_eq!(gateway.ask("GET", "/health/live", &[&origin], b"").status, 200, "{origin}");
    }
    let metrics = gateway.get("/metrics").text();
    // 6 routes x (4 hosts + 5 origins), two Hosts, none, and an absolute target.
    assert!(metrics.contains("hangar_refused_requests_total 57"), "{metrics}");
}

#[test]
fn hosts_and_origins_of_the_file_apply_with_its_reload() {
    let gateway = start_gateway("providers: {}\n");
    let by_name = ["Host: gateway.example"];
    let by_port = ["Host: other.example:8443"];
    let page = ["Origin: https://app.example"];
    for headers in [by_name, by_port, page] {
        assert_eq!(gateway.ask("GET", "/health/live", &headers, b"").status, 403);
    }
    gateway.write_config(
        "providers: {}\nserver:\n  allowed_hosts: [gateway.example, \"other.example:8443\"]\n  \
         allowed_origins: [\"https://app.example\"]\n",
    );
    assert_eq!(gateway.ask("POST", "/api/config/reload", &[], b"").status, 200);
    assert_eq!(gateway.ask("GET", "/health/live", &by_name, b"").status, 200);
    assert_eq!(gateway.ask("GET", "/health/live", &["Host: gateway.example:99"], b"").status, 200);
    assert_eq!(gateway.ask("GET", "/health/live", &by_port, b"").status, 200);
    assert_eq!(gateway.ask("GET", "/health/live", &["Host: other.example"], b"").status, 403);
    assert_eq!(gateway.ask("GET", "/health/live", &["Origin: https://gateway.example"], b"").status, 200);
    let answer = gateway.ask("GET", "/health/live", &page, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://app.example")));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let preflight = ["Origin: https://app.example", "Access-Control-Request-Method: POST"];
    let answer = gateway.ask("OPTIONS", "/mcp", &preflight, b"");
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-headers").is_some_and(|list| list.contains("Mcp-Session-Id")));
    assert_eq!(answer.header("access-control-expose-headers"), Some("Mcp-Session-Id"));
    assert_eq!(gateway.ask("OPTIONS", "/api/config/reload", &preflight, b"").status, 405);
}

#[test]
fn a_body_may_have_four_mebibytes_and_no_byte_more() {
    let gateway = with_one_provider();
    let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
    let headers = [JSON, BOTH, session.as_str()];
    let empty = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"p": ""}}).to_string();
    for (length, status) in [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413)] {
        let filler = "x".repeat(length - empty.len());
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"p": filler}}).to_string();
        assert_eq!(body.len(), length);
        let answer = gateway.ask("POST", "/mcp", &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{length}: {}", answer.text());
        // Without a length announced, it is counted as it comes.
        let mut conn = gateway.connect();
        let chunked = [headers.as_slice(), &["Transfer-Encoding: chunked"]].concat();
        conn.request(&gateway.address, "POST", "/mcp", &chunked, b"");
        for piece in body.as_bytes().chunks(1 << 20) {
            conn.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        conn.send(b"0\r\n\r\n");
        assert_eq!(conn.answer().status, status, "{length}, chunked");
    }
    let mut careful = gateway.connect();
    let announced = format!("Content-Length: {}", LIMIT * 100);
    careful.request(&gateway.address, "POST", "/mcp", &[JSON, BOTH, &announced, "Expect: 100-continue"], b"");
    assert_eq!(careful.answer().status, 413, "told before anything was sent");
}

#[test]
fn other_methods_are_told_which_there_are() {
    let gateway = start_gateway("providers: {}\n");
    for (method, path, allowed) in [
        ("PUT", "/mcp", "POST"),
        ("OPTIONS", "/mcp", "DELETE"),
        ("POST", "/metrics", "GET"),
        ("GET", "/api/config/reload", "POST"),
        ("GET", "/api/providers/t/start", "POST"),
        ("GET", "/api/providers/t/stop", "POST"),
        ("DELETE", "/api/config", "GET"),
    ] {
        let answer = gateway.ask(method, path, &[], b"");
        assert_eq!((answer.status, &answer.json()["error"]), (405, &json!("method_not_allowed")), "{method} {path}");
        assert!(answer.header("allow").is_some_and(|list| list.contains(allowed)), "{method} {path}: {answer:?}");
    }
    assert_eq!(gateway.get("/nothing").json()["error"], "not_found");
}

#[test]
fn a_target_that_cannot_be_understood_is_refused_like_everything_else() {
    let gateway = with_one_provider();
    for path in ["/api/providers/%ff", "/api/providers/%ff/tools", "/api/events?limit=1&limit=2", "/api/events?limit=x"]
    {
        let answer = gateway.get(path);
        assert_eq!((answer.status, answer.is_json()), (400, true), "{path}: {}", answer.text());
        let body = answer.json();
        assert_eq!(body["error"], "bad_request", "{path}: {body}");
        assert!(body["message"].is_string() && body["details"].is_object(), "{path}: {body}");
    }
}
