//! Many legacy clients over HTTP that one modern upstream asks at the same time: each is asked for its own calls only, on the
//! stream of that call, and each answer goes back into the call it was given for.

#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/gateway.rs"]
mod gateway;

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    thread,
};

use gateway::{Gateway, Home, SOON, Value, json};

const CLIENTS: usize = 8;
const CALLS: usize = 12;
const ROUNDS: u64 = 2;

/// One session; every request on a connection of its own.
struct Client {
    address: SocketAddr,
    key: String,
}

impl Client {
    fn open(address: SocketAddr) -> Self {
        let mut client = Self { address, key: String::new() };
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}});
        let (head, _) = client.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}));
        let key = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session");
        client.key = key.to_owned();
        client
    }

    fn post(&self, body: &Value) -> (String, BufReader<TcpStream>) {
        let session = if self.key.is_empty() { String::new() } else { format!("Mcp-Session-Id: {}\r\n", self.key) };
        exchange::exchange(self.address, "POST", &session, &body.to_string(), SOON)
    }

    /// The messages on the stream of one call: questions, each answered with the nonce, and the answer at the end.
    fn call(&self, id: usize, nonce: &str) -> Value {
        let arguments = json!({"n": ROUNDS, "nonce": nonce});
        let call = json!({"name": "a__rounds", "arguments": arguments});
        let (_, mut stream) = self.post(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call}));
        let mut asked = 0;
        loop {
            let mut line = String::new();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream has ended after {asked} questions");
            let Some(data) = line.strip_prefix("data: ").filter(|data| !data.trim().is_empty()) else { continue };
            let message: Value = serde_json::from_str(data).unwrap();
            if message["method"] == "elicitation/create" {
                asked += 1;
                assert_eq!(message["params"]["message"], nonce, "asked for somebody else's call");
                let result = json!({"action": "accept", "content": {"nonce": nonce}});
                let (head, _) = self.post(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
                assert!(head.starts_with("http/1.1 202"), "{head}");
            } else if message["id"] == id {
                assert_eq!(asked, ROUNDS);
                return message;
            }
        }
    }
}

#[test]
fn clients_that_are_asked_at_the_same_time_get_only_their_own() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &["--era", "modern"], ""));
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let client = Client::open(address);
                thread::scope(|calls| {
                    for call in 1..=CALLS {
                        let client = &client;
                        calls.spawn(move || {
                            let nonce = format!("{number}/{call}");
                            let answer = client.call(call, &nonce);
                            let text = answer["result"]["content"][0]["text"].as_str();
                            let text = text.unwrap_or_else(|| panic!("{answer}"));
                            let told: Value = serde_json::from_str(text).unwrap();
                            assert_eq!(told["answers"]["q"]["content"]["nonce"], nonce.as_str(), "{answer}");
                        });
                    }
                });
            });
        }
    });
    gateway.stop();
}
