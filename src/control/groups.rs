//! `hangar_group_list`, `hangar_group_rebalance`, and the tools of a group.

use std::sync::Arc;

use serde_json::json;

use super::{
    Control,
    arguments::{Names, OneGroup},
    describe,
    outcome::Outcome,
};
use crate::{
    provider::Client,
    registry::{Group, groups},
};

impl Control {
    pub(super) fn group_list(&self) -> Outcome {
        let groups = groups::list(&self.registry.snapshot());
        Outcome::ok(&json!({"groups": groups, "count": groups.len()}))
    }

    pub(super) async fn group_rebalance(&self, one: &OneGroup) -> Outcome {
        let snapshot = self.registry.snapshot();
        let Some(group) = snapshot.groups.get(one.group.as_str()) else {
            let known: Vec<_> = snapshot.groups.keys().collect();
            let name: String = one.group.chars().take(100).collect();
            let message = format!("there is no group \"{name}\"");
            return Outcome::error("unknown_group", message, json!({"group": name, "known": known}));
        };
        Outcome::ok(&group.rebalanced(&snapshot.providers).await)
    }

    /// As far as it is not started: an error only when no member is.
    pub(super) async fn group_start(&self, group: &Arc<Group>, client: &Arc<dyn Client>) -> Outcome {
        let view = group.started(&self.registry.snapshot().providers, Some(client)).await;
        if view["healthy"] == 0 { Outcome::failed_with(&view) } else { Outcome::ok(&view) }
    }

    /// As the members wrote them. Those that were never seen are started, as for a listing.
    pub(super) async fn group_tools(
        &self,
        group: &Arc<Group>,
        wanted: Option<Names>,
        client: &Arc<dyn Client>,
    ) -> Outcome {
        let within = self.registry.snapshot().config.server.list_timeout;
        self.registry.learn_catalogues(client, within).await;
        let tools = group.tools(&self.registry.snapshot().providers);
        describe::describe(group.name.as_str(), None, &tools.iter().collect::<Vec<_>>(), wanted)
    }
}
