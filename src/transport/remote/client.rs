//! The HTTP client of one remote upstream: its connections, its fixed headers, its TLS, and how its failures are told.
//!
//! Redirects are never followed: a redirected POST may lose its body or hand the credentials to somebody else.

use std::{error::Error, sync::Once, time::Duration};

use bytes::Bytes;
use reqwest::{
    Certificate, Client, Identity, Method, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    config::{Auth, RemoteSpec, Tls},
    transport::TransportError,
};

/// Longest wait for TCP and TLS together, also where a provider's `startup_timeout` is longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is kept this long; common servers close theirs earlier, which hyper notices.
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_SIZE: usize = 64;
/// A peer that vanished without a word is noticed after about 15 + 3 x 15 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) struct Http {
    client: Client,
    endpoint: Url,
    fixed: HeaderMap,
    /// Values that a server may echo and that no message may show.
    secrets: Vec<String>,
    /// Longest message taken, in bytes.
    pub(super) limit: usize,
}

impl Http {
    /// Makes no request. May read the system's CA certificates: blocking, some 10 ms.
    pub(super) fn new(spec: &RemoteSpec, startup_timeout: Duration, limit: usize) -> Result<Self, TransportError> {
        let endpoint = parse_endpoint(&spec.endpoint)?;
        let mut secrets: Vec<String> = spec.headers.values().map(|s| s.expose().to_owned()).collect();
        secrets.extend(endpoint.password().map(str::to_owned));
        secrets.extend(endpoint.query().map(str::to_owned));
        let fixed = fixed_headers(spec, &mut secrets)?;
        // Very short values are no secrets, and hiding them would garble every message.
        secrets.retain(|s| s.len() >= 6);
        let client = build(&endpoint, &spec.tls, startup_timeout.min(CONNECT_TIMEOUT))?;
        Ok(Self { client, endpoint, fixed, secrets, limit })
    }

    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The provider's own headers; what the protocol needs is inserted over them.
    pub(super) fn headers(&self) -> HeaderMap {
        self.fixed.clone()
    }

    /// One request; resolves with the head of the response, whatever its status.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response, TransportError> {
        let request = self.client.request(method, url.clone()).headers(headers);
        let request = if let Some(body) = body { request.body(body) } else { request };
        request.send().await.map_err(|e| self.fault(e))
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.fixed.contains_key(AUTHORIZATION) || !self.endpoint.username().is_empty()
    }

    /// Says what failed, and where; never with credentials or a query.
    pub(super) fn fault(&self, error: reqwest::Error) -> TransportError {
        let unreachable = error.is_connect();
        let why = self.redact(&innermost(&error.without_url()));
        let place = place(&self.endpoint);
        if unreachable {
            TransportError::Open(format!("cannot connect to {place}: {why}"))
        } else {
            TransportError::Io(format!("the exchange with {place} failed: {why}"))
        }
    }

    /// `text` without the configured secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), "***") } else { text }
        })
    }
}

/// Scheme, host, port and path: what may be shown of a URL.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", origin(url), url.path())
}

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn parse_endpoint(text: &str) -> Result<Url, TransportError> {
    let url = Url::parse(text).map_err(|e| TransportError::Open(format!("`endpoint` is not a URL: {e}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(TransportError::Open(format!("`endpoint` must begin with http:// or https://, not {other}://"))),
    }
}

fn build(endpoint: &Url, tls: &Tls, connect_timeout: Duration) -> Result<Client, TransportError> {
    install_crypto();
    let mut builder = Client::builder()
        .user_agent(concat!("hangar/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE)
        .tcp_keepalive_interval(KEEP_ALIVE)
        .tcp_keepalive_retries(3)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_SIZE);
    if is_loopback(endpoint) {
        builder = builder.no_proxy();
    }
    if endpoint.scheme() == "http" {
        // No TLS without redirects: spares 100 kB and 10 ms for roots that nobody asks.
        builder = builder.tls_certs_only([]);
    } else if let Some(ca) = &tls.ca {
        let roots = Certificate::from_pem_bundle(ca.pem.expose().as_bytes()).map_err(|e| bad_pem("ca_file", &e))?;
        if roots.is_empty() {
            return Err(TransportError::Open("`tls.ca_file` holds no certificate".into()));
        }
        // Like `curl --cacert`: the file is what is trusted, instead of the system's authorities.
        builder = builder.tls_certs_only(roots);
    }
    if !tls.verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(cert) = &tls.client_cert {
        let key = tls.client_key.as_ref().map_or("", |k| k.pem.expose());
        let pem = format!("{}\n{key}", cert.pem.expose());
        let identity = Identity::from_pem(pem.as_bytes()).map_err(|e| bad_pem("client_cert", &e))?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|e| TransportError::Open(format!("the HTTP client cannot be set up: {}", innermost(&e))))
}

fn bad_pem(key: &str, error: &reqwest::Error) -> TransportError {
    TransportError::Open(format!("`tls.{key}` is not usable PEM: {}", innermost(error)))
}

/// reqwest without a built-in provider takes the process's default one.
fn install_crypto() {
    static ONCE: Once = Once::new();
    // An error only says that somebody installed one before us.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn fixed_headers(spec: &RemoteSpec, secrets: &mut Vec<String>) -> Result<HeaderMap, TransportError> {
    let mut map = HeaderMap::new();
    for (name, value) in &spec.headers {
        let key = format!("headers.{name}");
        map.insert(header_name(&key, name)?, header_value(&key, value.expose())?);
    }
    match &spec.auth {
        Auth::None => {}
        Auth::Bearer { token } => {
            secrets.push(token.expose().to_owned());
            map.insert(AUTHORIZATION, header_value("auth.token", &format!("Bearer {}", token.expose()))?);
        }
        Auth::Basic { username, password } => {
            let encoded = base64(format!("{username}:{}", password.expose()).as_bytes());
            map.insert(AUTHORIZATION, header_value("auth.password", &format!("Basic {encoded}"))?);
            secrets.extend([password.expose().to_owned(), encoded]);
        }
        Auth::ApiKey { header, key } => {
            secrets.push(key.expose().to_owned());
            map.insert(header_name("auth.header", header)?, header_value("auth.key", key.expose())?);
        }
    }
    Ok(map)
}

fn header_name(key: &str, name: &str) -> Result<HeaderName, TransportError> {
    name.parse().map_err(|_| TransportError::Open(format!("`{key}` is not a header name")))
}

fn header_value(key: &str, value: &str) -> Result<HeaderValue, TransportError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        TransportError::Open(format!("`{key}` holds a character that no header may carry (a newline?)"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (group >> (18 - 6 * place)) & 63;
            out.push(if place <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    out
}

/// The last error of the chain that says something: the ones above it repeat it in vaguer words.
fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// The endpoint as it may be shown; `Secret`s stay where they are.
impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("endpoint", &place(&self.endpoint)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{RemoteTransport, Secret};

    fn spec(endpoint: &str) -> RemoteSpec {
        RemoteSpec {
            endpoint: endpoint.into(),
            transport: RemoteTransport::StreamableHttp,
            headers: BTreeMap::new(),
            auth: Auth::None,
            tls: Tls::default(),
        }
    }

    fn refusal(spec: &RemoteSpec) -> String {
        Http::new(spec, Duration::from_secs(1), 1024).expect_err("refused").to_string()
    }

    #[test]
    fn base64_pads() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("https://user:pw@h.example:8443/mcp?key=s3cret#x").unwrap();
        assert_eq!(place(&url), "https://h.example:8443/mcp");
    }

    #[test]
    fn unusable_settings_are_named_but_not_shown() {
        assert!(refusal(&spec("ftp://h/")).contains("`endpoint`"));
        assert!(refusal(&spec("nonsense")).contains("`endpoint`"));
        let mut bad = spec("http://h/");
        bad.headers.insert("X-Team".into(), Secret::new("hidden\nvalue"));
        let text = refusal(&bad);
        assert!(text.contains("`headers.X-Team`") && !text.contains("hidden"), "{text}");
        let mut bad = spec("https://h/");
        bad.tls.ca = Some(crate::config::PemFile { path: "ca.pem".into(), pem: Secret::new("not pem") });
        assert!(refusal(&bad).contains("tls.ca_file"), "{}", refusal(&bad));
    }

    #[test]
    fn secrets_that_come_back_are_hidden() {
        let mut with = spec("http://h/mcp?token=qqqq1");
        with.auth = Auth::Bearer { token: Secret::new("tok-123") };
        let http = Http::new(&with, Duration::from_secs(1), 1024).unwrap();
        assert_eq!(http.redact("bad token tok-123 (token=qqqq1)"), "bad token *** (***)");
        assert!(!format!("{http:?}").contains("qqqq1"));
    }
}
