//! The gateway's own tools, `hangar_*`: the same as the admin API, for MCP clients.
//!
//! `tools.json` is what `tools/list` shows of them; each file here answers some of them.

mod arguments;
mod batch;
mod outcome;
mod providers;
mod search;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use serde_json::json;

use self::{
    arguments::{Arguments, Filter, NoArguments, One, ReloadArguments},
    outcome::Outcome,
};
use crate::{
    provider::{Caller, Item, Listing},
    registry::{OwnTools, Registry, view},
    reload::{ReloadHandle, Trigger},
    telemetry::{About, Telemetry},
    wire::{Frame, Span, shallow},
};

const LISTED: &str = include_str!("tools.json");

pub struct Control {
    registry: Arc<Registry>,
    reload: ReloadHandle,
    telemetry: Arc<Telemetry>,
    about: Arc<About>,
    items: Vec<Item>,
}

impl Control {
    pub fn new(
        registry: Arc<Registry>,
        reload: ReloadHandle,
        telemetry: Arc<Telemetry>,
        about: Arc<About>,
    ) -> Arc<Self> {
        Arc::new(Self { registry, reload, telemetry, about, items: items() })
    }

    async fn answer(&self, name: &str, arguments: Arguments<'_>, caller: Caller) -> Option<Outcome> {
        let outcome = match name {
            "hangar_list" => arguments.read::<Filter>().map(|filter| self.list(&filter)),
            "hangar_status" => arguments.read::<NoArguments>().map(|_| self.status()),
            "hangar_details" => arguments.read::<One>().map(|one| self.details(&one)),
            "hangar_server_info" => arguments.read::<NoArguments>().map(|_| self.server_info()),
            "hangar_metrics" => arguments.read().map(|filter| self.metrics(&filter)),
            "hangar_tools" => match arguments.read::<One>() {
                Ok(one) => Ok(self.tools(&one).await),
                Err(refusal) => Err(refusal),
            },
            "hangar_start" => match arguments.read::<One>() {
                Ok(one) => Ok(self.start(&one).await),
                Err(refusal) => Err(refusal),
            },
            "hangar_stop" => match arguments.read::<One>() {
                Ok(one) => Ok(self.stop(&one).await),
                Err(refusal) => Err(refusal),
            },
            "hangar_warm" => match arguments.read() {
                Ok(which) => Ok(self.warm(which).await),
                Err(refusal) => Err(refusal),
            },
            "hangar_health" => match arguments.read::<NoArguments>() {
                Ok(_) => Ok(self.health().await),
                Err(refusal) => Err(refusal),
            },
            "hangar_search_tools" => match arguments.read() {
                Ok(query) => Ok(self.search(query).await),
                Err(refusal) => Err(refusal),
            },
            "hangar_reload_config" => match arguments.read::<ReloadArguments>() {
                Ok(options) => Ok(self.reload_config(options).await),
                Err(refusal) => Err(refusal),
            },
            "hangar_call" => match batch::read(&arguments) {
                Ok(batch) => Ok(self.call_batch(batch, caller).await),
                Err(refusal) => Err(refusal),
            },
            _ => return None,
        };
        Some(outcome.unwrap_or_else(|refusal| refusal))
    }

    async fn reload_config(&self, arguments: ReloadArguments) -> Outcome {
        match self.reload.reload(Trigger::McpTool, arguments.into()).await {
            Ok(report) => Outcome::ok(&report),
            Err(error) => Outcome::failed_with(&error),
        }
    }

    fn status(&self) -> Outcome {
        let snapshot = self.registry.snapshot();
        let (healthy, reasons) = view::health(&snapshot);
        let mut status = view::overview(&snapshot);
        status["status"] = json!(if healthy { "healthy" } else { "degraded" });
        status["reasons"] = json!(reasons);
        status["last_reload"] = json!(self.reload.last());
        status["sessions"] = json!(self.telemetry.metrics.sessions.get());
        status["collisions"] = json!(self.registry.index().collisions);
        status["not_listed"] =
            snapshot.providers.values().filter(|p| p.catalogue().is_none()).map(|p| json!(p.name)).collect();
        Outcome::ok(&status)
    }

    fn server_info(&self) -> Outcome {
        let mut info = self.about.json();
        let snapshot = self.registry.snapshot();
        let (healthy, reasons) = view::health(&snapshot);
        info["health"] = json!(if healthy { "healthy" } else { "degraded" });
        info["reasons"] = json!(reasons);
        info["generation"] = json!(snapshot.generation);
        Outcome::ok(&info)
    }

    fn metrics(&self, filter: &arguments::Metrics) -> Outcome {
        let text = self.telemetry.metrics.render(&view::gauges(&self.registry.snapshot()));
        let wanted = filter.filter.as_deref().unwrap_or_default();
        let lines: Vec<_> = text.lines().filter(|line| line.contains(wanted)).collect();
        Outcome::ok(&json!({"format": "prometheus", "metrics": lines.join("\n")}))
    }
}

impl OwnTools for Control {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        frame: &'a Frame,
        arguments: Option<Span>,
        caller: Caller,
    ) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>> {
        Box::pin(async move {
            let outcome = self.answer(name, Arguments { frame, place: arguments }, caller).await?;
            Some(outcome.into_result())
        })
    }
}

fn items() -> Vec<Item> {
    let text = Bytes::from_static(LISTED.as_bytes());
    let array = shallow::root(&text).ok().and_then(|array| shallow::elements(&text, array)).unwrap_or_default();
    array.into_iter().filter_map(|place| Item::read(&text, place, Listing::Tools)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_own_tools_together_are_cheap_to_list() {
        let total: usize = items().iter().map(|item| item.raw.len() + 1).sum();
        assert!(total < 8_000, "{total} bytes");
        assert_eq!(items().len(), 13);
    }
}
