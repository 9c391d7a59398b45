//! What the file says, which calls go on, and what each event makes of that.

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// The last one is stopped as soon as nobody calls it.
pub const NAMES: [&str; 3] = ["steady", "busy", "idle"];
pub const IDLE: usize = 2;
const CALLS: usize = 4;

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Of each provider: its version, or that it is not in the file.
    pub file: [Option<u32>; 3],
    pub versions: u32,
    pub generation: u64,
    pub calls: Vec<Call>,
}

/// A call that has a lease.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub name: usize,
    pub version: u32,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Running,
    /// Its provider is retired, and waits for it.
    Draining,
    /// Its instance has ended before it.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Keep,
    /// Added, or changed.
    Put,
    Remove,
}

#[derive(Clone, Debug)]
pub enum Event {
    Reload {
        edits: [Edit; 3],
        graceful: bool,
    },
    /// Of a file that cannot be in force.
    Invalid,
    /// A call of a provider in the moment in which a reload takes it away.
    Race {
        name: usize,
        edit: Edit,
    },
    Call(usize),
    Begin(usize),
    End(usize),
    /// A call of a provider whose predecessor still has calls: it waits for them, and comes to no harm.
    Handover(usize),
    Start(usize),
    Stop(usize),
    Crash(usize),
    Pause,
}

impl Model {
    pub fn drains(&self, name: usize) -> bool {
        self.calls.iter().any(|call| call.name == name && call.fate == Fate::Draining)
    }

    /// Whether a call of it is served without waiting for anybody.
    fn free(&self, name: usize) -> bool {
        self.file[name].is_some() && !self.drains(name)
    }

    fn turn(&mut self, name: usize, fate: Fate) {
        for call in self.calls.iter_mut().filter(|call| call.name == name && call.fate == Fate::Running) {
            call.fate = fate;
        }
    }

    fn edit(&mut self, edits: [Edit; 3], graceful: bool) {
        let before = self.file;
        for (name, edit) in edits.into_iter().enumerate() {
            match edit {
                Edit::Keep => continue,
                Edit::Put => {
                    self.versions += 1;
                    self.file[name] = Some(self.versions);
                }
                Edit::Remove => self.file[name] = None,
            }
            self.turn(name, if graceful { Fate::Draining } else { Fate::Cut });
        }
        self.generation += u64::from(self.file != before);
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Event;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self { generation: 1, ..Self::default() }).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Event> {
        let name = || 0..NAMES.len();
        let edit = || prop_oneof![3 => Just(Edit::Keep), 3 => Just(Edit::Put), 1 => Just(Edit::Remove)];
        let end = 0..state.calls.len().max(1);
        prop_oneof![
            6 => (edit(), edit(), edit(), prop::bool::weighted(0.7))
                .prop_map(|(a, b, c, graceful)| Event::Reload { edits: [a, b, c], graceful }),
            1 => Just(Event::Invalid),
            3 => (name(), prop_oneof![Just(Edit::Put), Just(Edit::Remove)]).prop_map(|(name, edit)| Event::Race { name, edit }),
            3 => name().prop_map(Event::Call),
            5 => name().prop_map(Event::Begin),
            2 => end.prop_map(Event::End),
            3 => name().prop_map(Event::Handover),
            1 => name().prop_map(Event::Start),
            1 => name().prop_map(Event::Stop),
            2 => name().prop_map(Event::Crash),
            1 => Just(Event::Pause),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, event: &Event) -> bool {
        match event {
            Event::Reload { .. } | Event::Invalid | Event::Pause => true,
            Event::Race { name, .. } | Event::Stop(name) => state.file[*name].is_some(),
            Event::Call(name) | Event::Start(name) | Event::Crash(name) => state.free(*name),
            Event::Begin(name) => state.free(*name) && state.calls.len() < CALLS,
            Event::End(call) => *call < state.calls.len(),
            Event::Handover(name) => state.file[*name].is_some() && state.drains(*name),
        }
    }

    fn apply(mut state: Self, event: &Event) -> Self {
        match event {
            Event::Reload { edits, graceful } => state.edit(*edits, *graceful),
            Event::Race { name, edit } => {
                let mut edits = [Edit::Keep; 3];
                edits[*name] = *edit;
                state.edit(edits, true);
            }
            Event::Begin(name) => {
                let version = state.file[*name].unwrap_or_default();
                state.calls.push(Call { name: *name, version, fate: Fate::Running });
            }
            Event::End(call) => drop(state.calls.remove(*call)),
            Event::Handover(name) => {
                state.calls.retain(|call| call.name != *name || call.fate != Fate::Draining);
            }
            Event::Stop(name) | Event::Crash(name) => state.turn(*name, Fate::Cut),
            Event::Invalid | Event::Call(_) | Event::Start(_) | Event::Pause => {}
        }
        state
    }
}
