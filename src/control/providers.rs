//! `hangar_list`, `hangar_details`, `hangar_tools`, `hangar_start`, `hangar_stop`, `hangar_warm`, `hangar_health`.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    Control,
    arguments::{Filter, One, Tools, Warm},
    describe,
    outcome::Outcome,
    progress::Progress,
};
use crate::{
    provider::{Client, Provider, Told},
    registry::view,
    telemetry::StopReason,
};

/// Log lines in `hangar_details`.
const LOG_LINES: usize = 20;

impl Control {
    pub(super) fn list(&self, filter: &Filter) -> Outcome {
        let wanted = filter.state_filter.map(|state| json!(state.as_str()));
        let fits = |provider: &Value| wanted.as_ref().is_none_or(|state| provider["state"] == *state);
        let providers: Vec<_> = view::list(&self.registry).into_iter().filter(fits).collect();
        Outcome::ok(&json!({"providers": providers, "count": providers.len()}))
    }

    pub(super) fn details(&self, one: &One, client: &Arc<dyn Client>) -> Outcome {
        match self.find(&one.provider) {
            Ok(provider) => {
                let mut view = view::details(&provider);
                // Not what instances of other clients write.
                let own = provider.instances_of(client.home().id);
                let output = match own.first() {
                    Some(own) => own.output().tail(LOG_LINES),
                    None if provider.is_per_client() => Vec::new(),
                    None => provider.output().tail(LOG_LINES),
                };
                view["log"] = json!(output);
                Outcome::ok(&view)
            }
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn tools(&self, wanted: Tools, client: &Arc<dyn Client>) -> Outcome {
        if let Some(group) = self.registry.group(&wanted.provider) {
            return self.group_tools(&group, wanted.tools, client).await;
        }
        let provider = match self.find(&wanted.provider) {
            Ok(provider) => provider,
            Err(outcome) => return outcome,
        };
        if provider.catalogue().is_none()
            && let Err(error) = provider.be_ready_for(client).await
        {
            return call_error(&provider.told(error));
        }
        let Some(catalogue) = provider.catalogue_for(&**client) else {
            return Outcome::error(
                "no_catalogue",
                "the provider's tools are not known",
                json!({"provider": provider.name}),
            );
        };
        let offered: Vec<_> = catalogue.tools.iter().filter(|item| provider.offers(&item.key)).collect();
        let instructions = catalogue.hello.instructions.as_deref();
        describe::describe(provider.name.as_str(), instructions, &offered, wanted.tools)
    }

    pub(super) async fn start(&self, one: &One, client: &Arc<dyn Client>, mut progress: Option<Progress>) -> Outcome {
        if let Some(group) = self.registry.group(&one.provider) {
            return self.group_start(&group, client).await;
        }
        let whole = match self.find(&one.provider) {
            Ok(provider) => provider,
            Err(outcome) => return outcome,
        };
        let provider = match whole.lasting(client) {
            Ok(provider) => provider,
            Err(error) => return call_error(&whole.told(error)),
        };
        let (mut pulls, mut before) = (provider.pulls.subscribe(), provider.pulls.subscribe());
        let starting = whole.start_for(client);
        tokio::pin!(starting);
        let started = loop {
            tokio::select! {
                biased;
                // The sender lives in the provider.
                _ = pulls.changed() => {
                    if let (Some(progress), Some(pull)) = (&mut progress, &*pulls.borrow_and_update()) {
                        progress.tell(pull);
                    }
                }
                started = &mut starting => break started,
            }
        };
        match started {
            Ok(()) => Outcome::ok(&view::started(&whole, &mut before)),
            Err(error) => call_error(&provider.told(error)),
        }
    }

    /// Of those that each client has: the caller's own.
    pub(super) async fn stop(&self, one: &One, client: &Arc<dyn Client>) -> Outcome {
        match self.find(&one.provider) {
            Ok(provider) => {
                let own = match provider.is_per_client() {
                    true => provider.instances_of(client.home().id),
                    false => vec![provider.clone()],
                };
                let drain = provider.spec.drain_timeout;
                join_all(own.iter().map(|own| own.stop(StopReason::Requested, drain, false))).await;
                Outcome::ok(&view::summary(&provider))
            }
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn warm(&self, which: Warm, client: &Arc<dyn Client>) -> Outcome {
        let providers: Vec<_> = match which.providers {
            None => self.registry.snapshot().providers.values().cloned().collect(),
            Some(names) => {
                let found: Result<Vec<_>, _> = names.into_vec().iter().map(|name| self.find(name)).collect();
                match found {
                    Ok(providers) => providers,
                    Err(outcome) => return outcome,
                }
            }
        };
        let starts = providers.iter().map(|provider| async move { provider.start_for(client).await });
        let starts = join_all(starts).await;
        let failed = starts.iter().filter(|start| start.is_err()).count();
        let each: Vec<_> = providers
            .iter()
            .zip(&starts)
            .map(|(provider, start)| {
                let told = start.as_ref().err().map(|error| provider.told(error.clone()));
                let error = told.map(|told| json!({"error": told.name(), "message": told.to_string()}));
                json!({"provider": provider.name, "state": provider.whole().state, "success": start.is_ok(), "error": error})
            })
            .collect();
        let answer = json!({"providers": each, "started": each.len() - failed, "failed": failed});
        if failed == 0 { Outcome::ok(&answer) } else { Outcome::failed_with(&answer) }
    }

    pub(super) async fn health(&self) -> Outcome {
        let snapshot = self.registry.snapshot();
        let probes = snapshot.providers.values().map(|provider| async move {
            let probe = provider.probe_now().await;
            let mut view = json!({"provider": provider.name, "state": provider.whole().state});
            match &probe {
                None => {}
                Some(Ok(took)) => view["answered_ms"] = json!(took.as_secs_f64() * 1e3),
                Some(Err(error)) => view["error"] = json!(error.to_string()),
            }
            (view, matches!(probe, Some(Err(_))))
        });
        let probed = join_all(probes).await;
        let (healthy, reasons) = view::health(&snapshot);
        let silent = probed.iter().any(|(_, failed)| *failed);
        let providers: Vec<_> = probed.into_iter().map(|(view, _)| view).collect();
        let status = if healthy && !silent { "healthy" } else { "degraded" };
        Outcome::ok(&json!({"status": status, "reasons": reasons, "providers": providers}))
    }

    /// The provider of that name, or the error that says which there are.
    pub(super) fn find(&self, name: &str) -> Result<Arc<Provider>, Outcome> {
        self.registry.provider(name).ok_or_else(|| {
            let help = self.registry.closest_provider(name).map(|name| format!("; did you mean \"{name}\"?"));
            let help = match self.registry.group(name) {
                Some(_) => Some("; it is a group, see hangar_group_list".to_owned()),
                None => help,
            };
            let message = format!("there is no provider \"{name}\"{}", help.unwrap_or_default());
            let known: Vec<_> = self.registry.snapshot().providers.keys().map(ToString::to_string).collect();
            Outcome::error("unknown_provider", message, json!({"provider": name, "known": known}))
        })
    }
}

pub(super) fn call_error(told: &Told) -> Outcome {
    Outcome::error(told.name(), told.to_string(), told.details())
}
