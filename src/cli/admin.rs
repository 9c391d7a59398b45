//! The admin HTTP of one running gateway, over TCP or its socket: one request, one connection.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Uri,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::exit::{Exit, Failure, fail};

/// Longest a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest answer taken, in bytes: a message of a provider may have 16 MiB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Tells the gateway who asks: a reload is then `requested_by` the command line.
const CLIENT_HEADER: &str = "x-hangar-client";

/// Where a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admin {
    Socket(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// What the gateway said. Every answer of the admin API is JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(authority) => write!(f, "http://{authority}"),
        }
    }
}

impl Admin {
    /// `http://HOST:PORT`; the port may be missing, a path may not be there.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let wrong = |why: &str| fail(Exit::Usage, format!("--url {url}: {why}; it is written http://HOST:PORT"));
        let Ok(uri) = url.parse::<Uri>() else { return wrong("that is no URL") };
        let Some(authority) = uri.authority() else { return wrong("it names no host") };
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return wrong("the gateway's admin API has no TLS of its own"),
            _ => return wrong("it does not start with http://"),
        }
        if authority.as_str().contains('@') {
            return wrong("it may not hold a user");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return wrong("it may not hold a path");
        }
        match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Ok(Self::Tcp(format!("{authority}:80"))),
            Some(port) if port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()) => {
                Ok(Self::Tcp(authority.to_string()))
            }
            _ => wrong("it has no port from 1 to 65535"),
        }
    }

    pub(super) fn socket(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }

    /// Whether anybody listens there.
    pub(super) async fn listens(&self) -> std::io::Result<()> {
        self.connect().await.map(drop)
    }

    pub(super) async fn get(&self, path: &str, within: Duration) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, Bytes::new(), Some(within)).await
    }

    /// `within`: `None` where the gateway itself bounds the time.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>, within: Option<Duration>) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, body.into(), within).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes, within: Option<Duration>) -> anyhow::Result<Answer> {
        let unreached = |why: &dyn fmt::Display| self.unreached(why);
        let stream = self.connect().await.map_err(|error| unreached(&error))?;
        let request = self.request(&method, path, body)?;
        let exchange = exchange(stream, request);
        let answer = match within {
            None => exchange.await,
            Some(limit) => match timeout(limit, exchange).await {
                Ok(answer) => answer,
                Err(_) => {
                    let seconds = limit.as_secs();
                    return fail(
                        Exit::NotReached,
                        format!("the gateway at {self} did not answer {method} {path} within {seconds} s"),
                    );
                }
            },
        };
        answer.map_err(|error| unreached(&error).into())
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let connect = async {
            Ok::<Box<dyn Stream>, std::io::Error>(match self {
                Self::Socket(path) => Box::new(UnixStream::connect(path).await?),
                Self::Tcp(authority) => {
                    let stream = TcpStream::connect(authority.as_str()).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            })
        };
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the connection took longer than 5 s");
        timeout(CONNECT, connect).await.map_err(|_| late())?
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let host = match self {
            Self::Socket(_) => "localhost",
            Self::Tcp(authority) => authority,
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        request = request.header(ACCEPT, "application/json").header(CLIENT_HEADER, "cli");
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        Ok(request.body(Full::new(body))?)
    }

    fn unreached(&self, why: &dyn fmt::Display) -> Failure {
        Failure { exit: Exit::NotReached, message: format!("no running gateway reached at {self}: {why}") }
    }
}

/// One request over one connection, which ends with it.
async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("its answer broke off: {error}"))?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection may end before the answer has been taken from it.
        _ = connection => exchange.await,
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Answer {
    /// The body of a 2xx, or what the gateway's refusal means.
    pub(super) fn success(self, admin: &Admin) -> anyhow::Result<Value> {
        let body = self.json(admin)?;
        if (200..300).contains(&self.status) { Ok(body) } else { Err(refusal(self.status, &body).into()) }
    }

    /// The body whatever the status.
    pub(super) fn json(&self, admin: &Admin) -> anyhow::Result<Value> {
        match serde_json::from_slice(&self.body) {
            Ok(body) => Ok(body),
            Err(_) => fail(
                Exit::NotReached,
                format!("what answers at {admin} is no hangar gateway (HTTP status {}, no JSON)", self.status),
            ),
        }
    }
}

/// `{"error", "message", "details"}` of the gateway with the exit code that it means.
pub(super) fn refusal(status: u16, body: &Value) -> Failure {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let message = text("message").or_else(|| text("error")).map_or(format!("HTTP status {status}"), ToOwned::to_owned);
    let exit = match status {
        // The gateway did its part; the provider did not.
        502..=504 => Exit::Found,
        400..=499 => Exit::Refused,
        _ => Exit::Internal,
    };
    Failure { exit, message }
}

/// A provider's name as a step of a path.
pub(super) fn step(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_or_refused() {
        for (url, authority) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000"),
            ("http://[::1]:8000/", "[::1]:8000"),
            ("http://gateway.internal", "gateway.internal:80"),
        ] {
            assert_eq!(Admin::at(url).unwrap(), Admin::Tcp(authority.into()), "{url}");
        }
        for (url, says) in [
            ("127.0.0.1:8000", "http://"),
            ("localhost", "http://"),
            ("https://h:1", "TLS"),
            ("http://u:p@h:1", "user"),
            ("http://h:1/mcp", "path"),
            ("http://h:1?x", "path"),
            ("http://h:99999", "65535"),
            ("http://h:", "65535"),
            ("", "no"),
        ] {
            let error = Admin::at(url).unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, Exit::Usage, "{url}");
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn names_cannot_leave_their_step() {
        assert_eq!(step("math-2_a"), "math-2_a");
        assert_eq!(step("../x?y#ü"), "..%2Fx%3Fy%23%C3%BC");
    }
}
