//! Metrics of groups: `hangar_group_*`.

use std::collections::BTreeMap;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

type Labels<const N: usize> = [(&'static str, String); N];

/// Of one group: how many members have which health.
pub type GroupGauge = (String, BTreeMap<&'static str, usize>);

/// What a member can be.
const HEALTH: [&str; 5] = ["healthy", "trial", "unhealthy", "waiting", "disabled"];

#[derive(Default)]
pub struct GroupMetrics {
    calls: Family<Labels<3>, Counter>,
    refusals: Family<Labels<2>, Counter>,
    members: Family<Labels<2>, Gauge>,
}

impl GroupMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help =
            "Calls of groups by the member that had them; one that was passed on counts for each member it came to";
        registry.register("group_calls", help, self.calls.clone());
        registry.register("group_refusals", "Calls that a group gave to no member", self.refusals.clone());
        registry.register("group_members", "Members of groups by their health", self.members.clone());
    }

    pub fn call(&self, group: &str, member: &str, outcome: &str) {
        let labels = [("group", group.into()), ("member", member.into()), ("outcome", outcome.into())];
        self.calls.get_or_create(&labels).inc();
    }

    pub fn refused(&self, group: &str, reason: &str) {
        self.refusals.get_or_create(&[("group", group.into()), ("reason", reason.into())]).inc();
    }

    /// Groups that are not among these are gone.
    pub(super) fn show(&self, groups: &[GroupGauge]) {
        self.members.clear();
        for (group, counts) in groups {
            for health in HEALTH {
                let count = counts.get(health).copied().unwrap_or_default();
                let labels = [("group", group.clone()), ("health", health.to_owned())];
                self.members.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}
