//! The gateway's own tools, `hangar_*`: the same as the admin API, for MCP clients.
//!
//! `tools.json` is what `tools/list` shows of them; each file here answers some of them.

mod arguments;
mod batch;
mod continuation;
mod describe;
mod groups;
mod loading;
mod outcome;
mod progress;
mod providers;
pub mod search;
mod server_info;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use serde_json::json;

use self::{
    arguments::{Arguments, NoArguments, ReloadArguments},
    outcome::Outcome,
    progress::Progress,
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
    library: Arc<search::Library>,
}

impl Control {
    pub fn new(
        registry: Arc<Registry>,
        reload: ReloadHandle,
        telemetry: Arc<Telemetry>,
        about: Arc<About>,
    ) -> Arc<Self> {
        Arc::new(Self { registry, reload, telemetry, about, items: items(), library: Default::default() })
    }

    /// `Ok(None)`: no such tool; `Err`: the arguments do not fit it.
    async fn answer(&self, name: &str, arguments: Arguments<'_>, caller: Caller) -> Result<Option<Outcome>, Outcome> {
        if matches!(name, "hangar_status" | "hangar_server_info" | "hangar_health" | "hangar_group_list") {
            let NoArguments {} = arguments.read()?;
        }
        Ok(Some(match name {
            "hangar_list" => self.list(&arguments.read()?),
            "hangar_status" => self.status(),
            "hangar_details" => self.details(&arguments.read()?, &caller.client),
            "hangar_server_info" => self.server_info().await,
            "hangar_metrics" => self.metrics(&arguments.read()?),
            "hangar_tools" => self.tools(arguments.read()?, &caller.client).await,
            "hangar_start" => {
                let client = caller.client.clone();
                self.start(&arguments.read()?, &client, Progress::wanted(&arguments, caller)).await
            }
            "hangar_stop" => self.stop(&arguments.read()?, &caller.client).await,
            "hangar_warm" => self.warm(arguments.read()?, &caller.client).await,
            "hangar_health" => self.health().await,
            "hangar_search_tools" => self.search(arguments.read()?, &caller.client).await,
            "hangar_fetch_continuation" => self.fetch(&arguments.read()?, &*caller.client)?,
            "hangar_delete_continuation" => self.delete(&arguments.read()?, &*caller.client),
            "hangar_group_list" => self.group_list(),
            "hangar_group_rebalance" => self.group_rebalance(&arguments.read()?).await,
            "hangar_load" => self.load(&arguments.read()?, &*caller.client).await,
            "hangar_unload" => self.unload(&arguments.read()?, &*caller.client).await,
            "hangar_reload_config" => self.reload_config(arguments.read()?).await,
            "hangar_call" => self.call_batch(arguments.frame.id(), batch::read(&arguments)?, caller).await,
            _ => return Ok(None),
        }))
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
        status["dotenv"] = self.about.dotenv();
        status["sessions"] = json!(self.telemetry.metrics.sessions.get());
        status["collisions"] = json!(self.registry.index().collisions);
        status["pulling"] = snapshot.providers.values().filter_map(|p| view::pulling(p)).collect();
        let unknown = || snapshot.providers.values().filter(|p| p.catalogue().is_none());
        status["not_listed"] = unknown().map(|p| json!(p.name)).collect();
        status["missing"] = unknown().map(|p| view::missing(p)).collect();
        Outcome::ok(&status)
    }

    fn metrics(&self, filter: &arguments::Metrics) -> Outcome {
        let snapshot = self.registry.snapshot();
        let text = self.telemetry.metrics.render(&view::gauges(&snapshot), &view::group_gauges(&snapshot));
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
            let answer = self.answer(name, Arguments { frame, place: arguments }, caller).await;
            answer.unwrap_or_else(Some).map(Outcome::into_result)
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
        assert_eq!(items().len(), 19);
    }
}
