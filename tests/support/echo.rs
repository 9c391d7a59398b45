//! `hangar-test-echo`: the fastest honest MCP server, for `make bench`. The same work behind stdio and behind HTTP, so
//! that what a gateway adds is the difference of two measurements.
//!
//! `stdio` | `http` (prints its address) | `floor COMMAND...`: an axum front as plain as can be in front of a child's
//! stdio, the least that any HTTP-to-stdio gateway on these libraries costs.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use hangar::wire::{Frame, FrameKind, shallow};

#[path = "echo/floor.rs"]
mod floor;

/// Text of the tool `big`.
const BIG: usize = 1_000_000;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match mode.as_deref() {
        Some("stdio") => stdio(&Echo::new(&rest)),
        Some("http") => current_thread(http(Echo::new(&rest))),
        Some("floor") => floor::run(&rest),
        _ => Err(io::Error::other("hangar-test-echo stdio|http [TOOLS] | floor [COMMAND...]")),
    }
}

fn current_thread(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// What both transports answer.
struct Echo {
    tools: String,
    big: String,
}

impl Echo {
    /// `arguments`: how many tools it lists, `echo` and `big` among them.
    fn new(arguments: &[String]) -> Self {
        let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(2_usize);
        let names = ["echo".to_owned(), "big".to_owned()].into_iter().chain((2..).map(|n| format!("tool_{n}")));
        let tool = |name| {
            format!(
                r#"{{"name":"{name}","description":"Gives the text back, as it came.","inputSchema":{{"type":"object","properties":{{"text":{{"type":"string","description":"Any text"}}}},"required":["text"]}}}}"#
            )
        };
        let tools: Vec<_> = names.take(count).map(tool).collect();
        let tools = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
        Self { tools, big: format!(r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(BIG)) }
    }

    /// Appends the answer, without a newline. `false`: none is wanted.
    fn answer(&self, message: Bytes, out: &mut BytesMut) -> bool {
        let Ok(frame) = Frame::parse(message) else { return false };
        if frame.kind() != FrameKind::Request {
            return false;
        }
        put(out, &[br#"{"jsonrpc":"2.0","id":"#, frame.id(), br#","result":"#]);
        match frame.method() {
            "initialize" => put(
                out,
                &[br#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#],
            ),
            "tools/list" => put(out, &[self.tools.as_bytes()]),
            "tools/call" => self.call(&frame, out),
            _ => put(out, &[b"{}"]),
        }
        put(out, &[b"}"]);
        true
    }

    fn call(&self, frame: &Frame, out: &mut BytesMut) {
        let field = |path: &[&str]| {
            let place = shallow::path(frame.bytes(), frame.params()?, path).ok()??;
            Some(frame.text(place))
        };
        if field(&["name"]) == Some(br#""big""#) {
            return put(out, &[self.big.as_bytes()]);
        }
        let text = field(&["arguments", "text"]).unwrap_or(br#""""#);
        put(out, &[br#"{"content":[{"type":"text","text":"#, text, b"}]}"]);
    }
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Everything that one read brought is answered by one write.
fn stdio(echo: &Echo) -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut chunk = vec![0; 64 * 1024];
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    loop {
        let count = input.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        while let Some(newline) = memchr::memchr(b'\n', &buffer) {
            let line = buffer.split_to(newline + 1).freeze();
            if echo.answer(line, &mut out) {
                out.extend_from_slice(b"\n");
            }
        }
        output.write_all(&out)?;
        output.flush()?;
        out.clear();
    }
}

async fn http(echo: Echo) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(&listener)?;
    // One thread, for as long as the process lives.
    let echo: &'static Echo = Box::leak(Box::new(echo));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(move |request| respond(echo, request));
        // A client that goes away ends its connection; nothing else depends on it.
        tokio::spawn(
            async move { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.is_ok() },
        );
    }
}

fn announce(listener: &TcpListener) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()
}

async fn respond(echo: &Echo, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() != Method::POST {
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let mut out = BytesMut::with_capacity(512);
    if !echo.answer(body, &mut out) {
        return Ok(status(StatusCode::ACCEPTED));
    }
    let mut response = Response::new(Full::new(out.freeze()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
