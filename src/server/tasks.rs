//! `tasks/*`: each era has its own, and they pass by era. A task leads to its provider by the id that its client was given.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::json;

use super::{
    Gateway,
    dispatch::{Answer, Refusal},
    modern,
};
use crate::{
    bridge,
    provider::{Caller, ClientId, Era, Provider, Topic},
    registry::{Address, Delivery},
    wire::{self, Frame, Span, Splice, code, modern::extension, shallow},
};

/// `tasks/result` is answered at the end of the task.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Pages of one provider's list.
const MAX_PAGES: usize = 100;

pub(super) const LEGACY: [&str; 3] = ["tasks/get", "tasks/result", "tasks/cancel"];
pub(super) const MODERN: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];
pub(super) const LIST: &str = "tasks/list";

impl Gateway {
    /// A request about one task.
    pub(super) async fn task(&self, frame: &Frame, caller: Caller) -> Answer {
        let shown = self.string(frame, &["taskId"])?;
        let ids = &self.registry.ground.task_ids;
        let Some((provider, own)) = ids.read(&shown.text, caller.client.tag()) else {
            self.expect_tasks(frame, caller.client.era())?;
            let message =
                "there is no such task, or it is another client's: \"params.taskId\" was not given to this one";
            return Err(Refusal::new(code::INVALID_PARAMS, message));
        };
        let to = Address::At { provider, name: own };
        let timeout = (frame.method() == "tasks/result").then_some(LONGEST);
        let delivery = Delivery { frame, to, name_place: Some(shown.place), caller, timeout };
        let answer = bridge::deliver_unbridged(&self.registry, delivery)
            .await
            .map_err(|error| Refusal::undelivered(error, to))?;
        Ok(answer.0.with_id(frame.id()))
    }

    /// Those of this client, of every provider that lists them and lives: another instance knows nothing of them.
    pub(super) async fn list_tasks(&self, frame: &Frame, caller: Caller) -> Answer {
        self.expect_tasks(frame, Era::Legacy)?;
        self.whole(frame)?;
        let snapshot = self.registry.snapshot();
        let within = snapshot.config.server.list_timeout;
        let home = caller.client.home().id;
        let all = snapshot.providers.values().flat_map(|provider| {
            let mut own = provider.instances_of(home);
            own.push(provider.clone());
            own
        });
        let parts = all.map(|provider| async {
            let provider = provider;
            tokio::time::timeout(within, self.tasks_of(&provider, &caller)).await.ok().flatten()
        });
        let parts: Vec<_> = join_all(parts).await.into_iter().flatten().flatten().collect();
        let result = [b"{\"tasks\":[".as_slice(), &parts.join(&b','), b"]}"].concat();
        Ok(wire::result(frame.id(), &result))
    }

    /// Of one provider, raw. `None`: it does not answer, and is missing.
    async fn tasks_of(&self, provider: &Arc<Provider>, caller: &Caller) -> Option<Vec<Vec<u8>>> {
        let lists = provider.catalogue()?.hello.has(&["tasks", "list"]);
        let upstream = provider.live().filter(|upstream| lists && upstream.era() == Era::Legacy)?;
        let mine = upstream.tasks_of(caller.client.id());
        let mut found = Vec::new();
        let mut params = b"{}".to_vec();
        for _ in 0..if mine.is_empty() { 0 } else { MAX_PAGES } {
            let page = upstream.request(LIST, &params).ok()?.answer(provider.spec.call_timeout).await.ok()?;
            let (text, result) = (page.bytes(), page.result()?);
            let field = |object: Span, key: &str| shallow::get(text, object, key).ok().flatten();
            let tasks = field(result, "tasks").and_then(|list| shallow::elements(text, list))?;
            for task in tasks {
                let Some(place) = field(task, "taskId") else { continue };
                let Some(own) = shallow::string(text, place).filter(|own| mine.contains(&**own)) else { continue };
                let shown = self.registry.ground.task_ids.show(provider.name.as_str(), &own, caller.client.tag());
                let place = Span { start: place.start - task.start, end: place.end - task.start };
                found.push(Splice::new().replace(place, shallow::quote(&shown)).apply(task.of(text)));
            }
            let Some(cursor) = field(result, "nextCursor").filter(|cursor| page.text(*cursor) != b"null") else {
                break;
            };
            params = [b"{\"cursor\":", page.text(cursor), b"}"].concat();
        }
        Some(found)
    }

    /// Has the upstreams that live tell of these tasks of modern clients; one that starts later is asked then.
    pub(super) fn listen_for_tasks<'t>(&self, home: ClientId, shown: impl Iterator<Item = &'t String>) {
        for id in shown {
            let Some((provider, own)) = self.registry.ground.task_ids.read(id, 0) else { continue };
            let Some(provider) = self.registry.provider(provider) else { continue };
            let instances = provider.instances_of(home);
            let live = instances.iter().chain([&provider]).filter_map(|provider| provider.live());
            for upstream in live.filter(|upstream| upstream.era() == Era::Modern) {
                upstream.listen_to([Topic::Task(own.to_owned())]);
            }
        }
    }

    /// Refuses the method when no provider of the era has tasks.
    fn expect_tasks(&self, frame: &Frame, era: Era) -> Result<(), Refusal> {
        if self.has_tasks(era) { Ok(()) } else { Err(Refusal::unknown_method(frame.method())) }
    }

    pub(super) fn has_tasks(&self, era: Era) -> bool {
        let snapshot = self.registry.snapshot();
        let catalogues = snapshot.providers.values().filter_map(|provider| provider.catalogue());
        catalogues.into_iter().any(|catalogue| catalogue.hello.era() == era && catalogue.hello.has_tasks())
    }
}

/// A modern client says with each request that it knows tasks.
pub(super) fn declared(frame: &Frame) -> Result<(), Refusal> {
    let path = ["_meta", modern::key::CAPABILITIES, "extensions", extension::TASKS];
    let declared = frame.params().and_then(|params| shallow::path(frame.bytes(), params, &path).ok().flatten());
    if declared.is_some() {
        return Ok(());
    }
    let message = format!("this request does not declare the extension \"{}\"", extension::TASKS);
    let data = json!({"requiredCapabilities": {"extensions": {extension::TASKS: {}}}});
    Err(Refusal { code: modern::code::MISSING_CAPABILITY, message, data: Some(data) })
}
