//! The raw load client: HTTP/1.1 and JSON lines by hand, so that what is measured is the peer and not a client library.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A peer that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The call that everything is measured with. `tool`: as this peer lists it.
pub fn call(id: u64, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"hello"}}}}}}"#
    )
}

pub fn initialize(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}}}"#
    )
}

pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A POST to `path`, ready to send.
pub fn post(address: SocketAddr, path: &str, session: Option<&str>, body: &str) -> Vec<u8> {
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n{session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Where a reply ends and where its body begins, once the head is there. Only replies of a known length are taken.
fn measure(reply: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = memchr::memmem::find(reply, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&reply[..end]).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 20") {
        return Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&reply[end..]))));
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| io::Error::other(format!("a reply without Content-Length: {head}")))?;
    Ok(Some((end + 4, end + 4 + length)))
}

/// An answer that is none would measure nothing.
fn check(body: &[u8]) -> io::Result<()> {
    if body.len() < 1000 && memchr::memmem::find(body, br#""text":"hello""#).is_none() {
        return Err(io::Error::other(format!("not the echo's answer: {}", String::from_utf8_lossy(body))));
    }
    Ok(())
}

/// One keep-alive connection, one request at a time.
pub struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub address: SocketAddr,
    pub session: Option<String>,
}

impl Http {
    /// Connects and says `initialize`.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut http = Self { stream, buffer: vec![0; 64 * 1024], address, session: None };
        let (head, end) = http.exchange(&post(address, "/mcp", None, &initialize(0)))?;
        let text = String::from_utf8_lossy(&http.buffer[..head]).to_ascii_lowercase();
        debug_assert!(end > head);
        http.session =
            text.split("mcp-session-id:").nth(1).and_then(|rest| Some(rest.lines().next()?.trim().to_owned()));
        http.exchange(&post(address, "/mcp", http.session.as_deref(), INITIALIZED))?;
        Ok(http)
    }

    /// Where the body of the reply begins and ends in the buffer.
    fn exchange(&mut self, request: &[u8]) -> io::Result<(usize, usize)> {
        self.stream.write_all(request)?;
        let (mut filled, mut place) = (0, None);
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            if place.is_none() {
                place = measure(&self.buffer[..filled])?;
            }
            match place {
                Some((body, end)) if filled >= end => return Ok((body, end)),
                _ => {}
            }
        }
    }

    pub fn send(&mut self, path: &str, body: &str) -> io::Result<String> {
        let (body, end) = self.exchange(&post(self.address, path, self.session.clone().as_deref(), body))?;
        Ok(String::from_utf8_lossy(&self.buffer[body..end]).into_owned())
    }

    /// The same request `count` times, one after the other; whatever the answer is.
    pub fn repeat(&mut self, body: &str, count: usize) -> io::Result<Times> {
        let request = post(self.address, "/mcp", self.session.as_deref(), body);
        let mut times = Times::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            self.exchange(&request)?;
            times.took(began);
        }
        Ok(times)
    }

    /// `count` calls, one after the other; the time of each.
    pub fn calls(&mut self, tool: &str, count: usize) -> io::Result<Times> {
        let request = post(self.address, "/mcp", self.session.as_deref(), &call(7, tool));
        let mut times = Times::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            let (body, end) = self.exchange(&request)?;
            times.took(began);
            check(&self.buffer[body..end])?;
        }
        Ok(times)
    }
}

/// `connections` clients, each with one call in flight all the time: `count` calls in all, or calls until `until`.
pub fn crowd(
    address: SocketAddr,
    tool: &str,
    connections: usize,
    count: usize,
    until: Option<Instant>,
) -> io::Result<Times> {
    let clients: Vec<_> = (0..connections).map(|_| Http::open(address)).collect::<io::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|client| tokio::spawn(one_of_many(client, tool.to_owned(), count / connections, until)))
            .collect();
        let mut times = Times::with_capacity(count);
        for task in tasks {
            times.nanos.extend(task.await.map_err(io::Error::other)??.nanos);
        }
        times.wall = began.elapsed();
        Ok(times)
    })
}

async fn one_of_many(client: Http, tool: String, count: usize, until: Option<Instant>) -> io::Result<Times> {
    let request = post(client.address, "/mcp", client.session.as_deref(), &call(7, &tool));
    client.stream.set_nonblocking(true)?;
    let mut stream = tokio::net::TcpStream::from_std(client.stream)?;
    let mut buffer = client.buffer;
    let mut times = Times::with_capacity(count);
    while until.map_or(times.nanos.len() < count, |until| Instant::now() < until) {
        let began = Instant::now();
        stream.write_all(&request).await?;
        let mut filled = 0;
        let (body, end) = loop {
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => filled += more,
            }
            match measure(&buffer[..filled])? {
                Some((body, end)) if filled >= end => break (body, end),
                _ => {}
            }
        };
        times.took(began);
        check(&buffer[body..end])?;
    }
    Ok(times)
}

/// A peer's stdin and stdout.
pub struct Stdio {
    pub stdin: ChildStdin,
    pub stdout: BufReader<ChildStdout>,
    pub line: String,
}

impl Stdio {
    pub fn new(stdin: ChildStdin, stdout: ChildStdout) -> Self {
        Self { stdin, stdout: BufReader::with_capacity(64 * 1024, stdout), line: String::new() }
    }

    pub fn tell(&mut self, message: &str) -> io::Result<()> {
        self.stdin.write_all([message, "\n"].concat().as_bytes())
    }

    /// The answer to `id`; what else comes is passed over.
    pub fn answer(&mut self, id: u64) -> io::Result<&str> {
        let mark = format!("\"id\":{id},");
        loop {
            self.line.clear();
            if self.stdout.read_line(&mut self.line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let head = self.line.get(..100).unwrap_or(&self.line);
            if head.contains(&mark) && !head.contains("\"method\"") {
                return Ok(&self.line);
            }
        }
    }

    pub fn greet(&mut self) -> io::Result<()> {
        self.tell(&initialize(1))?;
        self.answer(1)?;
        self.tell(INITIALIZED)
    }

    pub fn calls(&mut self, tool: &str, count: usize) -> io::Result<Times> {
        let request = [&call(7, tool), "\n"].concat();
        let mut times = Times::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            self.stdin.write_all(request.as_bytes())?;
            self.answer(7)?;
            times.took(began);
            check(self.line.as_bytes())?;
        }
        Ok(times)
    }
}

impl Stdio {
    /// `in_flight` calls all the time, `count` in all. What has come is answered with as many new calls in one write, as
    /// a client does that keeps its pipe full.
    pub fn crowd(&mut self, tool: &str, in_flight: usize, count: usize) -> io::Result<Times> {
        let began = Instant::now();
        let mut sent_at = Vec::with_capacity(count);
        let mut times = Times::with_capacity(count);
        let mut due = in_flight.min(count);
        while times.nanos.len() < count {
            let mut batch = String::new();
            for _ in 0..due {
                batch += &call(sent_at.len() as u64, tool);
                batch.push('\n');
                sent_at.push(Instant::now());
            }
            self.stdin.write_all(batch.as_bytes())?;
            due = 0;
            while due == 0 || self.stdout.buffer().contains(&b'\n') {
                self.line.clear();
                if self.stdout.read_line(&mut self.line)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let id =
                    self.line.split("\"id\":").nth(1).and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
                let Some(sent) = id.and_then(|id| sent_at.get(id)) else { continue };
                times.took(*sent);
                check(self.line.as_bytes())?;
                due += usize::from(sent_at.len() + due < count);
                if times.nanos.len() == count {
                    break;
                }
                // The last ones: nothing more is sent.
                if sent_at.len() == count {
                    break;
                }
            }
        }
        times.wall = began.elapsed();
        Ok(times)
    }
}

/// How long calls took.
pub struct Times {
    pub nanos: Vec<u64>,
    pub wall: Duration,
}

impl Times {
    fn with_capacity(count: usize) -> Self {
        Self { nanos: Vec::with_capacity(count), wall: Duration::ZERO }
    }

    pub fn none() -> Self {
        Self::with_capacity(0)
    }

    pub fn took(&mut self, began: Instant) {
        let took = began.elapsed();
        self.wall += took;
        self.nanos.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// In microseconds; `share` of all calls were at least as fast.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        sorted.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
    }

    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    pub fn per_second(&self) -> f64 {
        self.nanos.len() as f64 / self.wall.as_secs_f64()
    }
}
