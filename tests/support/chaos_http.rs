//! An MCP server over HTTP within the test, that fails as the test says: a socket, a thread a connection, bytes by hand.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// What happens to a request from now on. `Status` and `Reset` come to every POST, the others to calls of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    None,
    /// This status, and these lines of its head.
    Status(u16, &'static str),
    /// The connection is reset when the request has come.
    Reset,
    /// The head of an answer and half of its body, then a reset.
    ResetInAnswer,
    /// Nothing comes back.
    BlackHole,
    /// Events without end, of which none is the answer; so many a second, 0: as fast as they are taken.
    EndlessEvents(u64),
    /// A body without end.
    EndlessBody,
    /// What is no HTTP.
    Garbage,
    /// No session is known, and none is given.
    NoSession,
}

pub struct ChaosHttp {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    fault: Mutex<Fault>,
    session: AtomicU64,
    /// Bytes of floods that were taken.
    flooded: AtomicU64,
    over: AtomicBool,
}

impl ChaosHttp {
    pub fn start() -> Self {
        Self::on(bound(SocketAddr::from(([127, 0, 0, 1], 0))).0)
    }

    pub fn on(socket: OwnedFd) -> Self {
        rustix::net::listen(&socket, 128).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault: Mutex::new(Fault::None),
            session: AtomicU64::new(1),
            flooded: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over() {
                    return;
                }
                let state = shared.clone();
                thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    pub fn provider(&self, name: &str, keys: &str) -> String {
        format!("  {name}: {{mode: remote, endpoint: \"http://{}/mcp\", {keys}}}\n", self.address)
    }

    pub fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Every session so far is unknown from now on.
    pub fn forget_sessions(&self) {
        self.state.session.fetch_add(1, Ordering::Relaxed);
    }

    pub fn flooded(&self) -> u64 {
        self.state.flooded.load(Ordering::Relaxed)
    }
}

impl Drop for ChaosHttp {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        // The accepting thread looks at it.
        let _ = TcpStream::connect(self.address);
    }
}

/// A place that is taken, and where nobody listens yet: connections are refused.
pub fn bound(address: SocketAddr) -> (OwnedFd, SocketAddr) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &address).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

struct Request {
    post: bool,
    session: Option<u64>,
    body: Value,
}

impl State {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn fault(&self) -> Fault {
        self.fault.lock().unwrap().clone()
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut out) = stream.try_clone() else { return };
        let mut input = BufReader::new(stream);
        while let Some(request) = read(&mut input) {
            if !self.answer(&request, &mut out) {
                return;
            }
        }
    }

    /// Whether the connection lives on.
    fn answer(&self, request: &Request, out: &mut TcpStream) -> bool {
        let (fault, method) = (self.fault(), request.body["method"].as_str().unwrap_or_default());
        if !request.post {
            return send(out, 405, "", "");
        }
        match fault {
            Fault::Status(status, head) => return send(out, status, head, "{\"error\":\"chaos\"}"),
            Fault::Reset => return reset(out),
            Fault::NoSession if method != "notifications/cancelled" => return send(out, 404, "", "no such session"),
            _ => {}
        }
        let session = self.session.load(Ordering::Relaxed);
        if method != "initialize" && request.session.is_some_and(|known| known != session) {
            return send(out, 404, "", "no such session");
        }
        let Some(id) = request.body.get("id") else { return send(out, 202, "", "") };
        let result = match method {
            "initialize" => json!({
                "protocolVersion": request.body["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "chaos", "version": "1"}
            }),
            "ping" => json!({}),
            "tools/list" => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
            "tools/call" => match self.call(&fault, out) {
                Some(lives) => return lives,
                None => json!({"content": [{"type": "text", "text": "0"}]}),
            },
            _ => {
                let error = json!({"code": -32601, "message": "method not found"});
                return json_body(out, "", &json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
        };
        let head = format!("Mcp-Session-Id: {session}\r\n");
        let head = if method == "initialize" { head.as_str() } else { "" };
        json_body(out, head, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    /// `None`: nothing is wrong with it.
    fn call(&self, fault: &Fault, out: &mut TcpStream) -> Option<bool> {
        let head = |kind: &str, length: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{length}\r\n");
        match fault {
            Fault::ResetInAnswer => {
                let head = head("application/json", "Content-Length: 1000\r\n") + "{\"jsonrpc\":\"2.0\",";
                let _ = out.write_all(head.as_bytes());
                thread::sleep(Duration::from_millis(20));
                Some(reset(out))
            }
            Fault::BlackHole => {
                while !self.is_over() && self.fault() == *fault {
                    thread::sleep(Duration::from_millis(20));
                }
                Some(false)
            }
            Fault::EndlessEvents(rate) => {
                let _ = out.write_all(head("text/event-stream", "").as_bytes());
                let stray = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":987654321,"progress":1}}"#;
                let event = format!(": keep-alive\n\nevent: message\ndata: {stray}\n\n");
                let chunk = if *rate == 0 { event.repeat(256) } else { event };
                let pause = 1000_u64.checked_div(*rate).unwrap_or_default();
                Some(self.flood(out, fault, chunk.as_bytes(), Duration::from_millis(pause)))
            }
            Fault::EndlessBody => {
                let _ = out.write_all(head("application/json", "").as_bytes());
                Some(self.flood(out, fault, &[b' '; 1 << 16], Duration::ZERO))
            }
            Fault::Garbage => {
                let _ = out.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n");
                Some(false)
            }
            _ => None,
        }
    }

    fn flood(&self, out: &mut TcpStream, fault: &Fault, chunk: &[u8], pause: Duration) -> bool {
        while !self.is_over() && self.fault() == *fault && out.write_all(chunk).is_ok() {
            self.flooded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            thread::sleep(pause);
        }
        false
    }
}

fn read(input: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut first, mut length, mut session) = (String::new(), 0, None);
    input.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "mcp-session-id" => session = value.parse().ok(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    Some(Request { post: first.starts_with("POST "), session, body: serde_json::from_slice(&body).unwrap_or_default() })
}

fn json_body(out: &mut TcpStream, head: &str, body: &Value) -> bool {
    send(out, 200, &format!("Content-Type: application/json\r\n{head}"), &body.to_string())
}

fn send(out: &mut TcpStream, status: u16, head: &str, body: &str) -> bool {
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{head}\r\n{body}", body.len());
    out.write_all(text.as_bytes()).is_ok()
}

/// The peer reads "connection reset", not an orderly end.
fn reset(out: &TcpStream) -> bool {
    let _ = rustix::net::sockopt::set_socket_linger(out, Some(Duration::ZERO));
    false
}
