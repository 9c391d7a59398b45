//! Traces of calls: a small collector takes what the shipped binary sends it over OTLP/HTTP.
#![cfg(feature = "otlp")]

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes whatever is posted; answers with this status.
#[derive(Clone)]
struct Collector {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self { address, status: Arc::new(AtomicU16::new(200)), taken: Arc::default() };
        let own = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.serve(stream));
            }
        });
        collector
    }

    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = self.status.load(Ordering::Relaxed);
            if status == 200 {
                self.taken.lock().unwrap().push((head, ExportTraceServiceRequest::decode(&body[..]).unwrap()));
            }
            write!(stream.get_mut(), "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    }

    fn settings(&self) -> String {
        format!(
            "{UNWATCHED}telemetry: {{otlp: {{endpoint: \"http://{}\", headers: {{X-Key: s3cr3t}}}}}}\n",
            self.address
        )
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let resources = taken.iter().flat_map(|(_, request)| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn attributes(all: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    all.iter().map(|value| (value.key.clone(), text(value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A provider that keeps what it gets, and one that fails when told to.
fn providers(home: &Arc<Home>) -> String {
    let argv = json!([env!("CARGO_BIN_EXE_hangar-test-raw"), "stdio", "--dir", home.path("logs")]);
    format!("  a: {{command: {argv}}}\n") + &home.provider("b", &[], "")
}

/// `_meta` of a call as the provider got it.
fn meta(gateway: &Gateway, params: Value) -> Value {
    let answer = gateway.client.request("tools/call", params);
    assert_eq!(answer["result"]["content"][0]["text"], "s3cr3t", "{answer}");
    let got = std::fs::read_to_string(gateway.home.path("logs/got")).unwrap();
    let messages = got.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut messages =
        messages.map(|line| line.as_str().map_or(line.clone(), |text| serde_json::from_str(text).unwrap()));
    let call = messages.rfind(|message| message["method"] == "tools/call").unwrap();
    assert_eq!(call["params"]["arguments"], json!({"text": "s3cr3t"}));
    assert_eq!(call["params"]["name"], "load");
    call["params"]["_meta"].clone()
}

#[test]
fn every_call_is_a_span_below_its_clients_and_the_parent_of_its_providers() {
    let (home, collector) = (Home::new(), Collector::start());
    let gateway = Gateway::with_settings(&home, &providers(&home), &collector.settings());
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let call = |meta: Value| json!({"_meta": meta, "name": "a__load", "arguments": {"text": "s3cr3t"}});
    gateway.client.tools();
    let seen = meta(&gateway, call(json!({"x": 1, "traceparent": parent, "tracestate": "a=b"})));
    let fresh = meta(&gateway, json!({"arguments": {"text": "s3cr3t"}, "name": "a__load"}));
    let among = meta(&gateway, call(json!({"x": 1})));
    gateway.client.tool("b__fail", json!({}));
    gateway.client.start_tool("nobody__x", json!({})).error();
    gateway.stop();

    let spans = collector.spans();
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let first = &spans[0];
    assert_eq!(first.name, "tools/call load");
    assert_eq!(first.kind, SpanKind::Client as i32);
    assert_eq!((hex(&first.trace_id), hex(&first.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert!(first.end_time_unix_nano > first.start_time_unix_nano);
    assert_eq!((&seen["x"], &seen["tracestate"]), (&json!(1), &json!("a=b")));
    assert_eq!(seen["traceparent"], format!("00-{TRACE}-{}-01", hex(&first.span_id)));
    let told = attributes(&first.attributes);
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "load"),
        ("gen_ai.operation.name", "execute_tool"),
        ("hangar.provider", "a"),
        ("hangar.client", "test"),
        ("hangar.outcome", "success"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{told:?}");
    }
    assert!(told.contains_key("jsonrpc.request.id") && !told.contains_key("error.type"), "{told:?}");
    let second = &spans[1];
    assert!(second.parent_span_id.is_empty() && second.trace_id != first.trace_id);
    assert_eq!(fresh["traceparent"], format!("00-{}-{}-01", hex(&second.trace_id), hex(&second.span_id)));
    assert_eq!((&among["x"], &spans[2].parent_span_id.len()), (&json!(1), &0));
    assert!(among["traceparent"].as_str().unwrap().contains(&hex(&spans[2].span_id)), "{among}");
    assert_eq!(attributes(&spans[3].attributes)["error.type"], "tool_error");
    assert_eq!(spans[3].status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(spans[4].name, "tools/call", "a name that nobody lists is none of a span");
    let taken = collector.taken.lock().unwrap();
    let (head, request) = &taken[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1") && head.to_lowercase().contains("x-key: s3cr3t"), "{head}");
    let about = attributes(&request.resource_spans[0].resource.as_ref().unwrap().attributes);
    assert_eq!(about["service.name"], "hangar");
    assert!(!format!("{spans:?}").contains("s3cr3t"));
}

#[test]
fn without_a_collector_nothing_is_added_and_a_reload_turns_it_on_and_off() {
    let (home, collector) = (Home::new(), Collector::start());
    let a = providers(&home);
    let gateway = Gateway::start(&home, &a);
    gateway.client.tools();
    let plain = || meta(&gateway, json!({"name": "a__load", "arguments": {"text": "s3cr3t"}}));
    assert_eq!(plain(), Value::Null);
    let report = gateway.reload_to(&config(&a, &collector.settings()), json!({}));
    assert_eq!(report["settings_updated"], json!(["telemetry.otlp.endpoint", "telemetry.otlp.headers"]));
    assert_eq!((&report["restart_required"], &report["providers_unchanged"]), (&json!([]), &json!(["a", "b"])));
    assert!(plain()["traceparent"].is_string());
    gateway.reload(&a);
    assert_eq!(plain(), Value::Null);
    // What there is is sent when it is turned off.
    eventually("the spans are there", SOON, || {
        collector.spans().iter().any(|span| span.name == "tools/call load").then_some(())
    });
    gateway.stop();
}

#[test]
fn a_collector_that_fails_fails_no_call_and_is_told_of_once() {
    let (home, collector) = (Home::new(), Collector::start());
    collector.status.store(503, Ordering::Relaxed);
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &collector.settings());
    for _ in 0..1200 {
        gateway.client.text("a__echo", json!({}));
    }
    gateway.wait_for_log("traces_not_exported");
    gateway.client.text("a__echo", json!({}));
    assert_eq!(gateway.log().matches("traces_not_exported").count(), 1, "{}", gateway.log());
    assert!(!gateway.log().contains("s3cr3t"));
    gateway.stop();
}
