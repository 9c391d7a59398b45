//! From a name to an answer: route, lease, forward. A provider that is retired in between is looked up again, and of a group
//! another member is taken as long as nothing was sent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    DeliveryError, Registry, Route,
    groups::{Errand, Seat, wrapped},
    names,
};
use crate::{
    config::{Expose, ToolPrefix},
    provider::{CallError, Caller, Client, Era, ListKind, Listing, Mark, Outgoing, Patience, Provider, marks},
    telemetry::CallOutcome,
    transport::TransportError,
    wire::{Frame, Span, Splice, modern::code::HEADER_MISMATCH, shallow},
};

/// How often a name is looked up again because its provider was retired in that very moment.
const LOOKUPS: usize = 4;

/// Calls that a modern upstream does not know: it is listened to instead.
const SUBSCRIPTIONS: [&str; 2] = ["resources/subscribe", "resources/unsubscribe"];

/// A task's result is waited for while others ask about it, or cancel it.
const TASKS: &str = "tasks/";

/// What a call names.
#[derive(Debug, Clone, Copy)]
pub enum Address<'a> {
    /// A name as clients see it.
    Listed(Listing, &'a str),
    /// A provider, or group, by its name and a tool by the upstream's own.
    Tool { provider: &'a str, tool: &'a str },
    /// A provider by its name, for a method that is not about what it lists; `name`: what is named, as the upstream calls it.
    At { provider: &'a str, name: &'a str },
}

/// One call to deliver.
pub struct Delivery<'a> {
    pub frame: &'a Frame,
    pub to: Address<'a>,
    /// Where in the frame the name or URI stands (quotes included). `None`: it names nothing.
    pub name_place: Option<Span>,
    pub caller: Caller,
    /// Instead of the provider's `call_timeout_s`.
    pub timeout: Option<Duration>,
}

impl Registry {
    /// The upstream's answer, bearing *our* id, and the route it came by.
    pub async fn deliver(&self, delivery: Delivery<'_>) -> Result<(Frame, Route), DeliveryError> {
        let began = Instant::now();
        let mut lookups = LOOKUPS;
        let mut errand = Errand::default();
        loop {
            let mut route = self.route(delivery.to, &delivery.caller.client).await?;
            let seat = self.seat(&mut route, delivery.frame, &mut errand)?;
            // Held as long as the call is.
            let instance = route.provider.instance(&delivery.caller.client);
            if let Ok(instance) = &instance {
                route.provider = instance.provider.clone();
            }
            let mut unfinished = Unfinished { registry: self, delivery: &delivery, route: &route, began, over: false };
            let outcome = match &instance {
                Ok(_) => self.attempt(&delivery, &route, seat.as_ref()).await,
                Err(error) => Err((error.clone(), false)),
            };
            unfinished.over = true;
            drop(unfinished);
            let (error, sent) = match outcome {
                Ok(answer) => {
                    self.account(&delivery, &route, answer_outcome(&answer), began);
                    let answer = self.cut(answer, &delivery, &route);
                    let Some(seat) = seat else { return Ok((answer, route)) };
                    let answer = wrapped(answer, seat.member());
                    errand.answered(seat);
                    return Ok((answer, route));
                }
                Err(failed) => failed,
            };
            if errand.failed(seat, &error, !sent, delivery.timeout.is_some()) {
                continue;
            }
            match error {
                // Nothing was sent: the name may lead somewhere else by now.
                CallError::Retired { .. } | CallError::Cut { .. } | CallError::Gone { .. } if !sent && lookups > 1 => {}
                // It died a moment ago; not a byte was sent.
                CallError::Transport { error: TransportError::Closed, .. } if !sent && lookups > 1 => {
                    route.provider.closed_is_seen().await;
                }
                error => {
                    self.account(&delivery, &route, error.outcome(), began);
                    return Err(error.into());
                }
            }
            lookups -= 1;
        }
    }

    /// The `bool` of an error: something was sent.
    async fn attempt(
        &self,
        delivery: &Delivery<'_>,
        route: &Route,
        seat: Option<&Seat>,
    ) -> Result<Frame, (CallError, bool)> {
        let within = delivery.timeout.unwrap_or(route.provider.spec.call_timeout);
        let lease = match delivery.frame.method().starts_with(TASKS) {
            true => route.provider.lease_beside().await,
            false => route.provider.lease(within).await,
        };
        let lease = lease.map_err(|error| (error, false))?;
        let (frame, name) = (delivery.frame, &*route.name);
        if lease.upstream.era() == Era::Modern && SUBSCRIPTIONS.contains(&frame.method()) {
            return lease.upstream.subscription(frame, name, within).await.map_err(|error| (error, true));
        }
        match frame.method() {
            // Also when the answer is not waited for any more.
            "resources/subscribe" => lease.upstream.subscribed(name, true),
            "resources/unsubscribe" => lease.upstream.subscribed(name, false),
            _ => {}
        }
        let mut edits = Splice::new();
        if let Some(place) = delivery.name_place {
            edits.replace(place, shallow::quote(name));
        }
        if let Some(seat) = seat {
            seat.leased(&route.provider);
            for (place, with) in &seat.edits {
                edits.replace(*place, with);
            }
        }
        let marks = if lease.upstream.wants_marks() { route.marks(frame) } else { Vec::new() };
        let outgoing = Outgoing { frame, edits, caller: delivery.caller.clone(), name, marks: &marks };
        let call = lease.upstream.forward(outgoing).map_err(|error| (error, false))?;
        // A time that was asked for is meant as it was said.
        let most = delivery.timeout.unwrap_or(route.provider.spec.max_call_time.max(within));
        let keep_alive = self.snapshot().config.server.progress_keep_alive;
        let patience = Patience { within, most, keep_alive };
        let answer = call.answer_with_progress(patience).await.map_err(|error| (error, true))?;
        route.provider.answered();
        if answer.error().is_some() && lease.upstream.wants_marks() && error_code(&answer) == Some(HEADER_MISMATCH) {
            lease.upstream.doubt(ListKind::Tools);
        }
        Ok(answer)
    }

    fn account(&self, delivery: &Delivery<'_>, route: &Route, outcome: CallOutcome, began: Instant) {
        let tool = match delivery.to {
            Address::Listed(Listing::Tools, _) | Address::Tool { .. } => {
                // A name that the provider never listed must not become a label.
                let listed = route.provider.catalogue().is_some_and(|c| c.tool(&route.name).is_some());
                if listed { &*route.name } else { "(unlisted)" }
            }
            // Prompts and resources: an unbounded set of names has no place in a metric.
            Address::Listed(listing, _) => listing.method(),
            Address::At { .. } => "(other)",
        };
        self.ground.telemetry.call(route.provider.name.as_str(), tool, outcome, began.elapsed());
    }

    /// Where an address leads now. With `tool_prefix: never` a provider that is not known yet may be the one.
    pub async fn route(&self, to: Address<'_>, client: &Arc<dyn Client>) -> Result<Route, DeliveryError> {
        let (listing, name) = match to {
            Address::Tool { provider, tool } => return self.tool_of(provider, tool),
            Address::At { provider, name } => {
                let found = self.provider(provider).ok_or_else(|| self.no_provider(provider))?;
                return Ok(Route { provider: found, name: name.into(), group: None });
            }
            Address::Listed(listing, name) => (listing, name),
        };
        if let Some(route) = self.index_for(&**client).route(listing, name) {
            return Ok(route.clone());
        }
        if let Some(route) = self.shortened(listing, name, client).await {
            return Ok(route);
        }
        let split = match listing {
            Listing::Tools | Listing::Prompts => names::split(name),
            Listing::Resources | Listing::Templates => names::split_uri(name),
        };
        // Not listed (any more, or yet), but its provider says so best itself.
        if let Some((provider, own)) = split
            && let Some(provider) = self.provider(provider)
            && (listing != Listing::Tools || provider.offers(own))
        {
            return Ok(Route { provider, name: own.into(), group: None });
        }
        if let (Listing::Tools, Some((owner, own))) = (listing, split)
            && let Some(group) = self.group(owner)
        {
            return self.group_route(group, own);
        }
        let snapshot = self.snapshot();
        let may_be_plain = snapshot.config.server.tool_prefix == ToolPrefix::Never || listing == Listing::Resources;
        if may_be_plain {
            self.learn_catalogues(client, snapshot.config.server.list_timeout).await;
            if let Some(route) =
                self.index_for(&**client).route(listing, name).cloned().or_else(|| self.plain(listing, name))
            {
                return Ok(route);
            }
        }
        Err(self.unknown(listing, name))
    }

    /// A name that may have been cut, of a provider whose lists are not known (any more): the list has to say what it was.
    async fn shortened(&self, listing: Listing, name: &str, client: &Arc<dyn Client>) -> Option<Route> {
        if !matches!(listing, Listing::Tools | Listing::Prompts) || name.chars().count() < names::MAX_NAME {
            return None;
        }
        let owner = names::split(name)?.0;
        if let Some(group) = self.group(owner) {
            let snapshot = self.snapshot();
            if group.providers(&snapshot.providers).all(|member| member.catalogue().is_some()) {
                return None;
            }
            self.learn_catalogues(client, snapshot.config.server.list_timeout).await;
            return self.index_for(&**client).route(listing, name).cloned();
        }
        let provider = self.provider(owner).filter(|provider| provider.catalogue().is_none())?;
        // One that does not start says so to the call itself.
        let _ = provider.be_ready_for(client).await;
        self.index_for(&**client).route(listing, name).cloned()
    }

    fn tool_of(&self, provider: &str, tool: &str) -> Result<Route, DeliveryError> {
        match self.provider(provider) {
            Some(found) if found.offers(tool) => Ok(Route { provider: found, name: tool.into(), group: None }),
            Some(_) => {
                let name = format!("{provider}{}{tool}", names::SEPARATOR);
                Err(DeliveryError::Unknown { kind: Listing::Tools.noun(), name, help: None })
            }
            None => match self.group(provider) {
                Some(group) => self.group_route(group, tool),
                None => Err(self.no_provider(provider)),
            },
        }
    }

    fn no_provider(&self, name: &str) -> DeliveryError {
        let help = self.closest_provider(name).map(|name| name.to_string());
        DeliveryError::Unknown { kind: "provider", name: name.to_owned(), help }
    }

    /// An upstream's own URI, as it stands in resource links: exactly one provider lists it, or has a template for it, or
    /// is the only one with resources at all.
    fn plain(&self, listing: Listing, name: &str) -> Option<Route> {
        if listing != Listing::Resources {
            return None;
        }
        let snapshot = self.snapshot();
        let known: Vec<_> = snapshot.providers.values().filter_map(|p| Some((p, p.catalogue()?))).collect();
        let only = |fits: &dyn Fn(&crate::provider::Catalogue) -> bool| -> Option<Arc<Provider>> {
            let mut fitting = known.iter().filter(|(_, catalogue)| fits(catalogue));
            let first = fitting.next()?;
            fitting.next().is_none().then(|| Arc::clone(first.0))
        };
        let provider = only(&|c| c.resources.iter().any(|item| item.key == name))
            .or_else(|| only(&|c| c.templates.iter().any(|item| names::expands(&item.key, name))))
            .or_else(|| only(&|c| c.hello.has(&["resources"])))?;
        Some(Route { provider, name: name.into(), group: None })
    }

    /// What `provider` itself calls the resource that clients know as `uri`; `None`: it is another provider's.
    pub fn own_uri(&self, provider: &Arc<Provider>, uri: &str) -> Option<String> {
        if let Some(route) = self.index().route(Listing::Resources, uri) {
            return (route.provider.name == provider.name).then(|| route.name.to_string());
        }
        match names::split_uri(uri) {
            Some((name, own)) => (name == provider.name.as_str()).then(|| own.to_owned()),
            None => {
                self.plain(Listing::Resources, uri).filter(|r| r.provider.name == provider.name).map(|r| r.name.into())
            }
        }
    }

    fn unknown(&self, listing: Listing, name: &str) -> DeliveryError {
        let index = self.index();
        let own = self.own_tools().map(|own| own.items()).filter(|_| listing == Listing::Tools).unwrap_or_default();
        let exposures = self.exposures();
        let own = own.iter().map(|item| &*item.key).filter(|own| exposures.offers(own, Expose::Direct));
        let known = index.list(listing).routes.keys().map(|known| &**known).chain(own);
        let rated = known.map(|known| (strsim::jaro_winkler(known, name), known));
        let best = rated.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.85);
        let help = best.map(|(_, known)| known.to_string());
        DeliveryError::Unknown { kind: listing.noun(), name: name.chars().take(200).collect(), help }
    }
}

impl Route {
    /// The arguments of a call that its headers have to repeat.
    fn marks(&self, call: &Frame) -> Vec<Mark> {
        let catalogue = self.provider.catalogue().filter(|_| call.method() == "tools/call");
        let listed = catalogue.as_ref().and_then(|catalogue| catalogue.tool(&self.name));
        // One that is invalid is not in the catalogue.
        listed.and_then(|tool| marks(&tool.raw).ok()).unwrap_or_default()
    }
}

/// A call that nobody waits for any more when this is dropped before it is over.
struct Unfinished<'d> {
    registry: &'d Registry,
    delivery: &'d Delivery<'d>,
    route: &'d Route,
    began: Instant,
    over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.registry.account(self.delivery, self.route, CallOutcome::Cancelled, self.began);
        }
    }
}

fn error_code(answer: &Frame) -> Option<i32> {
    let place = shallow::get(answer.bytes(), answer.error()?, "code").ok().flatten()?;
    std::str::from_utf8(answer.text(place)).ok()?.parse().ok()
}

pub fn answer_outcome(answer: &Frame) -> CallOutcome {
    let Some(result) = answer.result() else { return CallOutcome::UpstreamError };
    match shallow::get(answer.bytes(), result, "isError") {
        Ok(Some(place)) if answer.text(place) == b"true" => CallOutcome::ToolError,
        _ => CallOutcome::Success,
    }
}
