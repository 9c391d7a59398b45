//! Who may ask at all: `Host` and `Origin` are looked at before any route, also before those that do not exist.
//!
//! A web page that rebinds its name to this machine still sends its own name as `Host` and itself as `Origin`.

use std::net::{IpAddr, SocketAddr};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Front, Listener, refusal::Refusal};
use crate::{
    config::ServerSettings,
    telemetry::{CallRecord, RefusedRequest},
};

/// Where a listener is bound.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    Tcp(SocketAddr),
    /// The admin socket: reached by programs of this machine only, so never by a page.
    Socket,
}

/// An admitted request, as far as its response depends on who asked.
#[derive(Default)]
pub(super) struct Visit {
    /// An origin that `server.allowed_origins` names: its pages may read our answers.
    origin: Option<HeaderValue>,
}

const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

impl Bound {
    pub fn of(listener: &Listener) -> Self {
        match listener {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => Self::Tcp(address),
                // Admits nobody, for nothing is bound to port 0.
                Err(_) => Self::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
            },
            #[cfg(unix)]
            Listener::Unix(_) => Self::Socket,
        }
    }
}

pub(super) fn admit(front: &Front, request: &Request<Body>) -> Result<Visit, Refusal> {
    let snapshot = front.state.gateway.registry.snapshot();
    let settings = &snapshot.config.server;
    let checked = short_enough(settings.limits.head, request).and_then(|()| check(front.bound, settings, request));
    checked.inspect_err(|refusal| {
        front.state.telemetry.metrics.refused_requests.inc();
        tracing::debug!(why = refusal.message, "http_request_refused");
        write_down(front, request, refusal.error);
    })
}

fn write_down(front: &Front, request: &Request<Body>, error: &'static str) {
    let audit = &front.state.telemetry.audit;
    if audit.is_on() {
        let text = |name| request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let text = |name| text(name).map(|text| CallRecord::clipped(&text));
        audit.record(&RefusedRequest {
            event: "RequestRefused",
            outcome: "refused",
            error,
            http_method: CallRecord::clipped(request.method().as_str()),
            path: CallRecord::clipped(request.uri().path()),
            host: text(header::HOST),
            origin: text(header::ORIGIN),
        });
    }
}

/// `most`: bytes of its head as it was sent, but for blanks around the values.
fn short_enough(most: usize, request: &Request<Body>) -> Result<(), Refusal> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let authority = match (request.uri().scheme_str(), request.uri().authority()) {
        (Some(scheme), Some(authority)) => scheme.len() + "://".len() + authority.as_str().len(),
        _ => 0,
    };
    let first = request.method().as_str().len() + authority + target + "  HTTP/1.1\r\n".len();
    let lines = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    if first + lines.sum::<usize>() + "\r\n".len() <= most {
        return Ok(());
    }
    let message = format!("the head of the request is longer than {most} bytes (server.limits.header_bytes)");
    Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_long", message))
}

fn check(bound: Bound, settings: &ServerSettings, request: &Request<Body>) -> Result<Visit, Refusal> {
    let headers = request.headers();
    let host = match one(headers, header::HOST) {
        Ok(Some(host)) => host,
        Ok(None) | Err(()) => {
            let message = "exactly one Host header is needed";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_host", message));
        }
    };
    // In absolute form the target names a host, too, and must not name another one.
    let target = request.uri().authority().map(|authority| authority.as_str());
    if !is_ours(bound, settings, host, 80) || target.is_some_and(|target| !is_ours(bound, settings, target, 80)) {
        let message = "the Host is not one of this gateway's; further names are allowed by server.allowed_hosts";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "host_not_allowed", message));
    }
    let refused = |message| Err(Refusal::new(StatusCode::FORBIDDEN, "origin_not_allowed", message));
    let origin = match one(headers, header::ORIGIN) {
        Ok(None) => return Ok(Visit::default()),
        Ok(Some(origin)) => origin,
        Err(()) => return refused("one Origin header at most"),
    };
    if matches!(bound, Bound::Socket) {
        return refused("a web page has no business on the admin socket");
    }
    let plain = origin.trim_end_matches('/');
    if settings.allowed_origins.iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(plain)) {
        return Ok(Visit { origin: headers.get(header::ORIGIN).cloned() });
    }
    let own = match plain.split_once("://") {
        Some((scheme, host)) if scheme.eq_ignore_ascii_case("http") => is_ours(bound, settings, host, 80),
        Some((scheme, host)) if scheme.eq_ignore_ascii_case("https") => is_ours(bound, settings, host, 443),
        _ => false,
    };
    if own {
        Ok(Visit::default())
    } else {
        refused("the Origin is not this gateway itself; others are allowed by server.allowed_origins")
    }
}

/// The header's only value. `Err`: there are several, or it is no text.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        _ => Err(()),
    }
}

/// `authority`: `name`, `name:port`, `[v6]`, `[v6]:port`.
fn is_ours(bound: Bound, settings: &ServerSettings, authority: &str, default_port: u16) -> bool {
    let Some((name, port)) = split(authority, default_port) else { return false };
    let allowed = settings.allowed_hosts.iter().any(|known| {
        known.eq_ignore_ascii_case(name)
            || split(known, 0).is_some_and(|(n, p)| n.eq_ignore_ascii_case(name) && p == port)
    });
    let Bound::Tcp(address) = bound else {
        return authority.eq_ignore_ascii_case("localhost");
    };
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = matches!(name, "127.0.0.1" | "[::1]") || name.eq_ignore_ascii_case("localhost");
    allowed || (port == address.port() && (loopback || ip.is_ok_and(|ip| ip == address.ip())))
}

/// Name (brackets of an IPv6 address included) and port.
fn split(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    let name_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, rest) = authority.split_at_checked(name_end)?;
    let port = match rest.strip_prefix(':') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        None if rest.is_empty() => default_port,
        _ => return None,
    };
    (!name.is_empty()).then_some((name, port))
}

impl Visit {
    /// A browser asks first before a page of an allowed origin speaks MCP.
    pub fn preflight(&self, request: &Request<Body>) -> Option<Response> {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let ours = request.method() == Method::OPTIONS && request.uri().path() == "/mcp";
        if !(self.origin.is_some() && asks && ours) {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
        put(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE");
        put(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Last-Event-ID, Mcp-Protocol-Version, Mcp-Session-Id",
        );
        put(header::ACCESS_CONTROL_MAX_AGE, "600");
        Some(response)
    }

    /// The headers that every response bears.
    pub fn harden(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Mcp-Session-Id"));
            headers.append(header::VARY, VARY_ORIGIN);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_name_and_a_port() {
        for (authority, want) in [
            ("localhost:8000", Some(("localhost", 8000))),
            ("localhost", Some(("localhost", 80))),
            ("[::1]:8000", Some(("[::1]", 8000))),
            ("[::1]", Some(("[::1]", 80))),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:+80", None),
            ("a:80:80", None),
            ("a:70000", None),
            ("[::1", None),
            ("[::1]x", None),
        ] {
            assert_eq!(split(authority, 80), want, "{authority}");
        }
    }

    #[test]
    fn the_bound_address_and_loopback_are_ours_with_the_bound_port_alone() {
        let everywhere = Bound::Tcp(SocketAddr::from(([0, 0, 0, 0], 80)));
        let inside = Bound::Tcp(SocketAddr::from(([10, 1, 2, 3], 8000)));
        let settings = ServerSettings { allowed_hosts: vec!["[fd00::1]:99".into()], ..ServerSettings::default() };
        let ours = |bound, authority| is_ours(bound, &settings, authority, 80);
        assert!(ours(everywhere, "localhost") && ours(everywhere, "127.0.0.1:80"));
        assert!(!ours(everywhere, "10.1.2.3"));
        assert!(ours(inside, "10.1.2.3:8000") && !ours(inside, "10.1.2.3") && !ours(inside, "10.1.2.4:8000"));
        assert!(ours(inside, "[FD00::1]:99") && !ours(inside, "[fd00::1]:98"));
        assert!(ours(Bound::Socket, "localhost") && !ours(Bound::Socket, "127.0.0.1"));
    }
}
