//! The floor: what a call costs when everything that makes a gateway is left out. axum takes the request, and either a
//! canned reply goes back, or the body goes through the pipes of a child and the line that comes back is the answer.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, body::Bytes, extract::State, http::header, response::IntoResponse, routing::post};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{ChildStdin, ChildStdout, Command},
    sync::oneshot,
};

const CANNED: Bytes =
    Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}"#);

/// A child whose answers bear the number that its request got.
struct Child {
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    ids: AtomicU64,
}

pub(super) fn run(command: &[String]) -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(command))
}

async fn serve(command: &[String]) -> io::Result<()> {
    let child = match command.split_first() {
        None => None,
        Some((program, arguments)) => {
            let mut process = Command::new(program);
            process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut process = process.spawn()?;
            let (stdin, stdout) = process.stdin.take().zip(process.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
            let child = Child { stdin: stdin.into(), waiting: Mutex::default(), ids: AtomicU64::new(1) };
            let child = Arc::new(child);
            tokio::spawn(read(child.clone(), stdout));
            // It ends with its stdin, which ends with this process.
            tokio::spawn(async move { process.wait().await.is_ok() });
            Some(child)
        }
    };
    let app = Router::new().route("/mcp", post(answer)).with_state(child);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    super::announce(&listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(
            async move { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.is_ok() },
        );
    }
}

async fn answer(State(child): State<Option<Arc<Child>>>, body: Bytes) -> impl IntoResponse {
    let answer = match &child {
        None => CANNED,
        Some(child) => child.call(&body).await.unwrap_or_default(),
    };
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

impl Child {
    /// The client's params travel; its id does not, which is all that this proxy knows of JSON-RPC.
    async fn call(&self, body: &[u8]) -> Option<Bytes> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let params = body.get(memchr::memmem::find(body, b"\"params\"")?..)?;
        let line =
            [format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","#).as_bytes(), params, b"\n"].concat();
        self.stdin.lock().await.write_all(&line).await.ok()?;
        receiver.await.ok()
    }
}

async fn read(child: Arc<Child>, stdout: ChildStdout) {
    let mut lines = BufReader::with_capacity(64 * 1024, stdout);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        // `{"jsonrpc":"2.0","id":` is how this project's echo begins every answer.
        let digits = line.get(22..).unwrap_or_default();
        let id = digits.iter().take_while(|b| b.is_ascii_digit()).fold(0, |id, b| id * 10 + u64::from(b - b'0'));
        if let Some(waiting) = child.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            let _ = waiting.send(Bytes::from(std::mem::take(&mut line)));
        }
        line.clear();
    }
}
