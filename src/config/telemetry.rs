//! The `telemetry` section: its keys, its normal form, what differs.

use std::collections::BTreeMap;

use super::{
    Auth, ConfigDiff, Secret,
    fields::Fields,
    keys::{Section, Shape, key},
    load::Load,
    rules, validate,
};

/// Where traces of calls go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetrySettings {
    pub otlp: OtlpSettings,
}

/// OpenTelemetry's own protocol over HTTP.
#[derive(Clone, PartialEq, Default)]
pub struct OtlpSettings {
    /// `http://` or `https://`. `None`: nowhere.
    pub endpoint: Option<String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, Secret>,
}

pub(super) static TELEMETRY: Section = Section {
    id: "telemetry",
    about: "Where traces of calls go.",
    selector: None,
    keys: &[key("otlp", Shape::Fields(&OTLP), "", "An OpenTelemetry collector, over OTLP/HTTP.")],
};

pub(super) static OTLP: Section = Section {
    id: "otlp",
    about: "An OpenTelemetry collector, over OTLP/HTTP with protobuf.",
    selector: None,
    keys: &[
        key(
            "endpoint",
            Shape::Text(&rules::ENDPOINT),
            "null",
            "Its URL, for example `http://127.0.0.1:4318`; `/v1/traces` is added where it is missing. `null` = no traces.",
        )
        .nullable(),
        key(
            "headers",
            Shape::Map { keys: &rules::HEADER_NAME, of: &Shape::Scalar(&rules::HEADER_VALUE), nullable: true },
            "{}",
            "HTTP headers of every export.",
        ),
    ],
};

pub(super) fn settings(load: &mut Load<'_>, fields: &Fields) -> TelemetrySettings {
    let Some(otlp) = fields.section("otlp") else { return TelemetrySettings::default() };
    let outer = load.enter("telemetry");
    let mark = load.enter("otlp");
    let headers = validate::headers(load, otlp, &Auth::None);
    let endpoint = otlp.text("endpoint").and_then(|(endpoint, at)| {
        let inner = load.enter("endpoint");
        let endpoint = validate::endpoint(load, endpoint, at, !headers.is_empty());
        load.leave(inner);
        endpoint
    });
    load.leave(mark);
    load.leave(outer);
    TelemetrySettings { otlp: OtlpSettings { endpoint, headers } }
}

pub(super) fn diff(old: &TelemetrySettings, new: &TelemetrySettings, out: &mut ConfigDiff) {
    let TelemetrySettings { otlp: OtlpSettings { endpoint, headers } } = old;
    out.live("telemetry.otlp.endpoint", endpoint, &new.otlp.endpoint);
    out.live("telemetry.otlp.headers", headers, &new.otlp.headers);
}

impl std::fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.shown_endpoint())
            .field("headers", &self.headers)
            .finish()
    }
}

impl OtlpSettings {
    /// The endpoint without its query, which may hold a key.
    pub fn shown_endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().and_then(|endpoint| endpoint.split(['?', '#']).next())
    }
}
