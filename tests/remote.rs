//! `transport::open` for remote upstreams, against a scripted MCP server in a process of its own, over loopback.
#![cfg(feature = "test-provider")]

#[path = "support/link.rs"]
mod link;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hangar::{
    config::{Auth, PemFile, RemoteTransport, Secret, Tls},
    transport::{Close, ExitCause, TransportError},
};
use link::{Client, Server, remote_spec};
use serde_json::json;

macro_rules! remote_test {
    ($name:ident, $body:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            tokio::time::timeout(Duration::from_secs(30), async $body).await.expect("in time");
        }
    };
}

fn http(error: TransportError) -> (u16, String, Option<Duration>) {
    match error {
        TransportError::Http { status, detail, retry_after } => (status, detail.unwrap_or_default(), retry_after),
        other => panic!("no HTTP error: {other:?}"),
    }
}

remote_test!(requests_carry_what_the_specification_and_the_configuration_say, {
    let server = Server::start(&[]);
    let mut spec = remote_spec(&server.url("http"));
    spec.headers.insert("X-Team".into(), Secret::new("core"));
    // What the protocol needs wins over the configuration.
    spec.headers.insert("Accept".into(), Secret::new("text/html"));
    spec.auth = Auth::ApiKey { header: "X-Key".into(), key: Secret::new("k-123456") };
    let client = Client::open(spec).await.expect("opens");
    client.handshake("2025-06-18").await;
    let headers = client.stats().await["headers"].clone();
    assert_eq!(headers["accept"], "application/json, text/event-stream");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["mcp-session-id"], "session-1");
    assert_eq!(headers["mcp-protocol-version"], "2025-06-18");
    assert_eq!(headers["user-agent"], concat!("hangar/", env!("CARGO_PKG_VERSION")));
    assert_eq!(headers["x-team"], "core");
    assert_eq!(headers["x-key"], "k-123456");

    let old = Client::open(remote_spec(&server.url("http"))).await.expect("opens");
    old.handshake("2025-03-26").await;
    let headers = old.stats().await["headers"].clone();
    assert!(headers.get("mcp-protocol-version").is_none(), "{headers}");
});

remote_test!(credentials_are_sent_and_never_told, {
    let right = [
        ("authorization=Bearer tok-123456", Auth::Bearer { token: Secret::new("tok-123456") }),
        (
            "authorization=Basic dXNlcjpwYXNzd29yZA==",
            Auth::Basic { username: "user".into(), password: Secret::new("password") },
        ),
        ("x-api-key=key-123456", Auth::ApiKey { header: "X-Api-Key".into(), key: Secret::new("key-123456") }),
    ];
    for (wanted, auth) in right {
        let server = Server::start(&["--require-header", wanted]);
        let mut spec = remote_spec(&server.url("http"));
        spec.auth = auth;
        let client = Client::open(spec).await.expect("opens");
        client.handshake("2025-11-25").await;
        assert!(client.text("pid", json!({})).await.is_ok());
    }
    let server = Server::start(&["--require-header", "authorization=Bearer right"]);
    let mut spec = remote_spec(&server.url("http"));
    spec.auth = Auth::Bearer { token: Secret::new("wrong-token") };
    let client = Client::open(spec).await.expect("opens");
    let (status, detail, _) = http(client.initialize("2025-11-25").await.expect_err("refused"));
    assert_eq!(status, 401);
    // The server echoes what it got.
    assert!(detail.contains("Bearer ***") && detail.contains("check `auth`"), "{detail}");
    assert!(!detail.contains("wrong-token"), "{detail}");
    let client = Client::open(remote_spec(&server.url("http"))).await.expect("opens");
    let (status, detail, _) = http(client.initialize("2025-11-25").await.expect_err("refused"));
    assert!(status == 401 && detail.contains("set `auth`"), "{detail}");
});

remote_test!(a_lost_session_is_renewed_once_however_many_calls_find_out, {
    for status in ["404", "400"] {
        let server = Server::start(&["--unknown-session", status]);
        let client = Client::ready(&server).await;
        for round in 2..5 {
            client.text("forget", json!({})).await.expect("forgotten");
            let calls: Vec<_> = (0..50).map(|n| client.start("echo", json!({"text": n.to_string()}))).collect();
            for (n, id) in calls.into_iter().enumerate() {
                assert_eq!(client.text_of(id).await, Ok(n.to_string()));
            }
            let stats = client.stats().await;
            assert_eq!(stats["initialises"], round, "{stats}");
            assert_eq!(stats["notifications/initialized"], round, "{stats}");
        }
        assert_eq!(client.stats().await["headers"]["mcp-session-id"], "session-4");
        // The replayed handshake's answer was for nobody: each id was answered once.
        client.assert_each_answered_once();
    }
});

remote_test!(a_second_404_is_an_error, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    client.text("lose", json!({"times": 2})).await.expect("armed");
    let (status, detail, _) = http(client.text("pid", json!({})).await.expect_err("refused"));
    assert!(status == 404 && detail.contains("No valid session"), "{status} {detail}");
    assert_eq!(client.text("pid", json!({})).await, Ok(server.pid().to_string()));
    assert_eq!(client.stats().await["initialises"], 2);
});

remote_test!(a_renewal_that_fails_is_told_and_tried_again_by_the_next_call, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    client.text("lose", json!({"times": 1, "then": 503})).await.expect("armed");
    let (status, detail, _) = http(client.text("pid", json!({})).await.expect_err("refused"));
    assert!(status == 503 && detail.contains("session was lost"), "{status} {detail}");
    assert_eq!(client.text("pid", json!({})).await, Ok(server.pid().to_string()));
    assert_eq!(client.stats().await["initialises"], 2);
});

remote_test!(a_server_that_forgets_after_every_request_is_still_usable, {
    let server = Server::start(&["--forget-after", "1"]);
    let client = Client::ready(&server).await;
    for _ in 0..3 {
        assert!(client.text("pid", json!({})).await.is_ok());
    }
    assert_eq!(client.stats().await["initialises"], 4);
});

remote_test!(a_server_without_sessions_is_asked_for_none, {
    let server = Server::start(&["--no-sessions"]);
    let client = Client::ready(&server).await;
    let stats = client.stats().await;
    assert!(stats["headers"].get("mcp-session-id").is_none(), "{stats}");
    client.close(Close::Graceful).await;
    let stats = Client::ready(&server).await.stats().await;
    assert!(stats.get("deletes").is_none(), "{stats}");
});

remote_test!(refusals_are_told_with_status_words_and_waiting_time, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    for (status, wait, expected) in [(500, None, None), (429, Some("7"), Some(7)), (503, Some("2"), Some(2))] {
        client.text("burst", json!({"status": status, "retry_after": wait})).await.expect("armed");
        let (got, detail, retry_after) = http(client.text("pid", json!({})).await.expect_err("refused"));
        assert_eq!((got, retry_after), (status, expected.map(Duration::from_secs)));
        assert_eq!(detail, "busy [31m today");
        assert!(client.text("pid", json!({})).await.is_ok());
    }
    // A JSON-RPC error is an answer, whatever the status.
    let answer = client.call("fault", json!({"kind": "error_body"})).await.expect("an answer");
    assert_eq!(answer["error"]["code"], -32001);
});

remote_test!(a_redirect_is_refused_and_names_the_origin_only, {
    let target = Server::start(&[]);
    let server = Server::start(&["--redirect", &format!("{}?token=hush", target.url("http"))]);
    let client = Client::open(remote_spec(&server.url("http"))).await.expect("opens");
    let (status, detail, _) = http(client.initialize("2025-11-25").await.expect_err("refused"));
    assert_eq!(status, 307);
    assert!(detail.contains(&format!("http://{};", target.address)) && !detail.contains("hush"), "{detail}");
    assert_eq!(Client::ready(&target).await.stats().await["initialises"], 1);
});

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls");

fn pem(name: &str) -> Option<PemFile> {
    let path = std::path::Path::new(TLS).join(name);
    let pem = std::fs::read_to_string(&path).expect("a PEM file");
    Some(PemFile { path, pem: Secret::new(pem) })
}

async fn over_tls(server: &Server, tls: Tls) -> Result<String, TransportError> {
    let mut spec = remote_spec(&server.url("https"));
    spec.tls = tls;
    let client = Client::open(spec).await?;
    client.initialize("2025-11-25").await?;
    client.initialized();
    client.text("pid", json!({})).await
}

remote_test!(tls_trusts_what_it_is_told_to, {
    let (cert, key) = (format!("{TLS}/server.pem"), format!("{TLS}/server.key"));
    let server = Server::start(&["--tls", &cert, &key]);
    let pid = server.pid().to_string();
    assert_eq!(over_tls(&server, Tls { ca: pem("ca.pem"), ..Tls::default() }).await, Ok(pid.clone()));
    assert_eq!(over_tls(&server, Tls { verify: false, ..Tls::default() }).await, Ok(pid));
    let distrust = over_tls(&server, Tls { ca: pem("client.pem"), ..Tls::default() }).await;
    let Err(TransportError::Open(why)) = distrust else { panic!("{distrust:?}") };
    assert!(why.contains("certificate"), "{why}");
});

remote_test!(tls_shows_the_client_certificate, {
    let (cert, key, ca) = (format!("{TLS}/server.pem"), format!("{TLS}/server.key"), format!("{TLS}/ca.pem"));
    let server = Server::start(&["--tls", &cert, &key, "--client-ca", &ca]);
    let ours =
        Tls { ca: pem("ca.pem"), client_cert: pem("client.pem"), client_key: pem("client.key"), ..Tls::default() };
    assert_eq!(over_tls(&server, ours).await, Ok(server.pid().to_string()));
    assert!(over_tls(&server, Tls { ca: pem("ca.pem"), ..Tls::default() }).await.is_err());
});

remote_test!(progress_and_requests_of_the_upstream_come_with_the_call_they_belong_to, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    let id = client.start("progress", json!({}));
    assert_eq!(client.text_of(id).await, Ok("done".into()));
    let seen: Vec<_> = client.messages().into_iter().filter(|(_, about)| *about == Some(id)).collect();
    let methods: Vec<_> = seen.iter().map(|(m, _)| m["method"].as_str().unwrap_or("answer")).collect();
    let progress = "notifications/progress";
    assert_eq!(methods, [progress, progress, progress, "answer"]);

    let id = client.start("elicit", json!({}));
    let (request, _) = client.message(|m, about| m["method"] == "elicitation/create" && about == Some(id)).await;
    client.tell(json!({"jsonrpc": "2.0", "id": request["id"], "result": {"action": "decline"}}));
    assert_eq!(client.text_of(id).await, Ok(r#"{"action":"decline"}"#.into()));
});

remote_test!(the_notification_stream_is_reopened_after_it_broke_and_after_a_renewal, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    let is_news = |m: &serde_json::Value, about: Option<u64>| {
        m["method"] == "notifications/tools/list_changed" && about.is_none()
    };
    let count = |client: &Client| client.messages().iter().filter(|(m, about)| is_news(m, *about)).count();
    client.until_listeners(1).await;
    client.text("notify", json!({})).await.expect("told");
    client.message(is_news).await;

    client.text("end_streams", json!({})).await.expect("ended");
    client.until_listeners(1).await;
    client.text("notify", json!({})).await.expect("told");
    client.until(|c| count(c) == 2).await;

    client.text("forget", json!({})).await.expect("forgotten");
    client.text("pid", json!({})).await.expect("renewed");
    client.until_listeners(1).await;
    assert_eq!(client.stats().await["initialises"], 2);
});

remote_test!(every_way_to_give_no_answer_is_an_error_of_that_call_alone, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    let bystander = client.start("sleep", json!({"ms": 1500}));
    let io = ["reset", "reset_body", "early_end", "unresumable", "wrong_id"];
    for kind in io {
        let error = client.text("fault", json!({"kind": kind})).await.expect_err(kind);
        assert!(matches!(error, TransportError::Io(_)), "{kind}: {error:?}");
    }
    for (kind, status) in [("wrong_type", 200), ("accepted", 202), ("whatever", 500)] {
        let error = client.text("fault", json!({"kind": kind})).await.expect_err(kind);
        assert_eq!(http(error).0, status, "{kind}");
    }
    for kind in ["oversize", "oversize_stream"] {
        let error = client.text("fault", json!({"kind": kind})).await.expect_err(kind);
        assert!(matches!(error, TransportError::Oversize { .. }), "{kind}: {error:?}");
    }
    assert_eq!(client.text_of(bystander).await, Ok("slept".into()));
    assert_eq!(client.stats().await["initialises"], 1);
});

remote_test!(a_stream_that_ends_early_is_resumed_where_it_has_ids, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    for polls in [0, 1, 5] {
        let begun = Instant::now();
        assert_eq!(client.text("fault", json!({"kind": "resumable", "polls": polls})).await, Ok("late".into()));
        // `retry: 150`, before each attempt.
        assert!(begun.elapsed() >= Duration::from_millis(150 * (polls + 1)), "{:?}", begun.elapsed());
    }
    assert_eq!(client.stats().await["resumes"], 1 + 2 + 6);
});

remote_test!(an_abandoned_exchange_is_dropped_and_says_nothing, {
    let server = Server::start(&[]);
    let client = Client::ready(&server).await;
    for kind in ["hang", "endless"] {
        let id = client.start("fault", json!({"kind": kind}));
        loop {
            if client.stats().await[format!("fault_{kind}")] == 1 {
                break;
            }
        }
        client.connection.link.abandon(id);
        // Whatever comes after it is in order.
        assert!(client.text("pid", json!({})).await.is_ok());
        assert_eq!(client.failure(id), None);
    }
    // Their places are free again.
    let ids: Vec<u64> = (0..1024).map(|_| client.start("fault", json!({"kind": "hang"}))).collect();
    let refused = client.try_start("pid", json!({})).expect_err("too many");
    assert_eq!(refused, TransportError::Overloaded { queued: 1024 });
    ids.iter().for_each(|id| client.connection.link.abandon(*id));
    client.until(|c| c.try_start("pid", json!({})).is_ok()).await;
});

remote_test!(closing_gracefully_deletes_the_session, {
    let server = Server::start(&[]);
    let watcher = Client::ready(&server).await;
    let client = Client::ready(&server).await;
    let hanging = client.start("fault", json!({"kind": "hang"}));
    let exit = client.close(Close::Graceful).await;
    assert_eq!((exit.cause, exit.rung), (ExitCause::Closed, None));
    assert_eq!(watcher.stats().await["deletes"], 1);

    let mut client = Client::ready(&server).await;
    let refused = {
        client.connection.link.close(Close::Now);
        client.try_start("pid", json!({}))
    };
    assert_eq!(refused, Err(TransportError::Closed));
    assert_eq!((&mut client.connection.exit).await.cause, ExitCause::Closed);
    assert_eq!(watcher.stats().await["deletes"], 1);
    assert!(hanging > 0);
});

remote_test!(an_unreachable_remote_fails_calls_and_not_the_connection, {
    let server = Server::start(&[]);
    let mut client = Client::ready(&server).await;
    drop(server);
    let error = client.text("pid", json!({})).await.expect_err("unreachable");
    assert!(matches!(error, TransportError::Open(_) | TransportError::Io(_)), "{error:?}");
    let error = client.text("pid", json!({})).await.expect_err("unreachable");
    let TransportError::Open(why) = error else { panic!("{error:?}") };
    assert!(why.contains("cannot connect to http://127.0.0.1:") && why.contains("refused"), "{why}");
    let exit = tokio::time::timeout(Duration::from_millis(100), &mut client.connection.exit).await;
    assert!(exit.is_err(), "{exit:?}");
});

remote_test!(calls_one_after_the_other_use_kept_connections, {
    for answer in ["json", "sse"] {
        let server = Server::start(&["--answer", answer]);
        let client = Client::ready(&server).await;
        client.until_listeners(1).await;
        let before = client.stats().await["connections"].as_u64().unwrap_or(0);
        for text in ["x".to_owned(), "x".repeat(100_000)].iter().cycle().take(100) {
            assert_eq!(client.text("echo", json!({"text": text})).await.as_ref(), Ok(text));
        }
        // An answer is passed on before its connection is back in the pool, so the next call may find none: but rarely.
        let after = client.stats().await["connections"].as_u64().unwrap_or(u64::MAX);
        assert!(after <= before + 8, "{before} connections became {after}");
    }
});

remote_test!(legacy_calls_work_and_the_stream_is_the_connection, {
    let server = Server::start(&["--mode", "sse-legacy"]);
    let mut spec = remote_spec(&server.url("http"));
    spec.transport = RemoteTransport::Sse;
    let mut client = Client::open(spec.clone()).await.expect("opens");
    client.handshake("2024-11-05").await;
    let calls: Vec<_> = (0..50).map(|n| client.start("echo", json!({"text": n.to_string()}))).collect();
    for (n, id) in calls.into_iter().enumerate() {
        assert_eq!(client.text_of(id).await, Ok(n.to_string()));
    }
    let id = client.start("elicit", json!({}));
    let (request, _) = client.message(|m, _| m["method"] == "elicitation/create").await;
    client.tell(json!({"jsonrpc": "2.0", "id": request["id"], "result": {"action": "accept"}}));
    assert_eq!(client.text_of(id).await, Ok(r#"{"action":"accept"}"#.into()));

    client.text("burst", json!({"status": 503, "retry_after": "3"})).await.expect("armed");
    let (status, _, wait) = http(client.text("pid", json!({})).await.expect_err("refused"));
    assert_eq!((status, wait), (503, Some(Duration::from_secs(3))));

    drop(server);
    let exit = (&mut client.connection.exit).await;
    assert!(matches!(&exit.cause, ExitCause::Lost(why) if why.contains("http://127.0.0.1")), "{exit:?}");
    client.until(|c| c.try_start("pid", json!({})) == Err(TransportError::Closed)).await;

    let server = Server::start(&["--mode", "sse-legacy"]);
    spec.endpoint = server.url("http");
    let client = Client::open(spec.clone()).await.expect("opens");
    assert_eq!(client.close(Close::Graceful).await.cause, ExitCause::Closed);
});

remote_test!(a_legacy_endpoint_of_another_origin_is_refused, {
    let elsewhere = Server::start(&["--mode", "sse-legacy"]);
    let server = Server::start(&["--mode", "sse-legacy", "--endpoint", &elsewhere.url("http")]);
    let mut spec = remote_spec(&server.url("http"));
    spec.transport = RemoteTransport::Sse;
    spec.headers = BTreeMap::from([("X-Key".to_owned(), Secret::new("secret-key"))]);
    let Err(TransportError::Open(why)) = Client::open(spec).await.map(|_| ()) else { panic!("opened") };
    assert!(why.contains("refused") && why.contains(&elsewhere.address), "{why}");
});

remote_test!(a_call_does_not_overtake_the_stream_on_which_it_may_be_asked_something, {
    let server = Server::start(&["--stream-after-ms", "100"]);
    let client = Client::open(remote_spec(&server.url("http"))).await.expect("opens");
    client.handshake("2025-11-25").await;
    assert_eq!(client.text("notify", json!({})).await.as_deref(), Ok("1"), "nobody listens yet");
});

remote_test!(a_stream_that_does_not_come_keeps_calls_waiting_once_and_not_long, {
    let server = Server::start(&["--stream-after-ms", "20000"]);
    let client = Client::open(remote_spec(&server.url("http"))).await.expect("opens");
    client.handshake("2025-11-25").await;
    let start = Instant::now();
    client.text("pid", json!({})).await.expect("answered");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let start = Instant::now();
    client.text("pid", json!({})).await.expect("answered");
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
});
