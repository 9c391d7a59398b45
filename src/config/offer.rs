//! What a container may say of itself by labels `hangar.provider.*`: that it is a remote provider, on a port of its own
//! address. No label names a command, a path of the host, another address, a credential or anything of the gateway's
//! environment.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use serde_json::{Map, Value, json};

use super::{ProviderName, ProviderSpec, load_with};

/// How those labels begin.
pub const OFFER: &str = "hangar.provider.";
/// Taken over as keys of a provider.
const KEYS: [&str; 6] =
    ["transport", "protocol", "description", "call_timeout_s", "startup_timeout_s", "max_concurrency"];
/// What makes up the endpoint.
const OWN: [&str; 3] = ["name", "port", "path"];

/// The provider that these labels (without [`OFFER`]) describe, at `address`; or what is wrong with them.
pub fn offered(labels: &BTreeMap<String, String>, address: &str) -> Result<(ProviderName, Arc<ProviderSpec>), String> {
    let text = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
    let name = ProviderName::new(text("name")).ok_or("hangar.provider.name is no provider's name")?;
    if let Some(other) = labels.keys().find(|key| !KEYS.iter().chain(&OWN).any(|known| known == key)) {
        let shown: String = other.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(format!(
            "{OFFER}{shown} is no label that is taken; taken are {}, {}",
            OWN.join(", "),
            KEYS.join(", ")
        ));
    }
    if let Some((key, _)) = labels.iter().find(|(_, value)| value.contains("${")) {
        return Err(format!("{OFFER}{key} holds a reference, and labels have none"));
    }
    let port: u16 = text("port").parse().ok().filter(|port| *port > 0).ok_or("hangar.provider.port must be a port")?;
    let path = labels.get("path").map_or("/mcp", String::as_str);
    // Nothing that could make another host of it.
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@\\".contains(c)) {
        return Err("hangar.provider.path must begin with `/` and be a plain path".to_owned());
    }
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let mut spec = Map::new();
    spec.insert("mode".into(), json!("remote"));
    spec.insert("endpoint".into(), json!(format!("http://{host}:{port}{path}")));
    for key in KEYS.into_iter().filter(|key| labels.contains_key(*key)) {
        let typed = text(key);
        let number = typed.parse().ok().filter(|_| key.ends_with("_s") || key == "max_concurrency");
        spec.insert(key.into(), number.map_or_else(|| json!(typed), Value::Number));
    }
    read(&name, &Value::Object(spec))
}

/// By the one validator that all providers pass. JSON is YAML.
fn read(name: &ProviderName, spec: &Value) -> Result<(ProviderName, Arc<ProviderSpec>), String> {
    let file = json!({"providers": {name.as_str(): spec}}).to_string();
    let place = Path::new("/labels");
    let mut bytes = |path: &Path| match path == place {
        true => Ok(file.clone().into_bytes()),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    match load_with(place, &mut bytes, &|_| None) {
        Ok(loaded) => {
            let spec = loaded.config.providers.into_values().next().ok_or("its labels describe no provider")?;
            Ok((name.clone(), spec))
        }
        Err(error) => {
            let told = error.problems.iter().map(|problem| {
                let key = problem.path.rsplit('.').next().unwrap_or_default();
                format!("{OFFER}{key}: {} [{}]", problem.message, problem.code)
            });
            Err(told.collect::<Vec<_>>().join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Launch;

    fn of(labels: &[(&str, &str)]) -> Result<(ProviderName, Arc<ProviderSpec>), String> {
        let base = [("name", "x"), ("port", "8000")];
        offered(&base.iter().chain(labels).map(|(key, value)| ((*key).into(), (*value).into())).collect(), "172.17.0.2")
    }

    #[test]
    fn a_container_offers_itself_and_nothing_else() {
        let (name, spec) = of(&[("call_timeout_s", "7.5"), ("description", "12"), ("transport", "sse")]).unwrap();
        let Launch::Remote(remote) = &spec.launch else { panic!("{spec:?}") };
        assert_eq!((name.as_str(), remote.endpoint.as_str()), ("x", "http://172.17.0.2:8000/mcp"));
        assert_eq!((spec.call_timeout.as_secs_f64(), spec.description.as_deref()), (7.5, Some("12")));
        for (labels, says) in [
            (&[("command", "sh")][..], "hangar.provider.command is no label that is taken"),
            (&[("endpoint", "http://elsewhere/")], "endpoint is no label"),
            (&[("headers", "x")], "headers is no label"),
            (&[("name", "a__b")], "no provider's name"),
            (&[("port", "0")], "must be a port"),
            (&[("port", "80@elsewhere")], "must be a port"),
            (&[("path", "@elsewhere/")], "must begin with `/`"),
            (&[("path", "/\\elsewhere")], "plain path"),
            (&[("description", "${HOME}")], "holds a reference"),
            (&[("description", "${file:/etc/passwd}")], "holds a reference"),
            (&[("call_timeout_s", "soon")], "hangar.provider.call_timeout_s: expected a number of seconds"),
            (&[("transport", "stdio")], "is not a `transport`"),
        ] {
            let told = of(labels).unwrap_err();
            assert!(told.contains(says), "{labels:?}: {told}");
        }
    }
}
