//! Traces of calls, sent to a collector over OTLP/HTTP. The SDK's own thread gathers and sends; who has a span to tell never
//! waits for it, and what it cannot take is dropped.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{
        Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use tokio::runtime::Handle;

use super::{CallRecord, build};
use crate::config::OtlpSettings;

/// Where a collector takes traces.
const PATH: &str = "/v1/traces";
/// Longest time for one export.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Spans {
    /// `None`: no call is traced.
    live: ArcSwapOption<Live>,
    settings: Mutex<OtlpSettings>,
}

struct Live {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A call that is traced, from its arrival to its answer.
pub struct CallSpan(Span);

/// Whose span it is below, as the client has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl Spans {
    /// From now on. Inside of the runtime, which sends what there is to send.
    pub fn configure(&self, settings: &OtlpSettings) {
        let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == *settings {
            return;
        }
        *known = settings.clone();
        drop(known);
        let next = settings.endpoint.as_ref().and_then(|endpoint| match Live::start(endpoint, settings) {
            Ok(live) => Some(Arc::new(live)),
            Err(error) => {
                tracing::error!(error, "traces_not_exported");
                None
            }
        });
        if let Some(last) = self.live.swap(next) {
            // Its last spans are sent; that may take as long as the collector does.
            thread::spawn(move || last.provider.shutdown());
        }
    }

    pub fn is_on(&self) -> bool {
        self.live.load().is_some()
    }

    /// `None`: no call is traced.
    pub fn begin(&self, name: String, parent: Option<Parent>) -> Option<CallSpan> {
        let live = self.live.load();
        let live = live.as_ref()?;
        let above = parent.map(|parent| {
            let flags = TraceFlags::default().with_sampled(parent.sampled);
            SpanContext::new(parent.trace, parent.span, flags, true, TraceState::NONE)
        });
        let context = above.map_or_else(Context::new, |above| Context::new().with_remote_span_context(above));
        let span =
            live.tracer.span_builder(name).with_kind(SpanKind::Client).start_with_context(&live.tracer, &context);
        Some(CallSpan(span))
    }

    /// Sends what there is, for `within` at most. The end: nothing is traced any more.
    pub fn finish(&self, within: Duration) {
        if let Some(last) = self.live.swap(None) {
            // A collector that does not answer in time misses the last spans.
            let _ = last.provider.shutdown_with_timeout(within);
        }
    }
}

impl Live {
    fn start(endpoint: &str, settings: &OtlpSettings) -> Result<Self, String> {
        // The first one counts; it is the same one everywhere.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = endpoint.trim_end_matches('/');
        let endpoint = if plain.ends_with(PATH) { plain.to_owned() } else { format!("{plain}{PATH}") };
        let client = reqwest::Client::builder()
            .user_agent(concat!("hangar/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT);
        // Spares the roots that nobody asks.
        let client = if endpoint.starts_with("http://") { client.tls_certs_only([]) } else { client };
        // No proxy is closer than this machine.
        let client = if is_loopback(&endpoint) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| error.to_string())?;
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let headers = settings.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Exporter { client, runtime, failing: Arc::default() })
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT)
            .with_headers(headers)
            .build()
            .map_err(|error| error.to_string())?;
        let about = [KeyValue::new("service.name", "hangar"), KeyValue::new("service.version", build::VERSION)];
        let resource = Resource::builder_empty().with_attributes(about).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("hangar");
        Ok(Self { provider, tracer })
    }
}

fn is_loopback(endpoint: &str) -> bool {
    let url = reqwest::Url::parse(endpoint).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl CallSpan {
    /// For whoever is called: this span is its parent.
    pub fn traceparent(&self) -> String {
        let context = self.0.span_context();
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
    }

    /// Names of the semantic conventions for MCP.
    pub fn end(mut self, record: &CallRecord<'_>) {
        let span = &mut self.0;
        let mut told = vec![KeyValue::new("mcp.method.name", record.method.clone())];
        if let Some(tool) = &record.tool {
            let key = match record.method.as_str() {
                "tools/call" => "gen_ai.tool.name",
                "prompts/get" => "gen_ai.prompt.name",
                _ => "mcp.resource.uri",
            };
            told.push(KeyValue::new(key, tool.clone()));
        }
        if record.method == "tools/call" {
            told.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
        }
        if let Some(id) = record.request_id {
            told.push(KeyValue::new("jsonrpc.request.id", id.get().trim_matches('"').to_owned()));
        }
        if let Some(provider) = &record.provider {
            told.push(KeyValue::new("hangar.provider", provider.clone()));
        }
        if let Some(group) = &record.group {
            told.push(KeyValue::new("hangar.group", group.clone()));
        }
        told.push(KeyValue::new("hangar.client", record.client.clone()));
        told.push(KeyValue::new("hangar.outcome", record.outcome));
        if record.outcome != "success" {
            let error = record.error.unwrap_or(record.outcome);
            told.push(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
        span.set_attributes(told);
        span.end();
    }
}

impl Parent {
    /// A `traceparent`. `None`: it is none, and so nobody's child.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length)?;
            part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)).then_some(part)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let parent =
            Self { trace: TraceId::from_hex(trace).ok()?, span: SpanId::from_hex(span).ok()?, sampled: flags & 1 == 1 };
        (version != "ff" && parent.trace != TraceId::INVALID && parent.span != SpanId::INVALID).then_some(parent)
    }
}

/// The SDK's thread is outside of the runtime: the requests are made inside.
struct Exporter {
    client: reqwest::Client,
    runtime: Handle,
    /// The last export failed, and the log says so.
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

#[async_trait::async_trait]
impl HttpClient for Exporter {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let answer = client.execute(request.try_into()?).await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        let outcome = self.runtime.spawn(exchange).await;
        let why = match &outcome {
            Ok(Ok((status, _))) if status.is_success() => None,
            Ok(Ok((status, _))) => Some(format!("the collector answered {status}")),
            Ok(Err(error)) => Some(if error.is_connect() { "no connection" } else { "the exchange failed" }.to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match why {
            Some(why) if !self.failing.swap(true, Ordering::Relaxed) => {
                let help = "calls go on; spans are lost until telemetry.otlp.endpoint takes them";
                tracing::warn!(why, help, "traces_not_exported");
            }
            None if self.failing.swap(false, Ordering::Relaxed) => tracing::info!("traces_exported_again"),
            _ => {}
        }
        let (status, body) = outcome?.map_err(reqwest::Error::without_url)?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_a_sound_traceparent_alone() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let text = |version: &str, id: &str, flags: &str| format!("{version}-{id}-00f067aa0ba902b7-{flags}");
        assert!(Parent::read(&text("00", id, "01")).is_some_and(|parent| parent.sampled));
        assert!(Parent::read(&text("00", id, "00")).is_some_and(|parent| !parent.sampled));
        assert!(Parent::read(&(text("01", id, "01") + "-more")).is_some(), "a later version may have more");
        for bad in
            [text("ff", id, "01"), text("00", &"0".repeat(32), "01"), text("00", &id.to_uppercase(), "01"), id.into()]
        {
            assert_eq!(Parent::read(&bad), None, "{bad}");
        }
    }
}
