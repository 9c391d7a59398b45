//! Nothing reaches anybody but the one it belongs to: many clients of both eras and three fronts, each with many calls in flight, on
//! sixteen upstreams of every kind, every call with a nonce of its own and with tokens that all clients share.
//!
//! `make misrouting` for a million calls in the release build (`HANGAR_CALLS`); otherwise a short run.

#[path = "../support/gateway.rs"]
mod gateway;
mod load;
mod upstreams;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use gateway::{Gateway, Home, UNWATCHED, Value, config, json, ms, sha256};
use load::{Counts, Front, LANES, Plan};
use upstreams::{Remote, sixteen};

/// HTTP clients have a connection for each call in flight, of which a gateway takes 4096 at a time.
const CLIENTS: [(Front, usize); 3] = [(Front::Legacy, 80), (Front::Modern, 40), (Front::Socket, 136)];

fn over_http(home: &Arc<Home>, providers: &str, settings: &str) -> (Gateway, SocketAddr) {
    home.put(&config(providers, &format!("{UNWATCHED}{settings}")));
    let gateway = Gateway::spawn_options(home, &["--http", "--port", "0"]);
    gateway.wait_for_log("gateway_started");
    let log = gateway.log();
    let address = log.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let address = address.parse().unwrap();
    (gateway, address)
}

#[test]
fn storm_misrouting_every_answer_reaches_the_call_it_belongs_to() {
    let calls: u64 = std::env::var("HANGAR_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let home = Home::new();
    let (providers, _remotes) = sixteen(&home);
    let (gateway, address) = over_http(&home, &providers, "server: {session_idle_s: 3600}\n");
    let key = sha256(std::fs::canonicalize(home.config()).unwrap().to_str().unwrap());
    let socket = home.path(&format!("run/hangar/{}.sock", &key[..16]));
    let plan = Plan { address, socket, calls, clients: CLIENTS.to_vec(), upstreams: 16 };
    let began = Instant::now();
    let Counts { answers, progress, logs, errors, wrong } = load::run(plan);
    let (clients, took) = (CLIENTS.iter().map(|(_, count)| count).sum::<usize>(), began.elapsed());
    eprintln!(
        "{clients} clients x {LANES} in flight x 16 upstreams: {answers} answers, {progress} progress, {logs} log messages, \
         {} wrong, {} errors; {:.0} calls/s",
        wrong.len(),
        errors.len(),
        answers as f64 / took.as_secs_f64()
    );
    assert!(wrong.is_empty(), "{} went astray: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    assert!(errors.is_empty(), "{} errors: {:#?}", errors.len(), &errors[..errors.len().min(10)]);
    assert!(answers >= calls && progress > 0 && logs > 0);
    gateway.stop();
}

/// Each asks in the middle of its own call; whose question is whose is known by the stream of the call.
#[test]
fn clients_that_are_asked_at_the_same_moment_each_get_their_own_question() {
    const CLIENTS: usize = 48;
    let home = Home::new();
    let remote = Remote::start(&["sse"]);
    let (gateway, address) = over_http(&home, &remote.provider("r", ""), "");
    let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let wrong = wrong.clone();
            thread::spawn(move || {
                for round in 0..4 {
                    let nonce = format!("ask-{client}-{round}");
                    let told = load::asked(address, "r__ask", &nonce);
                    if told != [nonce.clone(), nonce.clone()] {
                        wrong.lock().unwrap().push(format!("{nonce}: {told:?}"));
                    }
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
    gateway.stop();
}

/// On a pipe that all share nothing says whose a question is: while two clients have calls there, it is refused, and nobody sees it.
#[test]
fn a_question_on_a_shared_pipe_is_never_guessed() {
    let home = Home::new();
    let provider = home.provider("p", &[], "max_concurrency: 0");
    let (gateway, address) = over_http(&home, &(provider + &upstreams::stdio("q", "legacy", "max_concurrency: 0")), "");
    // Two that can be asked have a call there for as long as both ask.
    let clients: Vec<_> = (0..2)
        .map(|client| thread::spawn(move || load::asked(address, "q__ask", &format!("shared-{client}"))))
        .collect();
    for (client, told) in clients.into_iter().enumerate() {
        let (own, told) = (format!("shared-{client}"), told.join().unwrap());
        // The first may have been alone in that moment; then it was its own.
        let refused = told.len() == 1 && told[0].contains("cannot be routed");
        assert!(refused || told == [own.clone(), own.clone()], "{own}: {told:?}");
    }
    gateway.stop();
}

/// A message on the stream of a call that is over is not for the one other client that happens to have a call there.
#[test]
fn what_comes_on_the_stream_of_a_cancelled_call_reaches_nobody() {
    let home = Home::new();
    let dir = home.path("scripts");
    std::fs::create_dir(&dir).unwrap();
    let note = |text: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": text}});
    // Its own question keeps each call open.
    let ask = |name: &str| {
        let params = json!({"message": name, "requestedSchema": {"type": "object", "properties": {}}});
        format!("?{}", json!({"jsonrpc": "2.0", "id": name, "method": "elicitation/create", "params": params}))
    };
    let answer = r#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[]}}"#;
    for name in ["case-a", "case-b"] {
        let script = [ask(name), note(&format!("late of {name}")).to_string(), answer.to_owned()].join("\n%%\n");
        std::fs::write(dir.join(format!("{name}.script")), script).unwrap();
    }
    let remote = Remote::start(&["sse", "--dir", dir.to_str().unwrap()]);
    let (gateway, address) = over_http(&home, &remote.provider("r", ""), "");
    let told = thread::spawn(move || load::told(address, "r__t", json!({"which": "case-b"}), ms(600)));
    thread::sleep(ms(200));
    // Leaves as soon as it is asked.
    let left = load::told(address, "r__t", json!({"which": "case-a"}), ms(0));
    let told: Vec<Value> = told.join().unwrap();
    let data: Vec<_> = told.iter().filter_map(|message| message["params"]["data"].as_str()).collect();
    assert_eq!(data, ["late of case-b"], "{told:#?} {left:#?}");
    gateway.stop();
}
