//! A remote server that fails, and the way to it.

use crate::{
    chaos_http::{ChaosHttp, Fault},
    gateway::{json, ms},
    row::{Row, Told, with_usual},
};

const TRANSPORT: &str = "transport_error";

struct Rig {
    server: ChaosHttp,
    row: Row,
}

fn begin(name: &'static str, fault: &'static str, keys: &str) -> Rig {
    let server = ChaosHttp::start();
    let row = Row::begin(name, fault, |_| {
        server.provider("faulty", &with_usual(keys).replace("stop: {grace_s: 0.2, term_s: 0.2}, ", ""))
    });
    row.works();
    Rig { server, row }
}

impl Rig {
    /// A call meets the fault and fails so; without it the provider serves as before.
    fn fails(&mut self, fault: Fault, told: &Told) {
        self.server.set(fault);
        self.row.fails("", Vec::new(), told);
    }

    fn end(mut self) {
        self.server.set(Fault::None);
        self.row.serves_again();
        self.row.end();
    }
}

#[test]
fn http_5xx_bursts() {
    let mut rig = begin("http_5xx_bursts", "answers everything with 503", "");
    rig.fails(
        Fault::Status(503, ""),
        &Told { error: TRANSPORT, fault: "upstream", says: &["HTTP 503: chaos"], within: ms(1000) },
    );
    for _ in 0..20 {
        // The first ones say it, and the breaker for those behind them.
        let answer = rig.row.send("").wait();
        let data = &answer["error"]["data"];
        assert!(data["http_status"] == 503 || data["error"] == "circuit_open", "{answer}");
        assert!(data["cause"].as_str().unwrap().contains("HTTP 503: chaos"), "{answer}");
    }
    rig.end();
}

#[test]
fn http_5xx_at_its_start() {
    let server = ChaosHttp::start();
    server.set(Fault::Status(500, ""));
    let mut row = Row::begin("http_5xx_at_its_start", "answers the handshake with 500", |_| {
        server.provider("faulty", "startup_timeout_s: 2, call_timeout_s: 1")
    });
    let says = &["HTTP 500: chaos", "tried again in"];
    row.fails("", Vec::new(), &Told { error: "provider_not_started", fault: "upstream", says, within: ms(3000) });
    server.set(Fault::None);
    row.serves_again();
    row.end();
}

#[test]
fn http_429_with_retry_after() {
    let mut rig = begin("http_429_with_retry_after", "answers with 429 and `Retry-After: 7`", "");
    rig.server.set(Fault::Status(429, "Retry-After: 7\r\n"));
    let answer = rig.row.send("").wait();
    assert_eq!(answer["error"]["data"]["retry_after_ms"], 7000, "{answer}");
    let told = Told { error: TRANSPORT, fault: "upstream", says: &["HTTP 429: chaos"], within: ms(1000) };
    rig.row.check(&answer, &told);
    rig.row.note("`data.retry_after_ms` is 7000".into());
    rig.row.fails("", Vec::new(), &told);
    rig.end();
}

#[test]
fn resets_connections() {
    let mut rig = begin("resets_connections", "resets the connection when a request has come", "");
    let says = &["the exchange with http://127.0.0.1:", "failed: ", "reset"];
    rig.fails(Fault::Reset, &Told { error: TRANSPORT, fault: "upstream", says, within: ms(1000) });
    rig.end();
}

#[test]
fn resets_in_an_answer() {
    let mut rig = begin("resets_in_an_answer", "resets the connection after half of its answer", "");
    let says = &["the exchange with http://127.0.0.1:", "failed: ", "reset"];
    rig.fails(Fault::ResetInAnswer, &Told { error: TRANSPORT, fault: "upstream", says, within: ms(1000) });
    rig.end();
}

#[test]
fn speaks_no_http() {
    let mut rig = begin("speaks_no_http", "answers with bytes that are no HTTP", "");
    let says = &["the exchange with http://127.0.0.1:", "failed: "];
    rig.fails(Fault::Garbage, &Told { error: TRANSPORT, fault: "upstream", says, within: ms(1000) });
    rig.end();
}

#[test]
fn a_black_hole() {
    let mut rig = begin("a_black_hole", "takes requests and answers nothing (`call_timeout_s: 1`)", "");
    let says = &["did not answer within 1.0 s (call_timeout_s); the call was cancelled"];
    rig.fails(Fault::BlackHole, &Told { error: "timeout", fault: "upstream", says, within: ms(3000) });
    rig.end();
}

#[test]
fn endless_events() {
    let mut rig =
        begin("endless_events", "an SSE stream of 20 events a second without the answer (`call_timeout_s: 1`)", "");
    let says = &["did not answer within 1.0 s (call_timeout_s); the call was cancelled"];
    rig.fails(Fault::EndlessEvents(20), &Told { error: "timeout", fault: "upstream", says, within: ms(3000) });
    rig.end();
}

#[test]
fn a_flood_of_events() {
    let mut rig = begin("a_flood_of_events", "the same as fast as it is taken", "call_timeout_s: 2");
    let says = &["did not answer within 2.0 s (call_timeout_s); the call was cancelled"];
    rig.fails(Fault::EndlessEvents(0), &Told { error: "timeout", fault: "upstream", says, within: ms(5000) });
    let rate = rig.server.flooded() as f64 / 2e6;
    rig.row.note(format!("{rate:.0} MB/s for 2 s"));
    rig.end();
}

#[test]
fn a_body_without_end() {
    let mut rig = begin("a_body_without_end", "a JSON body that does not end, as fast as it is taken", "");
    let says = &["an answer of more than 16777216 bytes was dropped"];
    rig.fails(Fault::EndlessBody, &Told { error: TRANSPORT, fault: "upstream", says, within: ms(3000) });
    rig.end();
}

#[test]
fn unauthorized_in_mid_session() {
    let mut rig = begin("unauthorized_in_mid_session", "401 to what it has answered before", "");
    let says = &["HTTP 401: chaos (the endpoint asks for credentials; set `auth` or `headers`)"];
    rig.fails(Fault::Status(401, ""), &Told { error: TRANSPORT, fault: "upstream", says, within: ms(1000) });
    rig.end();
}

#[test]
fn a_lost_session() {
    let mut rig = begin("a_lost_session", "knows no session any more, and gives new ones", "");
    rig.row.says("no error: the handshake is made again and the call sent again, which nobody had looked at");
    rig.server.forget_sessions();
    let began = std::time::Instant::now();
    let calls: Vec<_> = (0..8).map(|_| rig.row.send("")).collect();
    calls.into_iter().for_each(|call| assert!(call.wait()["result"].is_object()));
    rig.row.detected(began.elapsed(), ms(2000));
    rig.end();
}

#[test]
fn a_session_lost_for_good() {
    let mut rig = begin("a_session_lost_for_good", "knows no session, and gives none", "");
    let says = &["HTTP 404: the session was lost and could not be renewed"];
    rig.fails(Fault::NoSession, &Told { error: TRANSPORT, fault: "upstream", says, within: ms(1000) });
    rig.end();
}

#[test]
fn refuses_connections() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let (socket, address) = crate::chaos_http::bound(address);
    let mut row = Row::begin("refuses_connections", "nobody listens at its address", |_| {
        format!("  faulty: {{mode: remote, endpoint: \"http://{address}/mcp\", startup_timeout_s: 2}}\n")
    });
    let says = &["cannot connect to http://127.0.0.1:", "refused", "tried again in"];
    row.fails("", Vec::new(), &Told { error: "provider_not_started", fault: "upstream", says, within: ms(3000) });
    let _server = ChaosHttp::on(socket);
    row.serves_again();
    assert_eq!(row.client.text("faulty__t", json!({})), "0");
    row.end();
}
