//! `hangar-test-raw`: an MCP server that sends exactly the bytes it is told to and keeps exactly the bytes it gets, for the tests
//! of losslessness and of routing. `stdio | json | sse | legacy-sse`, `--era legacy | modern`, `--dir DIR`.
//!
//! Every message that comes is appended to `DIR/got`, a line each, as a JSON text. A message with `case-X` in it is answered by
//! `DIR/case-X.script`, one without by `DIR/METHOD.script` (`/` is `_`), else by what is built in. A script's messages are parted by
//! a line `%%`; `@ID@` and `@TOKEN@` stand for the request's id and progress token as spelled; one that begins with `?` is a request
//! whose answer is waited for; a request that comes again with `inputResponses` has `case-X.retry.script`. Built in are also the tools `load` and `ask`, see [`Server::load`].

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use hangar::wire::{Frame, FrameKind, shallow};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
};

const VERSION: &str = "2026-07-28";

#[derive(Parser)]
struct Args {
    #[arg(value_enum)]
    mode: Mode,
    #[arg(long, value_enum, default_value = "legacy")]
    era: Era,
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Stdio,
    Json,
    Sse,
    LegacySse,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Era {
    Legacy,
    Modern,
}

type Out = mpsc::Sender<Bytes>;

struct Server {
    args: Args,
    ids: AtomicU64,
    /// Requests of ours, by id as spelled.
    waiting: Mutex<HashMap<Bytes, oneshot::Sender<Bytes>>>,
    /// The stream of the legacy pair.
    stream: Mutex<Option<Out>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mode = args.mode;
    let server = Arc::new(Server { args, ids: AtomicU64::new(1), waiting: Mutex::default(), stream: Mutex::default() });
    if mode == Mode::Stdio { stdio(server).await } else { http(server).await }
}

async fn stdio(server: Arc<Server>) -> anyhow::Result<()> {
    let (out, mut queue) = mpsc::channel::<Bytes>(4096);
    let writer = tokio::spawn(async move {
        let (mut stdout, mut batch) = (tokio::io::stdout(), Vec::new());
        while queue.recv_many(&mut batch, 256).await > 0 {
            let text: Vec<u8> = batch.drain(..).flat_map(|line| [line, Bytes::from_static(b"\n")]).flatten().collect();
            if stdout.write_all(&text).await.is_err() || stdout.flush().await.is_err() {
                return;
            }
        }
    });
    let mut lines = BufReader::with_capacity(256 * 1024, tokio::io::stdin()).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        server.clone().receive(line.into(), out.clone());
    }
    drop(out);
    Ok(writer.await?)
}

async fn http(server: Arc<Server>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    // Whoever started us holds our stdin; when it goes, we go.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let router = Router::new().fallback(handle).with_state(server);
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(tcp);
            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
        });
    }
}

async fn handle(State(server): State<Arc<Server>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let _ = headers;
    let (out, mut messages) = mpsc::channel(256);
    let mode = server.args.mode;
    match (mode, method.as_str()) {
        (Mode::LegacySse, "GET") => {
            *server.stream.lock().unwrap() = Some(out);
            return events("event: endpoint\ndata: /messages\n\n".into(), messages);
        }
        (Mode::LegacySse, "POST") => {
            let stream = server.stream.lock().unwrap().clone();
            stream.into_iter().for_each(|stream| server.clone().receive(body.clone(), stream));
            return StatusCode::ACCEPTED.into_response();
        }
        (_, "POST") => {}
        (_, "DELETE") => return StatusCode::NO_CONTENT.into_response(),
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
    let asked = Frame::parse(body.clone()).is_ok_and(|frame| frame.kind() == FrameKind::Request);
    server.receive(body, out);
    match (asked, mode) {
        (false, _) => StatusCode::ACCEPTED.into_response(),
        (true, Mode::Sse) => events(String::new(), messages),
        (true, _) => {
            let mut last = Bytes::new();
            while let Some(message) = messages.recv().await {
                last = message;
            }
            ([(header::CONTENT_TYPE, "application/json")], last).into_response()
        }
    }
}

fn events(first: String, messages: mpsc::Receiver<Bytes>) -> Response {
    use futures_util::{StreamExt, stream};
    let rest = stream::unfold(messages, |mut messages| async { messages.recv().await.map(|text| (text, messages)) });
    let rest = rest.map(|text| [b"event: message\ndata: ".as_slice(), &text, b"\n\n"].concat().into());
    let body = stream::iter([Bytes::from(first)]).chain(rest).map(Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

impl Server {
    fn receive(self: Arc<Self>, message: Bytes, out: Out) {
        self.keep(&message);
        let Ok(frame) = Frame::parse(message) else { return };
        if frame.kind() == FrameKind::Response {
            if let Some(waiting) = self.waiting.lock().unwrap().remove(frame.id()) {
                let _ = waiting.send(frame.into_bytes());
            }
            return;
        }
        if frame.kind() == FrameKind::Request {
            tokio::spawn(async move { self.serve(&frame, &out).await });
        }
    }

    fn keep(&self, message: &[u8]) {
        let Some(dir) = &self.args.dir else { return };
        let text = String::from_utf8_lossy(message);
        let file = fs::OpenOptions::new().create(true).append(true).open(dir.join("got"));
        let _ = file.and_then(|mut file| file.write_all(format!("{}\n", json!(text)).as_bytes()));
    }

    async fn serve(&self, frame: &Frame, out: &Out) {
        if let Some(script) = self.script(frame) {
            return self.play(&script, frame, out).await;
        }
        let fields = |text: &str| match self.args.era {
            Era::Legacy => format!("{{{text}}}"),
            Era::Modern if text.is_empty() => r#"{"resultType":"complete"}"#.to_owned(),
            Era::Modern => format!(r#"{{"resultType":"complete","ttlMs":0,"cacheScope":"private",{text}}}"#),
        };
        let capabilities =
            r#""capabilities":{"tools":{},"resources":{"subscribe":true},"prompts":{},"completions":{},"logging":{}}"#;
        let result = match frame.method() {
            "server/discover" if self.args.era == Era::Modern => {
                fields(&format!(r#""supportedVersions":["{VERSION}"],{capabilities}"#))
            }
            "server/discover" => return self.fail(frame, out).await,
            "initialize" if self.args.era == Era::Legacy => fields(&format!(
                r#""protocolVersion":"2025-11-25",{capabilities},"serverInfo":{{"name":"raw","version":"1"}}"#
            )),
            "initialize" => return self.fail(frame, out).await,
            "tools/list" => {
                let tools = ["t", "load", "ask"]
                    .map(|name| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#));
                fields(&format!(r#""tools":[{}]"#, tools.join(",")))
            }
            "prompts/list" => fields(r#""prompts":[{"name":"t"}]"#),
            "resources/list" => fields(r#""resources":[]"#),
            "resources/templates/list" => fields(r#""resourceTemplates":[]"#),
            "tools/call" => return self.load(frame, out).await,
            _ => fields(""),
        };
        send(out, &[br#"{"jsonrpc":"2.0","id":"#, frame.id(), br#","result":"#, result.as_bytes(), b"}"]).await;
    }

    async fn fail(&self, frame: &Frame, out: &Out) {
        let error = br#","error":{"code":-32601,"message":"method not found"}}"#;
        send(out, &[br#"{"jsonrpc":"2.0","id":"#, frame.id(), error]).await;
    }

    fn script(&self, frame: &Frame) -> Option<Vec<u8>> {
        let dir = self.args.dir.as_ref()?;
        let text = frame.bytes();
        let name = match memchr::memmem::find(text, b"case-") {
            Some(at) => {
                let rest = text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-');
                String::from_utf8(rest.copied().collect()).ok()?
            }
            None => frame.method().replace('/', "_"),
        };
        let again = memchr::memmem::find(text, b"\"inputResponses\"").is_some();
        let retried = again.then(|| fs::read(dir.join(format!("{name}.retry.script"))).ok()).flatten();
        retried.or_else(|| fs::read(dir.join(name + ".script")).ok())
    }

    async fn play(&self, script: &[u8], frame: &Frame, out: &Out) {
        let token = field(frame, &["_meta", "progressToken"]).unwrap_or(b"null");
        let script = replaced(&replaced(script, b"@ID@", frame.id()), b"@TOKEN@", token);
        let mut rest = script.as_slice();
        while !rest.is_empty() {
            let end = memchr::memmem::find(rest, b"\n%%\n").unwrap_or(rest.len());
            let message = &rest[..end];
            rest = rest.get(end + 4..).unwrap_or_default();
            match message.strip_prefix(b"?") {
                None => send(out, &[message]).await,
                Some(request) => drop(self.ask(request, out).await),
            }
        }
    }

    /// The whole answer to a request of ours; empty: there was none within 20 s.
    async fn ask(&self, request: &[u8], out: &Out) -> Bytes {
        let Ok(frame) = Frame::parse(Bytes::copy_from_slice(request)) else { return Bytes::new() };
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(frame.id_bytes(), sender);
        send(out, &[request]).await;
        tokio::time::timeout(Duration::from_secs(20), answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// `load` answers with its argument `text`, out of order with others, and tells it before as progress (when that is asked for) and
    /// as a log message (`log`). `ask` asks the client, with `text` in the question, and gives its answer.
    async fn load(&self, frame: &Frame, out: &Out) {
        let text = field(frame, &["arguments", "text"]).unwrap_or(b"\"\"");
        if field(frame, &["name"]) == Some(b"\"ask\"") {
            let id = self.ids.fetch_add(1, Ordering::Relaxed).to_string();
            let head = [
                br#"{"jsonrpc":"2.0","id":"#,
                id.as_bytes(),
                br#","method":"elicitation/create","params":{"message":"#,
            ];
            let tail = [text, br#","requestedSchema":{"type":"object","properties":{}}}}"#];
            let answer = self.ask(&[head.concat(), tail.concat()].concat(), out).await;
            let given = Frame::parse(answer).ok();
            let given =
                given.as_ref().and_then(|answer| Some(answer.text(answer.result().or(answer.error())?).to_vec()));
            let given = json!(String::from_utf8_lossy(&given.unwrap_or_default())).to_string();
            return self.text(frame, given.as_bytes(), out).await;
        }
        if let Some(token) = field(frame, &["_meta", "progressToken"]) {
            let head = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#;
            send(out, &[head, token, br#","progress":1,"message":"#, text, b"}}"]).await;
        }
        if field(frame, &["arguments", "log"]).is_some() {
            let head = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"#;
            send(out, &[head, text, b"}}"]).await;
        }
        // Every fourth is overtaken by others.
        if self.ids.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.text(frame, text, out).await;
    }

    async fn text(&self, frame: &Frame, text: &[u8], out: &Out) {
        let kind: &[u8] = if self.args.era == Era::Modern { br#""resultType":"complete","# } else { b"" };
        let head = [br#"{"jsonrpc":"2.0","id":"#, frame.id(), br#","result":{"#, kind].concat();
        send(out, &[&head, br#""content":[{"type":"text","text":"#, text, b"}]}}"]).await;
    }
}

async fn send(out: &Out, parts: &[&[u8]]) {
    let _ = out.send(parts.concat().into()).await;
}

fn field<'f>(frame: &'f Frame, path: &[&str]) -> Option<&'f [u8]> {
    let place = shallow::path(frame.bytes(), frame.params()?, path).ok()??;
    Some(frame.text(place))
}

fn replaced(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}
