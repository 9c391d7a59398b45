//! The load: raw clients that know what they are owed and look at everything that reaches them.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Calls that each client has in flight all the time.
pub const LANES: usize = 32;
const PATIENCE: Duration = Duration::from_secs(100);
const CAPABILITIES: &str = r#"{"elicitation":{}}"#;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// HTTP with a session.
    Legacy,
    /// HTTP without.
    Modern,
    /// The connect socket, as `hangar connect` uses it.
    Socket,
}

pub struct Plan {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub calls: u64,
    pub clients: Vec<(Front, usize)>,
    pub upstreams: usize,
}

#[derive(Default)]
pub struct Counts {
    pub answers: u64,
    pub progress: u64,
    pub logs: u64,
    /// What was refused or lost.
    pub errors: Vec<String>,
    /// What reached somebody it does not belong to.
    pub wrong: Vec<String>,
}

/// Shared by all lanes.
struct Load {
    plan: Plan,
    started: AtomicU64,
    counts: Mutex<Counts>,
}

/// One call: what is sent, and what may come for it.
struct Call {
    id: String,
    token: Option<String>,
    nonce: String,
    body: String,
    /// Whether its progress has to come: not from servers that give nothing but the answer.
    owed: bool,
    /// Whether its client has others: one without a session is known by its one request.
    shares: bool,
    told: u32,
}

pub fn run(plan: Plan) -> Counts {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let load = Arc::new(Load { plan, started: AtomicU64::new(0), counts: Mutex::default() });
    runtime.block_on(async {
        let mut tasks = Vec::new();
        let mut number = 0;
        for (front, count) in load.plan.clients.clone() {
            for _ in 0..count {
                number += 1;
                match front {
                    Front::Socket => {
                        tasks.push(tokio::spawn(watched(load.clone(), socket_client(load.clone(), number))))
                    }
                    _ => {
                        let session =
                            if front == Front::Legacy { Some(session(load.plan.address).await) } else { None };
                        for lane in 0..LANES {
                            let work = http_lane(load.clone(), number, lane, session.clone());
                            tasks.push(tokio::spawn(watched(load.clone(), work)));
                        }
                    }
                }
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let mut counts = load.counts.lock().unwrap();
    std::mem::take(&mut *counts)
}

async fn watched(load: Arc<Load>, work: impl Future<Output = io::Result<()>>) {
    if let Err(error) = work.await {
        load.counts.lock().unwrap().errors.push(error.to_string());
    }
}

impl Load {
    /// The next call of a lane; `None` when there have been enough.
    fn next(&self, client: usize, lane: usize, modern: bool) -> Option<Call> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        if number >= self.plan.calls {
            return None;
        }
        // Every client has the same ids and tokens.
        let id = if number.is_multiple_of(3) { format!("\"call {lane}\"") } else { lane.to_string() };
        let upstream = fastrand::usize(..self.plan.upstreams);
        let nonce = format!("{client}.{lane}.{number}.{upstream}");
        let token = number
            .is_multiple_of(8)
            .then(|| if lane.is_multiple_of(2) { format!("\"{lane}\"") } else { lane.to_string() });
        let log = if number.is_multiple_of(16) { r#","log":1"# } else { "" };
        let mut meta = token.iter().map(|token| format!(r#""progressToken":{token}"#)).collect::<Vec<_>>();
        if modern {
            meta.push(format!(
                r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{CAPABILITIES},"io.modelcontextprotocol/logLevel":"debug""#
            ));
        }
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"u{upstream}__load","arguments":{{"text":"{nonce}"{log}}},"_meta":{{{}}}}}}}"#,
            meta.join(",")
        );
        let owed = token.is_some() && !matches!(upstream, 10 | 11);
        Some(Call { id, token, nonce, body, owed, shares: !modern, told: 0 })
    }

    /// Looks at one message that has come for `call`. `true`: it was the answer.
    fn take(&self, call: &mut Call, message: &Value) -> bool {
        let mut counts = self.counts.lock().unwrap();
        let mut wrong = |what: &str| counts.wrong.push(format!("{what}: {} got {message}", call.nonce));
        let params = &message["params"];
        match message["method"].as_str() {
            Some("notifications/progress") => {
                if Some(params["progressToken"].to_string()) != call.token || params["message"] != call.nonce {
                    wrong("progress");
                }
                call.told += 1;
                counts.progress += 1;
                false
            }
            Some("notifications/message") => {
                let data = params["data"].as_str().unwrap_or_default();
                if data != call.nonce && !(call.shares && may_be_of_another_call(&call.nonce, data)) {
                    wrong("log message");
                }
                counts.logs += 1;
                false
            }
            Some(_) => {
                wrong("message");
                false
            }
            None => {
                if let Some(error) = message.get("error") {
                    counts.errors.push(format!("{}: {error}", call.nonce));
                } else {
                    let id = message["id"].to_string();
                    if id != call.id || message["result"]["content"][0]["text"] != call.nonce {
                        wrong("answer");
                    } else if call.told != u32::from(call.owed) {
                        counts.errors.push(format!("{} was told {} times: {}", call.nonce, call.told, call.body));
                    }
                    counts.answers += 1;
                }
                true
            }
        }
    }
}

/// A pipe does not say which call a log message belongs to, so a client with several calls there may find it on the stream of
/// another one of its own. Streamable HTTP says so.
fn may_be_of_another_call(nonce: &str, data: &str) -> bool {
    let part = |text: &str, at: usize| text.split('.').nth(at).map(str::to_owned);
    part(nonce, 0) == part(data, 0) && !matches!(part(data, 3).as_deref(), Some("13" | "14" | "15"))
}

// === HTTP ===

struct Http {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

struct Head {
    length: Option<usize>,
    session: Option<String>,
}

impl Http {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    async fn post(&mut self, session: Option<&str>, headers: &str, body: &str) -> io::Result<Head> {
        let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             {session}{headers}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes()).await?;
        let (mut line, mut head) = (String::new(), Head { length: None, session: None });
        self.line(&mut line).await?;
        if !line.starts_with("HTTP/1.1 20") {
            return Err(io::Error::other(format!("{line} for {body}")));
        }
        loop {
            self.line(&mut line).await?;
            let Some((name, value)) = line.split_once(':') else { return Ok(head) };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.trim().parse().ok(),
                "mcp-session-id" => head.session = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }

    async fn line(&mut self, line: &mut String) -> io::Result<()> {
        line.clear();
        let read = timeout(PATIENCE, self.stream.read_line(line)).await.map_err(|_| io::Error::other("no answer"))?;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(())
    }

    async fn whole(&mut self, length: usize) -> io::Result<Value> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        serde_json::from_slice(&body).map_err(|error| io::Error::other(format!("{error}: {body:?}")))
    }

    /// The messages of the next chunk of a stream; `None`: it is over.
    async fn chunk(&mut self) -> io::Result<Option<Vec<Value>>> {
        let mut line = String::new();
        self.line(&mut line).await?;
        let length = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).await?;
        let text = String::from_utf8_lossy(&chunk);
        let messages = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let messages = messages.map(|text| serde_json::from_str(text).map_err(io::Error::other));
        (length > 0).then(|| messages.collect::<io::Result<_>>()).transpose()
    }
}

fn initialize() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"clientInfo":{{"name":"load","version":"1"}}}}}}"#
    )
}

async fn session(address: SocketAddr) -> String {
    let mut http = Http::connect(address).await.unwrap();
    let head = http.post(None, "", &initialize()).await.unwrap();
    http.whole(head.length.unwrap()).await.unwrap();
    head.session.unwrap()
}

async fn http_lane(load: Arc<Load>, client: usize, lane: usize, session: Option<String>) -> io::Result<()> {
    let mut http = Http::connect(load.plan.address).await?;
    while let Some(mut call) = load.next(client, lane, session.is_none()) {
        let headers = match session {
            Some(_) => String::new(),
            None => {
                let name = call.body.split(r#""name":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\n")
            }
        };
        let head = http.post(session.as_deref(), &headers, &call.body).await?;
        if let Some(length) = head.length {
            let message = http.whole(length).await?;
            load.take(&mut call, &message);
            continue;
        }
        let mut answered = 0;
        while let Some(messages) = http.chunk().await? {
            answered += messages.iter().filter(|message| load.take(&mut call, message)).count();
        }
        if answered != 1 {
            return Err(io::Error::other(format!("{answered} answers for {}", call.nonce)));
        }
    }
    Ok(())
}

// === the connect socket ===

async fn socket_client(load: Arc<Load>, client: usize) -> io::Result<()> {
    let stream = hello(&load.plan.socket).await?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    lines.next_line().await?;
    writer.write_all((initialize() + "\n").as_bytes()).await?;
    lines.next_line().await?;
    let mut calls: HashMap<String, Call> = HashMap::new();
    let mut free: VecDeque<usize> = (0..LANES).collect();
    loop {
        while let Some(lane) = free.pop_front() {
            let Some(call) = load.next(client, lane, false) else { break };
            writer.write_all((call.body.clone() + "\n").as_bytes()).await?;
            calls.insert(lane.to_string(), call);
        }
        if calls.is_empty() {
            return Ok(());
        }
        let line = timeout(PATIENCE, lines.next_line()).await.map_err(|_| {
            io::Error::other(format!("no answer for {:?}", calls.values().map(|call| &call.body).collect::<Vec<_>>()))
        })?;
        let line = line?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let message: Value = serde_json::from_str(&line).map_err(io::Error::other)?;
        // By what is said on the way back, the lane; whether it is the right one is looked at then.
        let said = match message["method"].as_str() {
            Some("notifications/progress") => message["params"]["progressToken"].clone(),
            Some("notifications/message") => {
                json!(message["params"]["data"].as_str().and_then(|nonce| nonce.split('.').nth(1)))
            }
            _ => message["id"].clone(),
        };
        let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        let lane = said.trim_start_matches("call ").to_owned();
        let Some(call) = calls.get_mut(&lane) else {
            // A log message may come behind its call's answer; it is its client's all the same.
            let own = message["params"]["data"].as_str().is_some_and(|nonce| nonce.starts_with(&format!("{client}.")));
            if !own {
                load.counts.lock().unwrap().wrong.push(format!("nobody's at {client}: {line}"));
            }
            continue;
        };
        if load.take(call, &message) {
            calls.remove(&lane);
            free.push_back(lane.parse().map_err(io::Error::other)?);
        }
    }
}

async fn hello(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    let hello =
        json!({"hangar": "connect", "protocol": 1, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id()});
    stream.write_all(format!("{hello}\n").as_bytes()).await?;
    Ok(stream)
}

// === questions ===

/// A call in a session of its own that is asked in the middle; what the question said, and what the answer says of what was answered.
pub fn asked(address: SocketAddr, tool: &str, nonce: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = session(address).await;
        let mut http = Http::connect(address).await.unwrap();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": nonce}}});
        let head = http.post(Some(&session), "", &body.to_string()).await.unwrap();
        let mut told = Vec::new();
        if let Some(length) = head.length {
            let answer = http.whole(length).await.unwrap();
            return vec![answer["result"]["content"][0]["text"].to_string()];
        }
        while let Some(messages) = http.chunk().await.unwrap() {
            for message in messages {
                if message["method"] == "elicitation/create" {
                    let question = message["params"]["message"].as_str().unwrap().to_owned();
                    // Long enough for every other client's question to come in between.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let content = json!({"action": "accept", "content": {"nonce": nonce}});
                    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": content});
                    let mut back = Http::connect(address).await.unwrap();
                    back.post(Some(&session), "", &answer.to_string()).await.unwrap();
                    told.push(question);
                } else {
                    let text = message["result"]["content"][0]["text"].as_str().unwrap_or_default();
                    let given: Value = serde_json::from_str(text).unwrap_or_default();
                    let given = given["content"]["nonce"].as_str().map_or_else(|| text.to_owned(), str::to_owned);
                    told.push(given);
                }
            }
        }
        told
    })
}

/// A call in a session of its own. A question is answered after `pause`; without one the client leaves instead. Every message.
pub fn told(address: SocketAddr, tool: &str, arguments: Value, pause: Duration) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = session(address).await;
        let mut http = Http::connect(address).await.unwrap();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        http.post(Some(&session), "", &body.to_string()).await.unwrap();
        let mut told = Vec::new();
        while let Some(messages) = http.chunk().await.unwrap() {
            for message in messages {
                if message["method"] == "elicitation/create" {
                    if pause.is_zero() {
                        return told;
                    }
                    tokio::time::sleep(pause).await;
                    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "decline"}});
                    let mut back = Http::connect(address).await.unwrap();
                    back.post(Some(&session), "", &answer.to_string()).await.unwrap();
                }
                told.push(message);
            }
        }
        told
    })
}
