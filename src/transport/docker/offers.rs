//! Running containers that offer themselves as providers by their labels. Looked at, never touched.

use std::{collections::BTreeMap, time::Duration};

use bollard::{
    models::ContainerSummary,
    query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder},
};
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::time::timeout;

use super::{
    engine::{Engine, told},
    labels::MANAGED,
};
use crate::config::OFFER;

/// For the list, which an engine has in memory.
const ANSWER: Duration = Duration::from_secs(10);
/// Containers taken of one engine.
const MOST: usize = 1000;

/// One that offers itself.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Its name.
    pub container: String,
    /// Without their common beginning.
    pub labels: BTreeMap<String, String>,
    /// By network; only of those that give it one.
    pub addresses: BTreeMap<String, String>,
}

/// An item each time that one of them starts or ends; over when the engine is.
pub type OfferEvents = BoxStream<'static, ()>;

/// The events first, then the list: what happens between is told.
pub async fn offers(listen: bool) -> Result<(Vec<Offered>, Option<OfferEvents>), String> {
    let engine = Engine::connect().await.map_err(|error| error.to_string())?;
    let name = format!("{OFFER}name");
    let events = listen.then(|| {
        let of = |key: &'static str, values: &[&str]| (key, values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        let filters = [of("type", &["container"]), of("event", &["start", "die"]), of("label", &[&name])].into();
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        engine.api.events(Some(options)).take_while(|event| std::future::ready(event.is_ok())).map(|_| ()).boxed()
    });
    let filters = [("label", vec![name]), ("status", vec!["running".to_owned()])].into();
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let listed = match timeout(ANSWER, engine.api.list_containers(Some(options))).await {
        Ok(listed) => listed.map_err(|error| told(&error))?,
        Err(_) => return Err(format!("no answer within {} s", ANSWER.as_secs())),
    };
    let mut offers: Vec<_> = listed.into_iter().filter_map(Offered::read).take(MOST).collect();
    offers.sort_unstable_by(|a, b| a.container.cmp(&b.container));
    Ok((offers, events))
}

impl Offered {
    /// `None`: a gateway has made it, for a provider of its own.
    fn read(container: ContainerSummary) -> Option<Self> {
        let labels = container.labels.unwrap_or_default();
        if labels.contains_key(MANAGED) {
            return None;
        }
        let ours = labels.into_iter().filter_map(|(key, value)| Some((key.strip_prefix(OFFER)?.to_owned(), value)));
        let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let addresses = networks.into_iter().filter_map(|(network, end)| {
            let address = [end.ip_address, end.global_ipv6_address].into_iter().flatten().find(|a| !a.is_empty())?;
            Some((network, address))
        });
        let name = container.names.unwrap_or_default().into_iter().next().or(container.id)?;
        Some(Self {
            container: name.trim_start_matches('/').to_owned(),
            labels: ours.collect(),
            addresses: addresses.collect(),
        })
    }
}
