//! Groups as JSON, for the `hangar_*` tools and the admin API; and bringing members back.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Group, Providers, choice::Memory};
use crate::{
    config::{GroupMember, GroupSpec},
    provider::Client,
    registry::Snapshot,
};

impl Group {
    /// `{group, state, strategy, healthy, min_healthy, circuit_breaker, members: [...], ...}`
    pub fn view(&self, all: &Providers) -> Value {
        let (known, now) = (self.look(all), Instant::now());
        let mut core = self.core();
        core.meet(&known);
        let standings = self.standings(&core, &known, now);
        let healthy = standings.iter().filter(|standing| standing.counts()).count();
        let breaker = core.breaker.state(now, self.limits());
        let mut members = Vec::with_capacity(standings.len());
        for (((spec, member), standing), known) in
            self.spec.members.iter().zip(&core.members).zip(&standings).zip(&known)
        {
            members.push(json!({
                "id": spec.id,
                "weight": spec.weight,
                "priority": spec.priority,
                "state": known.as_ref().map(|(_, load)| load.state),
                "health": standing.as_str(),
                "circuit_breaker": member.breaker.state(now, self.member_limits()).as_str(),
                "consecutive_failures": member.breaker.failures(),
                "retry_after_ms": standing.retry_after().map(|left| left.as_millis() as u64),
                // Whoever routed them there.
                "calls_in_flight": known.as_ref().map_or(0, |(_, load)| load.in_flight),
                "in_flight_of_group": member.running,
                "calls": member.calls,
                "failed": member.failed,
                "passed_on": member.passed_on,
            }));
        }
        let usable = healthy >= self.spec.min_healthy as usize && healthy > 0 && breaker.as_str() != "open";
        let state = match usable {
            false => "unavailable",
            true if healthy < standings.len() || breaker.as_str() != "closed" => "degraded",
            true => "healthy",
        };
        json!({
            "group": self.name,
            "description": self.spec.description,
            "state": state,
            "strategy": self.spec.strategy.as_str(),
            "healthy": healthy,
            "min_healthy": self.spec.min_healthy,
            "hide_members": self.spec.hide_members,
            "circuit_breaker": breaker.as_str(),
            "consecutive_failures": core.breaker.failures(),
            "calls": core.counts.calls,
            "failed": core.counts.failed,
            "refused": core.counts.refused,
            "members": members,
        })
    }

    /// Members by health, for the metrics.
    pub fn by_health(&self, all: &Providers) -> BTreeMap<&'static str, usize> {
        let known = self.look(all);
        let mut counts = BTreeMap::new();
        for standing in self.standings(&self.core(), &known, Instant::now()) {
            *counts.entry(standing.as_str()).or_default() += 1;
        }
        counts
    }

    /// Starts every member in service. Gives the view, and `not_started` (`{id, cause}`).
    ///
    /// Of those that each client has an instance of, `client`'s; without one there is nothing to start.
    pub async fn started(&self, all: &Providers, client: Option<&Arc<dyn Client>>) -> Value {
        let starts = self.providers(all).map(|provider| async move {
            let started = match client {
                Some(client) => provider.start_for(client).await,
                None if provider.is_per_client() => Ok(()),
                None => provider.start().await,
            };
            let error = started.err()?;
            Some(json!({"id": provider.name, "cause": error.to_string()}))
        });
        let not_started: Vec<_> = join_all(starts).await.into_iter().flatten().collect();
        let mut view = self.view(all);
        view["not_started"] = json!(not_started);
        view
    }

    /// Starts, and asks for a sign of life, every member that is out of turn; those that give one are back in, and turns begin
    /// anew. Gives the view, `recovered` (names) and `still_out` (`{id, cause}`).
    pub async fn rebalanced(&self, all: &Providers) -> Value {
        let (back, still_out) = self.rebalance(all).await;
        let mut view = self.view(all);
        view["recovered"] = json!(back);
        view["still_out"] = still_out.iter().map(|(id, cause)| json!({"id": id, "cause": cause})).collect();
        view
    }

    async fn rebalance(&self, all: &Providers) -> (Vec<String>, Vec<(String, String)>) {
        let known = self.look(all);
        let standings = self.standings(&self.core(), &known, Instant::now());
        let out: Vec<_> = known
            .iter()
            .zip(&standings)
            .enumerate()
            .filter(|(_, (_, standing))| !matches!(standing.as_str(), "healthy" | "disabled"))
            .filter_map(|(index, (known, _))| Some((index, known.as_ref()?.0.clone())))
            .collect();
        let tries = out.iter().map(|(index, provider)| async move {
            // Where each client has its own, the next call tells.
            if provider.is_per_client() {
                return (*index, provider.name.to_string(), Ok(()));
            }
            let answered = match provider.start().await {
                Ok(()) => provider.probe_now().await.unwrap_or(Ok(Default::default())).map(drop),
                Err(error) => Err(error),
            };
            (*index, provider.name.to_string(), answered)
        });
        let tried = join_all(tries).await;
        let (mut back, mut still_out, mut told) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut core = self.core();
            core.memory = Memory::new(self.spec.members.len());
            for (index, name, answered) in tried {
                match answered {
                    Ok(()) => {
                        if let Some(member) = core.members.get_mut(index) {
                            let before = member.breaker.state(Instant::now(), self.member_limits()).as_str();
                            member.breaker.close();
                            if before != "closed" {
                                told.push(self.changed(self.spec.members.get(index), before, "closed"));
                            }
                        }
                        back.push(name);
                    }
                    Err(error) => still_out.push((name, error.to_string())),
                }
            }
            let before = core.breaker.state(Instant::now(), self.limits()).as_str();
            if before != "closed" && still_out.len() < self.spec.members.len() {
                core.breaker.close();
                told.push(self.changed(None, before, "closed"));
            }
        }
        self.tell(told);
        (back, still_out)
    }
}

/// Every group, in order of their names.
pub fn list(snapshot: &Snapshot) -> Vec<Value> {
    snapshot.groups.values().map(|group| group.view(&snapshot.providers)).collect()
}

/// One group of the file as it is in force.
pub fn spec(spec: &GroupSpec) -> Value {
    let GroupSpec { strategy, members, min_healthy, hide_members, description, health, breaker } = spec;
    let member = |member: &GroupMember| json!({"id": member.id, "weight": member.weight, "priority": member.priority});
    json!({
        "strategy": strategy.as_str(),
        "members": members.iter().map(member).collect::<Vec<_>>(),
        "min_healthy": min_healthy,
        "hide_members": hide_members,
        "description": description,
        "health": {
            "unhealthy_threshold": health.unhealthy_threshold,
            "healthy_threshold": health.healthy_threshold,
        },
        "circuit_breaker": {
            "failure_threshold": breaker.failure_threshold,
            "reset_timeout_s": breaker.reset_timeout.as_secs_f64(),
        },
    })
}
