//! `hangar-test-remote`: a scripted MCP server over HTTP, for tests of the remote transport.
//!
//! Prints its bound address as one line on stdout when it is ready. Strict where real servers are: a request that overtakes
//! `notifications/initialized` is refused, an unknown session is a 404. Everything it saw is told by the tool `stats`.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

#[path = "remote/mcp.rs"]
mod mcp;
#[path = "remote/modern.rs"]
mod modern;

use mcp::{initialized, result};

#[derive(Parser)]
struct Args {
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: String,
    #[arg(long, value_enum, default_value = "streamable")]
    mode: Mode,
    /// The protocol revisions it serves.
    #[arg(long, value_enum, default_value = "legacy")]
    era: Era,
    /// How a plain answer is sent.
    #[arg(long, value_enum, default_value = "json")]
    answer: Answer,
    /// Gives no session ids.
    #[arg(long)]
    no_sessions: bool,
    /// A session is forgotten after this many requests (`initialize` not counted).
    #[arg(long)]
    forget_after: Option<u64>,
    /// How an unknown session is told: 404, or the 400 of servers after the TypeScript SDK's examples.
    #[arg(long, default_value = "404")]
    unknown_session: u16,
    /// Takes so long to open a GET stream.
    #[arg(long, default_value = "0")]
    stream_after_ms: u64,
    /// `K=V`: 401 without it.
    #[arg(long)]
    require_header: Vec<String>,
    /// Answers every POST with a 307 to there.
    #[arg(long)]
    redirect: Option<String>,
    /// The certificate chain and the key, PEM.
    #[arg(long, num_args = 2)]
    tls: Vec<PathBuf>,
    /// Clients must show a certificate of this authority.
    #[arg(long)]
    client_ca: Option<PathBuf>,
    /// It has a resource to subscribe to, and logs.
    #[arg(long)]
    resources: bool,
    /// The `endpoint` event of the legacy transport.
    #[arg(long, default_value = "/messages")]
    endpoint: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Streamable,
    SseLegacy,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Era {
    Legacy,
    Modern,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answer {
    Json,
    Sse,
}

type Out = mpsc::Sender<Result<String, std::io::Error>>;
type Shared = Arc<Server>;

struct Server {
    args: Args,
    next: AtomicU64,
    sessions: Mutex<HashMap<String, Session>>,
    /// Everything that is counted, by name.
    counts: Mutex<BTreeMap<String, u64>>,
    /// Of the last POST.
    headers: Mutex<BTreeMap<String, String>>,
    /// Open GET streams.
    listeners: Mutex<Vec<Out>>,
    modern_listeners: Mutex<Vec<modern::Listener>>,
    /// Requests of ours that wait for the client's answer, by id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    /// What a stream that ended early goes on with, by event id: polls still to come, the response.
    resumable: Mutex<HashMap<String, (u64, String)>>,
    /// The next so many requests come in an unknown session, and then `initialize` gets this status.
    lost: Mutex<(u64, Option<u16>)>,
    /// The next so many POSTs get this status, and Retry-After.
    burst: Mutex<(u64, u16, Option<String>)>,
}

#[derive(Default)]
struct Session {
    initialized: bool,
    requests: u64,
}

/// Cuts the TCP connection.
#[derive(Clone)]
struct Cut(CancellationToken);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let tls = tls_acceptor(&args)?;
    let server: Shared = Arc::new(Server {
        args,
        next: AtomicU64::new(1),
        sessions: Mutex::default(),
        counts: Mutex::default(),
        headers: Mutex::default(),
        listeners: Mutex::default(),
        modern_listeners: Mutex::default(),
        waiting: Mutex::default(),
        resumable: Mutex::default(),
        lost: Mutex::default(),
        burst: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind(&server.args.bind).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    // Whoever started us holds our stdin; when it goes, we go.
    tokio::spawn(async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
        std::process::exit(0);
    });
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        server.count("connections");
        let (server, tls) = (server.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(server, tcp).await,
                Some(acceptor) => match acceptor.accept(tcp).await {
                    Ok(stream) => serve(server, stream).await,
                    Err(_) => server.count("tls_failures"),
                },
            }
        });
    }
}

async fn serve(server: Shared, io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
    let cut = Cut(CancellationToken::new());
    let router = Router::new().fallback(handle).layer(Extension(cut.clone())).with_state(server);
    let service = hyper_util::service::TowerToHyperService::new(router);
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(io), service);
    tokio::select! { _ = connection => {}, () = cut.0.cancelled() => {} }
}

fn tls_acceptor(args: &Args) -> anyhow::Result<Option<tokio_rustls::TlsAcceptor>> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let [cert, key] = args.tls.as_slice() else { return Ok(None) };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let builder = match &args.client_ca {
        None => rustls::ServerConfig::builder().with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(ca)?)?;
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
            rustls::ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    Ok(Some(Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?).into()))
}

async fn handle(
    State(server): State<Shared>,
    Extension(cut): Extension<Cut>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let refused = |pair: &&String| {
        let (name, value) = pair.split_once('=').unwrap_or_default();
        headers.get(name).is_none_or(|v| v.as_bytes() != value.as_bytes())
    };
    if let Some(pair) = server.args.require_header.iter().find(refused) {
        let echo = headers.get(header::AUTHORIZATION).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        return (StatusCode::UNAUTHORIZED, format!("wanted {pair}, got {echo:?}")).into_response();
    }
    server.count(&format!("{}s", method.as_str().to_lowercase()));
    match (server.args.mode, method.as_str()) {
        (Mode::Streamable, "POST") => server.post(cut, &headers, &body).await,
        (Mode::Streamable, "GET") => {
            tokio::time::sleep(Duration::from_millis(server.args.stream_after_ms)).await;
            server.get(&headers)
        }
        (Mode::Streamable, "DELETE") => server.delete(&headers).into_response(),
        (Mode::SseLegacy, "POST") => server.legacy_post(uri.query().unwrap_or_default(), &body),
        (Mode::SseLegacy, "GET") => server.legacy_stream(),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

// === impl Server: HTTP ===

impl Server {
    fn count(&self, what: &str) {
        *self.counts.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    fn fresh(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.next.fetch_add(1, Ordering::SeqCst))
    }

    async fn post(self: &Arc<Self>, cut: Cut, headers: &HeaderMap, body: &Bytes) -> Response {
        let seen = headers.iter().map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
        *self.headers.lock().unwrap() = seen.collect();
        if let Some(to) = &self.args.redirect {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.clone())]).into_response();
        }
        if let Some(response) = self.burst() {
            return response;
        }
        let Ok(message) = serde_json::from_slice::<Value>(body) else {
            return (StatusCode::BAD_REQUEST, "no JSON").into_response();
        };
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        self.count(&format!("method {method}"));
        if self.args.era == Era::Modern || (self.args.era == Era::Both && modern::speaks(&message)) {
            return self.modern(headers, &message).await;
        }
        if method == "initialize" {
            return self.initialize(&message);
        }
        if let Err(response) = self.check_session(headers, &method, &message).await {
            return response;
        }
        if message.get("id").is_none() || method.is_empty() {
            self.take_notice(&message);
            return StatusCode::ACCEPTED.into_response();
        }
        let args = &message["params"]["arguments"];
        if message["params"]["name"] == "fault" {
            return self.fault(cut, &message, args["kind"].as_str().unwrap_or_default()).await;
        }
        self.respond(message).await
    }

    fn burst(&self) -> Option<Response> {
        let mut burst = self.burst.lock().unwrap();
        burst.0 = burst.0.checked_sub(1)?;
        let status = StatusCode::from_u16(burst.1).ok()?;
        let mut response = (status, "busy\u{1b}[31m today").into_response();
        if let Some(wait) = &burst.2 {
            response.headers_mut().insert(header::RETRY_AFTER, wait.parse().ok()?);
        }
        Some(response)
    }

    fn lose(&self) -> bool {
        let mut lost = self.lost.lock().unwrap();
        let Some(left) = lost.0.checked_sub(1) else { return false };
        lost.0 = left;
        if let Some(status) = lost.1.take() {
            *self.burst.lock().unwrap() = (1, status, None);
        }
        true
    }

    fn initialize(&self, message: &Value) -> Response {
        self.count("initialises");
        let mut response = axum::Json(initialized(message, self.args.resources)).into_response();
        if !self.args.no_sessions {
            let id = self.fresh("session-");
            response.headers_mut().insert("mcp-session-id", id.parse().unwrap());
            self.sessions.lock().unwrap().insert(id, Session::default());
        }
        response
    }

    async fn check_session(&self, headers: &HeaderMap, method: &str, message: &Value) -> Result<(), Response> {
        if self.args.no_sessions {
            return Ok(());
        }
        let id = headers.get("mcp-session-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if method == "notifications/initialized" {
            // Slow, so that a client that does not wait is found out.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let lost = message.get("id").is_some() && self.lose();
        let mut sessions = self.sessions.lock().unwrap();
        let Some(session) = sessions.get_mut(id).filter(|_| !lost) else {
            drop(sessions);
            self.count("unknown_sessions");
            let status = StatusCode::from_u16(self.args.unknown_session).unwrap();
            let text = "Bad Request: No valid session ID provided";
            let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": text}});
            return Err((status, axum::Json(error)).into_response());
        };
        if method == "notifications/initialized" {
            session.initialized = true;
        } else if message.get("id").is_some() && !method.is_empty() {
            session.requests += 1;
            if !session.initialized {
                let error = json!({"code": -32600, "message": "before initialized"});
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                return Err((StatusCode::BAD_REQUEST, axum::Json(answer)).into_response());
            }
            if self.args.forget_after.is_some_and(|n| session.requests >= n) {
                sessions.remove(id);
            }
        }
        Ok(())
    }

    fn get(self: &Arc<Self>, headers: &HeaderMap) -> Response {
        if let Some(last) = headers.get("last-event-id").and_then(|v| v.to_str().ok()) {
            self.count("resumes");
            let Some((polls, answer)) = self.resumable.lock().unwrap().remove(last) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            if polls > 0 {
                return self.end_early(polls - 1, answer);
            }
            return events(format!("data: {answer}\n\n"));
        }
        let (out, body) = channel();
        let _ = out.try_send(Ok(": hello\n\n".into()));
        self.listeners.lock().unwrap().push(out);
        stream(body)
    }

    fn delete(&self, headers: &HeaderMap) -> StatusCode {
        let id = headers.get("mcp-session-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
        match self.sessions.lock().unwrap().remove(id) {
            Some(_) => StatusCode::NO_CONTENT,
            None => StatusCode::NOT_FOUND,
        }
    }

    async fn respond(self: &Arc<Self>, message: Value) -> Response {
        let (out, body) = channel();
        let streams = ["progress", "elicit"].iter().any(|t| message["params"]["name"] == *t);
        if self.args.answer == Answer::Json && !streams {
            return axum::Json(self.answer(&message, &out).await).into_response();
        }
        let server = self.clone();
        tokio::spawn(async move {
            let answer = server.answer(&message, &out).await;
            let _ = out.send(Ok(format!("event: message\ndata: {answer}\n\n"))).await;
        });
        stream(body)
    }

    /// A stream that gives an id and ends without the answer.
    fn end_early(&self, polls: u64, answer: String) -> Response {
        let id = self.fresh("event-");
        self.resumable.lock().unwrap().insert(id.clone(), (polls, answer));
        events(format!("id: {id}\nretry: 150\ndata:\n\n"))
    }

    async fn fault(&self, cut: Cut, message: &Value, kind: &str) -> Response {
        self.count(&format!("fault_{kind}"));
        let answer = result(message, json!({"content": [{"type": "text", "text": "late"}]})).to_string();
        match kind {
            "reset" => {
                cut.0.cancel();
                std::future::pending().await
            }
            "reset_body" => {
                let (out, body) = channel();
                let _ = out.try_send(Ok(": half\n\n".into()));
                let _ = out.try_send(Err(std::io::ErrorKind::ConnectionReset.into()));
                stream(body)
            }
            "hang" => std::future::pending().await,
            "endless" => {
                let (out, body) = channel();
                tokio::spawn(async move { while out.send(Ok(": tick\n\n".into())).await.is_ok() {} });
                stream(body)
            }
            "oversize" => ([(header::CONTENT_TYPE, "application/json")], vec![b' '; (16 << 20) + 1]).into_response(),
            "oversize_stream" => {
                let (out, body) = channel();
                tokio::spawn(async move {
                    let _ = out.send(Ok("data: ".into())).await;
                    while out.send(Ok("x".repeat(1 << 20))).await.is_ok() {}
                });
                stream(body)
            }
            "wrong_type" => ([(header::CONTENT_TYPE, "text/html")], "<html>").into_response(),
            "wrong_id" => axum::Json(json!({"jsonrpc": "2.0", "id": 999_999, "result": {}})).into_response(),
            "accepted" => StatusCode::ACCEPTED.into_response(),
            "early_end" => events(": bye\n\n".into()),
            "resumable" => self.end_early(message["params"]["arguments"]["polls"].as_u64().unwrap_or(0), answer),
            "unresumable" => events("id: nowhere\nretry: 10\ndata:\n\n".into()),
            "error_body" => {
                let error = json!({"code": -32001, "message": "no such thing"});
                let body = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

// === impl Server: legacy HTTP+SSE ===

impl Server {
    fn legacy_stream(&self) -> Response {
        let (out, body) = channel();
        let _ = out.try_send(Ok(format!("event: endpoint\ndata: {}?stream=1\n\n", self.args.endpoint)));
        *self.listeners.lock().unwrap() = vec![out];
        stream(body)
    }

    fn legacy_post(self: &Arc<Self>, query: &str, body: &Bytes) -> Response {
        let (Some(out), Ok(message), true) = (
            self.listeners.lock().unwrap().last().cloned(),
            serde_json::from_slice::<Value>(body),
            query == "stream=1",
        ) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        if let Some(response) = self.burst() {
            return response;
        }
        let server = self.clone();
        tokio::spawn(async move {
            if message.get("id").is_none() || message.get("method").is_none() {
                return server.take_notice(&message);
            }
            let answer = match message["method"].as_str() {
                Some("initialize") => initialized(&message, false),
                _ => server.answer(&message, &out).await,
            };
            let _ = out.send(Ok(format!("event: message\r\ndata: {answer}\r\n\r\n"))).await;
        });
        (StatusCode::ACCEPTED, "Accepted").into_response()
    }
}

fn channel() -> (Out, mpsc::Receiver<Result<String, std::io::Error>>) {
    mpsc::channel(16)
}

fn events(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

fn stream(body: mpsc::Receiver<Result<String, std::io::Error>>) -> Response {
    let body = futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|item| (item, body)) });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}
