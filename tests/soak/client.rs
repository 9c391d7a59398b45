//! Clients that look at every answer: over HTTP in both eras, and on the stdio of a `hangar connect`.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::LazyLock,
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Longer than anything takes here, the drain of a busy machine included.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An exchange that ended in good order, and without the answer.
pub const NO_ANSWER: &str = "the exchange ended without an answer";

/// What went wrong, in words; the answers of the gateway that are errors are values.
pub type Outcome<T> = Result<T, String>;

pub fn said(what: &str, error: impl std::fmt::Display) -> String {
    format!("{what}: {error}")
}

/// One pool for all, small enough for connections to come and go, and empty before a quiet time has passed.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // reqwest wants one also where there is no TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(1));
    client.pool_max_idle_per_host(6).build().expect("a client")
});

/// One client over HTTP. Without a session: one of revision 2026-07-28.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub address: SocketAddr,
    session: Option<String>,
}

impl Client {
    pub fn modern(address: SocketAddr) -> Self {
        Self { http: HTTP.clone(), address, session: None }
    }

    /// Past the handshake.
    pub async fn session(address: SocketAddr) -> Outcome<Self> {
        let mut client = Self::modern(address);
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}});
        let response = client.send(&request("initialize", &hello)).await?;
        let id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok());
        client.session = Some(id.ok_or("the handshake gives no session")?.to_owned());
        messages(response, |_| {}).await?;
        client.notify("notifications/initialized", &json!({})).await?;
        Ok(client)
    }

    fn post(&self) -> RequestBuilder {
        let post = self.http.post(format!("http://{}/mcp", self.address));
        let post =
            post.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
        match &self.session {
            Some(session) => post.header("mcp-session-id", session),
            None => post.header("mcp-protocol-version", "2026-07-28"),
        }
    }

    /// A request whose answer has begun to come.
    pub async fn send(&self, message: &Value) -> Outcome<Response> {
        let mut post = self.post();
        let mut message = message.clone();
        if self.session.is_none() && message["method"] != "initialize" {
            message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
            post = post.header("mcp-method", message["method"].as_str().unwrap_or_default());
            if let Some(name) = message["params"]["name"].as_str() {
                post = post.header("mcp-name", name);
            }
        } else if self.session.is_none() {
            post = self.http.post(format!("http://{}/mcp", self.address));
            post =
                post.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
        }
        let sent = timeout(PATIENCE, post.body(message.to_string()).send()).await;
        let response = sent.map_err(|_| format!("no answer to {message}"))?.map_err(|e| said("http", e))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(format!("{} for {message}", response.status())),
        }
    }

    pub async fn notify(&self, method: &str, params: &Value) -> Outcome<()> {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params})).await.map(drop)
    }

    /// The whole answer, and every other message of its stream.
    pub async fn request(&self, message: &Value) -> Outcome<(Value, Vec<Value>)> {
        let response = self.send(message).await?;
        let (mut answer, mut others) = (None, Vec::new());
        let take = |message: Value| match message.get("method") {
            None => answer = Some(message),
            Some(_) => others.push(message),
        };
        let read = timeout(PATIENCE, messages(response, take)).await;
        read.map_err(|_| format!("no end of the answer to {message}"))??;
        Ok((answer.ok_or_else(|| format!("{NO_ANSWER} to {message}"))?, others))
    }

    pub async fn ask(&self, method: &str, params: &Value) -> Outcome<Value> {
        Ok(self.request(&request(method, params)).await?.0)
    }

    /// The stream of what belongs to no call.
    pub async fn listen(&self) -> Outcome<Response> {
        let get = self.http.get(format!("http://{}/mcp", self.address)).header("accept", "text/event-stream");
        let get = get.header("mcp-session-id", self.session.as_deref().unwrap_or_default());
        get.send().await.and_then(Response::error_for_status).map_err(|e| said("listen", e))
    }

    /// The administration's side.
    pub async fn get(&self, path: &str) -> Outcome<Response> {
        let sent = self.http.get(format!("http://{}{path}", self.address)).send().await;
        sent.and_then(Response::error_for_status).map_err(|e| said(path, e))
    }

    /// The report, good or bad.
    pub async fn reload(&self) -> Outcome<Value> {
        let sent = self.http.post(format!("http://{}/api/config/reload", self.address)).send().await;
        let text = sent.map_err(|e| said("reload", e))?.text().await.map_err(|e| said("reload", e))?;
        serde_json::from_str(&text).map_err(|e| format!("reload: {e}: {text}"))
    }
}

/// A request under an id that every client uses.
pub fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// Gives each message of a body, or of a stream until it ends.
pub async fn messages(mut response: Response, mut take: impl FnMut(Value)) -> Outcome<()> {
    let stream = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| said("body", e))? {
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text).map_err(|e| said("body", e))?;
    let data = text.lines().filter_map(|line| if stream { line.strip_prefix("data: ") } else { Some(line) });
    for message in data.filter(|line| !line.trim().is_empty()) {
        take(serde_json::from_str(message).map_err(|e| format!("{e}: {message}"))?);
    }
    Ok(())
}

/// Waits until the stream has said this; it is left then.
pub async fn heard(mut stream: Response, what: &str, within: Duration) -> Outcome<()> {
    let (mut text, until) = (String::new(), Instant::now() + within);
    while !text.contains(what) {
        let left = until.saturating_duration_since(Instant::now());
        let chunk = timeout(left, stream.chunk()).await.map_err(|_| format!("{what} is not told: {text}"))?;
        let chunk = chunk.map_err(|e| said("stream", e))?.ok_or_else(|| format!("the stream ended before {what}"))?;
        text += &String::from_utf8_lossy(&chunk);
    }
    Ok(())
}

/// A client on the stdio of a `hangar connect`. Killed when dropped.
pub struct Piped {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Piped {
    pub async fn open(mut connect: Command) -> Outcome<Self> {
        connect.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = connect.spawn().map_err(|e| said("connect", e))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
        let mut piped = Self { _child: child, input, output: BufReader::new(output).lines() };
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}});
        piped.ask("initialize", &hello).await?;
        piped.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(piped)
    }

    pub async fn say(&mut self, message: &Value) -> Outcome<()> {
        self.input.write_all(format!("{message}\n").as_bytes()).await.map_err(|e| said("connect", e))
    }

    /// The answer; what else is told is passed over.
    pub async fn ask(&mut self, method: &str, params: &Value) -> Outcome<Value> {
        self.say(&request(method, params)).await?;
        loop {
            let line =
                timeout(PATIENCE, self.output.next_line()).await.map_err(|_| format!("no answer to {params}"))?;
            let line = line.map_err(|e| said("connect", e))?.ok_or("connect has ended")?;
            let message: Value = serde_json::from_str(&line).map_err(|e| said(&line, e))?;
            if message.get("method").is_none() {
                return Ok(message);
            }
        }
    }
}
