//! The gateway goes away in the middle of a session.

use std::thread;

use crate::{
    gateway::{SOON, Signal, Value, eventually, json, ms, signal},
    rig::{Connect, Fake, OWN_VERSION, Place},
};

const URI: &str = "hangar://a/test://static";

/// Answers to one id among everything that came.
fn answers(connect: &Connect, id: u64) -> Vec<Value> {
    let lines = connect.client.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines.filter(|message| message["id"] == id && message.get("method").is_none()).collect()
}

#[test]
fn a_killed_daemon_costs_the_calls_in_flight_one_error_each_and_the_session_goes_on() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let connect = place.connect();
    let listed = connect.client.list("resources/list");
    let uri = listed["resources"][0]["uri"].as_str().unwrap().to_owned();
    assert_eq!(connect.client.request("resources/subscribe", json!({"uri": uri}))["result"], json!({}));
    assert_eq!(connect.client.request("logging/setLevel", json!({"level": "error"}))["result"], json!({}));
    let (old, process) = (place.daemon(), connect.client.pid_of("a"));
    let call = connect.client.start_tool("a__sleep", json!({"ms": 20_000}));
    let (id, said) = (call.id, connect.client.lines().len());
    thread::sleep(ms(200));

    signal(old, Signal::KILL);
    let error = call.wait();
    assert_eq!(error["error"]["code"], -32050, "{error}");
    assert_eq!(error["error"]["data"], json!({"error": "gateway_lost", "method": "tools/call"}));
    let text = error["error"]["message"].as_str().unwrap();
    assert!(text.contains(&format!("pid {old}")) && text.contains("not sent again"), "{text}");

    let now = connect.client.pid_of("a");
    assert_ne!(now, process);
    let daemon = place.daemon();
    assert_ne!(daemon, old);
    for list in ["tools", "prompts", "resources"] {
        connect.client.wait_messages(&format!("notifications/{list}/list_changed"), 1);
    }
    eventually("the subscription is there again", SOON, || {
        connect.client.text("a__subscriptions", json!({})).contains("test").then_some(())
    });
    assert_eq!(connect.client.text("a__log_level", json!({})), "error");
    connect.client.text("a__update_resource", json!({"uri": listed_own(&uri)}));
    connect.client.wait_messages("notifications/resources/updated", 1);
    let status = place.status();
    assert_eq!(status["clients"][0]["name"], "test", "{status}");
    // One error, no second answer; and nothing of what we said ourselves.
    assert_eq!(answers(&connect, id).len(), 1);
    let strange = |line: &&String| line.contains("hangar-connect/");
    assert_eq!(connect.client.lines()[said..].iter().find(strange), None);
    assert!(connect.err().contains("connected again"), "{}", connect.err());
    connect.leave();
    place.assert_all_gone(SOON);
}

/// The provider's own URI inside of ours.
fn listed_own(uri: &str) -> &str {
    uri.strip_prefix("hangar://a/").unwrap_or(URI)
}

#[test]
fn all_clients_of_a_killed_daemon_go_on_with_one_new_daemon_again_and_again() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let clients: Vec<_> = (0..5).map(|_| place.connect()).collect();
    for _ in 0..3 {
        let old = place.daemon();
        signal(old, Signal::KILL);
        thread::scope(|scope| {
            for connect in &clients {
                scope.spawn(|| {
                    // The call may still reach the old one's socket.
                    eventually("a call works", SOON * 2, || {
                        connect.client.start_tool("a__pid", json!({})).wait().get("result").map(drop)
                    });
                });
            }
        });
        let pids: Vec<_> = clients.iter().map(|connect| connect.client.pid_of("a")).collect();
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
        assert_ne!(place.daemon(), old);
    }
    drop(clients);
    place.assert_all_gone(SOON);
}

#[test]
fn a_question_of_a_lost_gateway_is_taken_back_and_its_answer_reaches_nobody() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let connect = place.spawn();
    connect.greet("asked", json!({"elicitation": {}}));
    let call = connect.client.start_tool("a__elicit", json!({}));
    let old = connect.client.wait_messages("elicitation/create", 1).remove(0)["id"].clone();
    signal(place.daemon(), Signal::KILL);
    assert!(call.error().contains("not sent again"));
    let cancelled = connect.client.wait_messages("notifications/cancelled", 1).remove(0);
    assert_eq!(cancelled["params"]["requestId"], old);

    let call = connect.client.start_tool("a__elicit", json!({}));
    let new = connect.client.wait_messages("elicitation/create", 2).remove(1)["id"].clone();
    assert_ne!(new, old);
    let answer = |id: &Value, name: &str| {
        let result = json!({"action": "accept", "content": {"name": name}});
        connect.client.raw(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    };
    // The new gateway numbers from the beginning, too.
    answer(&old, "Late");
    answer(&json!(1), "Guess");
    assert!(call.within(ms(300)).is_none());
    answer(&new, "Ada");
    let result = call.wait().to_string();
    assert!(result.contains("Ada") && !result.contains("Late"), "{result}");
    connect.leave();
}

#[test]
fn a_stopped_daemon_answers_first_and_its_clients_go_on_with_the_next() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let connect = place.connect();
    let old = place.daemon();
    let call = connect.client.start_tool("a__sleep", json!({"ms": 1500}));
    thread::sleep(ms(300));
    signal(old, Signal::TERM);
    // The next one may start while the old one drains.
    eventually("the old one has let go of the socket", ms(500), || {
        place.log().contains("gateway_stopping").then_some(())
    });
    let other = place.connect();
    assert_ne!(place.status_of("daemon")["pid"], old);
    // What comes too late for the old one is not lost: the next one does it.
    let late = connect.client.start_tool("a__pid", json!({}));
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    let late: u32 = late.wait()["result"]["content"][0]["text"].as_str().unwrap().parse().unwrap();
    assert_eq!((late, connect.client.pid_of("a")), (other.client.pid_of("a"), late));
    eventually("the old one is gone", SOON, || (!place.daemons().contains(&old)).then_some(()));
    other.leave();
    connect.leave();
    place.assert_all_gone(SOON);
}

#[test]
fn with_a_broken_file_calls_say_what_is_wrong_until_it_is_mended() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let connect = place.connect();
    connect.client.pid_of("a");
    place.home.put("providers: {a: {comand: [x]}}\n");
    signal(place.daemon(), Signal::KILL);
    connect.wait_err("HGR0102");
    let refused = connect.client.start_tool("a__pid", json!({})).wait();
    assert_eq!(refused["error"]["data"]["error"], "no_gateway", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("comand"), "{refused}");
    place.put(&place.home.provider("a", &[], ""), "");
    eventually("a call works again", SOON, || {
        connect.client.start_tool("a__pid", json!({})).wait().get("result").map(drop)
    });
    connect.leave();
    place.assert_all_gone(SOON);
}

#[test]
fn what_only_reads_is_sent_again_once_and_a_call_never() {
    let place = Place::new(|_| String::new(), "");
    let fake = Fake::new(&place);
    let connect = place.spawn();
    let hello = Fake::hello(OWN_VERSION, 1);
    let mut link = fake.accept(&hello);
    let client = &connect.client;
    let greeting = client.send("initialize", json!({"protocolVersion": "2025-11-25", "extra": 1.50}));
    let asked = link.line();
    let capabilities = json!({"tools": {"listChanged": true}, "prompts": {}});
    link.answer(&asked, json!({"protocolVersion": "2025-11-25", "capabilities": capabilities}));
    assert!(greeting.wait()["result"].is_object());
    client.notify("notifications/initialized", json!({}));
    let read = client.send("prompts/get", json!({"name": "p"}));
    let call = client.start_tool("t", json!({}));
    let odd = client.send("x/unknown", json!({}));
    let withdrawn = client.send("prompts/list", json!({}));
    client.notify("notifications/cancelled", json!({"requestId": withdrawn.id}));
    (0..6).for_each(|_| assert!(link.line()["method"].is_string()));
    drop(link);
    assert!(call.error().contains("not sent again"));
    assert!(odd.error().contains("not sent again"));

    let mut link = fake.accept(&hello);
    let again = link.line();
    assert_eq!((&again["method"], &again["params"]), (&asked["method"], &asked["params"]));
    assert_ne!(again["id"], asked["id"]);
    link.answer(&again, json!({"protocolVersion": "2025-06-18", "capabilities": capabilities}));
    assert_eq!(link.line()["method"], "notifications/initialized");
    let read_again = link.line();
    assert_eq!((&read_again["method"], &read_again["id"]), (&json!("prompts/get"), &json!(read.id)));
    client.wait_messages("notifications/tools/list_changed", 1);
    connect.wait_err("2025-06-18");
    assert!(client.messages("notifications/prompts/list_changed").is_empty());
    // Twice is enough: it may be what ends them.
    drop(link);
    assert!(read.error().contains("4242"));

    let mut link = fake.accept(&hello);
    let methods: Vec<_> = (0..2).map(|_| link.line()["method"].clone()).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized"]);
    client.close();
    assert_eq!(link.line(), Value::Null, "nothing more was sent");
    drop(link);
    assert_eq!(answers(&connect, withdrawn.id), Vec::<Value>::new());
}

#[test]
fn a_handshake_that_was_not_answered_is_the_clients_own_again() {
    let place = Place::new(|_| String::new(), "");
    let fake = Fake::new(&place);
    let connect = place.spawn();
    let hello = Fake::hello(OWN_VERSION, 1);
    let mut link = fake.accept(&hello);
    let greeting = connect.client.send("initialize", json!({"protocolVersion": "2025-11-25"}));
    let asked = link.line();
    drop(link);
    let mut link = fake.accept(&hello);
    assert_eq!(link.line(), asked, "the very same");
    link.answer(&asked, json!({"protocolVersion": "2025-11-25", "capabilities": {}}));
    assert!(greeting.wait()["result"].is_object());
    connect.client.close();
}

#[test]
fn a_restart_in_place_is_not_even_noticed() {
    let place = Place::new(|home| home.provider("a", &[], ""), "daemon: {idle_exit_s: 600}\n");
    let (busy, calm) = (place.connect(), place.connect());
    let (daemon, process) = (place.daemon(), busy.client.pid_of("a"));
    let uri = busy.client.list("resources/list")["resources"][0]["uri"].as_str().unwrap().to_owned();
    assert_eq!(busy.client.request("resources/subscribe", json!({"uri": uri}))["result"], json!({}));
    for round in 1..=5 {
        let call = busy.client.start_tool("a__sleep", json!({"ms": 300}));
        thread::sleep(ms(100));
        let restarting = place.command(&["restart"]).spawn().unwrap();
        thread::sleep(ms(30));
        // Said in the middle of it: waits for the next life.
        let later: Vec<_> = (0..20).map(|_| calm.client.start_tool("a__pid", json!({}))).collect();
        // And one that comes in the middle of it.
        let newcomer = place.connect();
        assert!(newcomer.client.pid_of("a") > 0);
        assert!(restarting.wait_with_output().unwrap().status.success(), "{}", place.log());
        assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
        for answer in later {
            assert!(answer.wait()["result"].is_object());
        }
        busy.client.wait_messages("notifications/tools/list_changed", round);
        newcomer.leave();
    }
    assert_eq!(place.daemon(), daemon);
    assert_ne!(calm.client.pid_of("a"), process);
    eventually("the subscription is there again", SOON, || {
        calm.client.text("a__subscriptions", json!({})).contains("test").then_some(())
    });
    let clients = place.status()["clients"].clone();
    assert_eq!(clients.as_array().unwrap().len(), 2, "{clients}");
    assert_eq!(clients[0]["hangar_version"], OWN_VERSION);
    for connect in [busy, calm] {
        assert_eq!(connect.err(), "");
        connect.leave();
    }
}

#[test]
fn a_modern_client_goes_on_hearing_from_every_gateway_there_is() {
    let place = Place::new(|_| String::new(), "");
    let fake = Fake::new(&place);
    let connect = place.spawn();
    let listen = connect.client.send("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    for _ in 0..4 {
        let mut link = fake.accept(&Fake::hello(OWN_VERSION, 1));
        let asked = link.line();
        assert_eq!((&asked["method"], &asked["id"]), (&json!("subscriptions/listen"), &json!(listen.id)));
        // No handshake was said, so none is repeated.
        drop(link);
    }
    assert!(listen.within(ms(100)).is_none());
}

/// However the gateways end, every request has exactly one answer, and no gateway is left.
#[test]
fn storm_of_killed_and_stopped_daemons_answers_every_request_exactly_once() {
    let rounds = std::env::var("HANGAR_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(40_u64) / 4;
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let clients: Vec<_> = (0..4).map(|_| place.connect()).collect();
    let over = std::sync::atomic::AtomicBool::new(false);
    let asked: Vec<Vec<u64>> = thread::scope(|scope| {
        let ask = |connect: &Connect| {
            let mut ids = Vec::new();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let batch = [
                    connect.client.start_tool("a__sleep", json!({"ms": ids.len() % 40})),
                    connect.client.send("tools/list", json!({})),
                    connect.client.start_tool("a__echo", json!({"text": "x".repeat(20_000)})),
                ];
                for pending in batch {
                    ids.push(pending.id);
                    pending.wait();
                }
            }
            ids
        };
        let asking: Vec<_> = clients.iter().map(|connect| scope.spawn(move || ask(connect))).collect();
        for round in 0..rounds {
            thread::sleep(ms(40 + round * 37 % 300));
            let wanted = if round % 3 == 2 { Signal::TERM } else { Signal::KILL };
            place.daemons().into_iter().for_each(|pid| signal(pid, wanted));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (connect, ids) in clients.iter().zip(&asked) {
        let lines = connect.client.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let mut answered: Vec<u64> =
            lines.filter(|m| m.get("method").is_none()).filter_map(|m| m["id"].as_u64()).collect();
        answered.sort_unstable();
        // The first is the handshake.
        assert_eq!(&answered[1..], ids, "{}", connect.err());
    }
    clients.into_iter().for_each(Connect::leave);
    place.assert_all_gone(SOON);
}
