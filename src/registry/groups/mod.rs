//! Groups: a name that stands for several providers. Which member gets a call, which of them are fit to be called, and what
//! became of their calls.
//!
//! A [`Group`] is carried over by a reload as long as its own part of the file is unchanged, whatever becomes of its members:
//! they are looked up in the snapshot at each call. One call takes an [`Errand`] along from member to member, and holds one
//! [`Seat`] at a time.

mod choice;
mod errand;
mod refusal;
mod route;
mod standing;
mod sticky;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

pub(super) use self::{
    errand::{Errand, Seat},
    sticky::wrapped,
};
pub use refusal::{MemberTold, NoMember, Why};
pub use sticky::is_of_a_member;
pub use view::{list, spec};

use self::{
    choice::{Candidate, Memory},
    standing::Standing,
    sticky::Pinned,
};
use crate::{
    config::{GroupMember, GroupSpec, ProviderName},
    provider::{Breaker, BreakerLimits, Item, Load, Provider},
    telemetry::{Event, Telemetry},
};

pub struct Group {
    pub name: ProviderName,
    pub spec: Arc<GroupSpec>,
    telemetry: Arc<Telemetry>,
    core: Mutex<Core>,
}

struct Core {
    memory: Memory,
    /// Of the group as a whole.
    breaker: Breaker,
    /// As in the spec.
    members: Vec<Member>,
    counts: Counts,
}

/// Calls since the group came, or was changed.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    calls: u64,
    failed: u64,
    refused: u64,
}

#[derive(Default)]
struct Member {
    breaker: Breaker,
    /// The generation of the provider that the breaker has an opinion of; a new one starts without.
    seen: Weak<Provider>,
    /// Calls that have it and no lease yet: they wait for its start, or for their turn.
    waiting: usize,
    running: usize,
    calls: u64,
    failed: u64,
    passed_on: u64,
    /// The start whose end was counted: an instance dies once, however many calls it takes along.
    died: Option<u64>,
}

/// A member's provider, if it is in service, and what can be said of it now.
type Known = Option<(Arc<Provider>, Load)>;
pub(super) type Providers = BTreeMap<ProviderName, Arc<Provider>>;

impl Group {
    pub fn new(name: ProviderName, spec: Arc<GroupSpec>, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let members = spec.members.iter().map(|_| Member::default()).collect::<Vec<_>>();
        let memory = Memory::new(members.len());
        let core = Core { memory, breaker: Breaker::default(), members, counts: Counts::default() };
        Arc::new(Self { name, spec, telemetry, core: Mutex::new(core) })
    }

    /// The members in service, in order.
    pub fn providers<'p>(&'p self, all: &'p Providers) -> impl Iterator<Item = &'p Arc<Provider>> {
        self.spec.members.iter().filter_map(|member| all.get(&member.id))
    }

    /// What the members offer; of several that offer the same, the first one's.
    pub fn tools(&self, all: &Providers) -> Vec<Item> {
        let mut tools: Vec<Item> = Vec::new();
        for provider in self.providers(all) {
            let catalogue = provider.catalogue();
            for item in catalogue.iter().flat_map(|catalogue| &catalogue.tools) {
                if provider.offers(&item.key) && tools.iter().all(|known| known.key != item.key) {
                    tools.push(item.clone());
                }
            }
        }
        tools
    }

    /// A seat for the next attempt of a call of `tool`. Not two for one errand with the same member.
    pub(super) fn take(
        self: &Arc<Self>,
        all: &Providers,
        tool: &str,
        errand: &mut Errand,
    ) -> Result<(Arc<Provider>, Seat), NoMember> {
        let known = self.look(all);
        let mut told = Vec::new();
        let taken = self.take_of(&known, tool, errand, &mut told);
        self.tell(told);
        match taken {
            Ok(taken) => {
                errand.is_under_way();
                Ok(taken)
            }
            Err(why) => {
                if matches!(why, Why::Exhausted) {
                    self.core().counts.refused += 1;
                }
                Err(self.refusal(why, all, errand))
            }
        }
    }

    fn take_of(
        self: &Arc<Self>,
        known: &[Known],
        tool: &str,
        errand: &mut Errand,
        told: &mut Vec<Event>,
    ) -> Result<(Arc<Provider>, Seat), Why> {
        let now = Instant::now();
        let mut core = self.core();
        core.meet(known);
        let standings = self.standings(&core, known, now);
        if !errand.is_admitted() {
            errand.admit(self, &mut core, &standings, now, told)?;
        }
        let index = self.choose(&mut core, known, &standings, tool, errand);
        let of_index = |index: usize| Some((index, known.get(index)?.as_ref()?.0.clone()));
        let (index, provider) = index.and_then(of_index).ok_or_else(|| Why::of_the_tried(errand))?;
        Ok((provider, self.sit(&mut core, index, &standings, told)))
    }

    /// The seat of a call that goes on with what `member` has begun, whatever is thought of it.
    pub(super) fn take_again(
        self: &Arc<Self>,
        all: &Providers,
        pinned: Pinned,
        errand: &mut Errand,
    ) -> Result<(Arc<Provider>, Seat), NoMember> {
        let index = self.spec.members.iter().position(|member| member.id.as_str() == pinned.member);
        let found = index.and_then(|index| Some((index, all.get(pinned.member.as_str())?.clone())));
        let Some((index, provider)) = found.filter(|_| !errand.has_tried(&pinned.member)) else {
            return Err(self.refusal(Why::MemberGone { member: pinned.member }, all, errand));
        };
        let mut seat = {
            let mut core = self.core();
            core.counts.calls += 1;
            self.sit(&mut core, index, &[], &mut Vec::new())
        };
        (seat.pinned, seat.edits) = (true, pinned.edits);
        Ok((provider, seat))
    }

    /// Not one of them is in service.
    pub(super) fn without_members(&self, all: &Providers) -> NoMember {
        let mut core = self.core();
        core.counts.calls += 1;
        core.counts.refused += 1;
        drop(core);
        self.refusal(Why::Exhausted, all, &Errand::default())
    }

    /// `None`: nobody is left.
    fn choose(
        &self,
        core: &mut Core,
        known: &[Known],
        standings: &[Standing],
        tool: &str,
        errand: &Errand,
    ) -> Option<usize> {
        let mut open: Vec<(usize, u8, bool, Candidate)> = Vec::new();
        for (index, (member, standing)) in self.spec.members.iter().zip(standings).enumerate() {
            let (Some(rank), Some(Some((provider, load)))) = (standing.rank(), known.get(index)) else { continue };
            if errand.has_tried(member.id.as_str()) || !provider.offers(tool) {
                continue;
            }
            let rank = if errand.has_left(member.id.as_str()) { u8::MAX } else { rank };
            let waiting = core.members.get(index).map_or(0, |member| member.waiting);
            let listed = provider.catalogue().is_none_or(|catalogue| catalogue.tool(tool).is_some());
            open.push((index, rank, listed, Candidate { index, load: load.in_flight + waiting }));
        }
        // One that is known not to have the tool says so best itself, when nobody has it.
        let any_lists = open.iter().any(|(_, _, listed, _)| *listed);
        open.retain(|(_, _, listed, _)| *listed || !any_lists);
        let best = open.iter().map(|(_, rank, ..)| *rank).min()?;
        let candidates: Vec<_> =
            open.into_iter().filter(|(_, rank, ..)| *rank == best).map(|(.., candidate)| candidate).collect();
        core.memory.choose(self.spec.strategy, &self.spec.members, &candidates)
    }

    fn sit(self: &Arc<Self>, core: &mut Core, index: usize, standings: &[Standing], told: &mut Vec<Event>) -> Seat {
        let trial = standings.get(index).is_some_and(|standing| matches!(standing, Standing::Trial { .. }));
        let mut id = String::new();
        if let (Some(member), Some(spec)) = (core.members.get_mut(index), self.spec.members.get(index)) {
            id = spec.id.to_string();
            member.calls += 1;
            member.waiting += 1;
            member.running += 1;
            if trial && member.breaker.begin_trial() {
                told.push(self.changed(Some(spec), "open", "half_open"));
            }
        }
        Seat::new(self.clone(), index, id, trial)
    }

    fn look(&self, all: &Providers) -> Vec<Known> {
        let of = |member: &GroupMember| all.get(&member.id).map(|provider| (provider.clone(), provider.load()));
        self.spec.members.iter().map(of).collect()
    }

    fn standings(&self, core: &Core, known: &[Known], now: Instant) -> Vec<Standing> {
        let limits = self.member_limits();
        let of = |(member, known): (&Member, &Known)| {
            let load = known.as_ref().map(|(_, load)| load);
            Standing::of(load, &member.breaker, now, limits)
        };
        core.members.iter().zip(known).map(of).collect()
    }

    fn member_limits(&self) -> BreakerLimits {
        let health = self.spec.health;
        BreakerLimits {
            failures: health.unhealthy_threshold,
            answers: health.healthy_threshold,
            reset: self.spec.breaker.reset_timeout,
        }
    }

    fn limits(&self) -> BreakerLimits {
        let breaker = self.spec.breaker;
        BreakerLimits { failures: breaker.failure_threshold, answers: 1, reset: breaker.reset_timeout }
    }

    /// `member: None`: the group's own breaker.
    fn changed(&self, member: Option<&GroupMember>, from: &'static str, to: &'static str) -> Event {
        let member = member.map(|member| member.id.to_string());
        Event::GroupBreakerChanged { group: self.name.to_string(), member, from, to }
    }

    /// Never with the lock held.
    fn tell(&self, events: Vec<Event>) {
        events.into_iter().for_each(|event| self.telemetry.emit(event));
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // Every critical section leaves a consistent core also when it panics.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// A provider that was changed, or came back, is not judged by what its predecessor did.
    fn meet(&mut self, known: &[Known]) {
        for (member, known) in self.members.iter_mut().zip(known) {
            let Some((provider, _)) = known else { continue };
            if member.seen.as_ptr() != Arc::as_ptr(provider) {
                member.seen = Arc::downgrade(provider);
                member.breaker.close();
                member.died = None;
            }
        }
    }
}
