//! The configuration as it changes during the load, and the one who changes it.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::{
    client::{Client, Outcome},
    gateway::{Home, config},
};

pub const MOVING: [&str; 2] = ["move0", "move1"];

/// What is in the file, and was so before.
pub struct Wanted {
    /// The providers that stay, in YAML.
    fixed: String,
    settings: String,
    lifetime: String,
    now: Mutex<State>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// Of each moving provider: its version, or that it is not there.
    versions: [Option<u64>; 2],
    /// Of the first member of the group.
    weight: u64,
    generation: u64,
}

impl Wanted {
    pub fn new(fixed: String, settings: String, lifetime: String) -> Self {
        Self { fixed, settings, lifetime, now: Mutex::new(State { generation: 1, ..State::default() }) }
    }

    pub fn text(&self, home: &Home) -> String {
        let now = *self.now.lock().unwrap();
        self.with(home, now)
    }

    fn with(&self, home: &Home, state: State) -> String {
        let moving = MOVING.iter().zip(state.versions).filter_map(|(name, version)| {
            let args = ["--version", &version?.to_string(), "--lifetime", &self.lifetime];
            Some(home.provider(name, &args, "idle_ttl_s: 3"))
        });
        let providers: String = [self.fixed.clone()].into_iter().chain(moving).collect();
        let weight = state.weight + 1;
        let members = format!("[{{id: member0, weight: {weight}}}, {{id: member1}}]");
        let group = format!("groups:\n  team: {{strategy: weighted_round_robin, members: {members}}}\n");
        config(&(providers + &group), &self.settings)
    }

    /// One reload of a kind that `dice` chooses; its report has to be what was asked for. Gives a moving provider that is there.
    pub async fn next(&self, home: &Home, client: &Client, dice: u64) -> Outcome<Option<(&'static str, u64)>> {
        let before = *self.now.lock().unwrap();
        let which = usize::try_from(dice % 2).unwrap_or(0);
        let kind = dice / 2 % 6;
        let mut after = before;
        match kind {
            0 | 1 => after.versions[which] = Some(dice),
            2 => after.versions[which] = None,
            3 => after.weight = dice % 3,
            _ => {}
        }
        let text = self.with(home, after);
        home.put(&if kind == 5 { text + "  broken: {comand: [x]}\n" } else { text });
        let report = client.reload().await?;
        if kind == 5 {
            let refused = report["status"] == "failed" && report["generation"] == before.generation;
            return if refused { Ok(None) } else { Err(format!("the invalid file: {report}")) };
        }
        after.generation += u64::from(after != before);
        check(&report, &before, &after)?;
        *self.now.lock().unwrap() = after;
        Ok(after.versions[which].map(|version| (MOVING[which], version)))
    }

    /// As at the start.
    pub async fn restore(&self, home: &Home, client: &Client) -> Outcome<()> {
        let before = *self.now.lock().unwrap();
        let mut after = State { generation: before.generation, ..State::default() };
        home.put(&self.with(home, after));
        let report = client.reload().await?;
        after.generation += u64::from(after != before);
        check(&report, &before, &after)?;
        *self.now.lock().unwrap() = after;
        Ok(())
    }
}

fn check(report: &Value, before: &State, after: &State) -> Outcome<()> {
    let named = |fits: fn(Option<u64>, Option<u64>) -> bool| {
        let both = before.versions.into_iter().zip(after.versions);
        let names: Vec<_> =
            MOVING.into_iter().zip(both).filter(|(_, (old, new))| fits(*old, *new)).map(|(name, _)| name).collect();
        json!(names)
    };
    let good = report["status"] == "success"
        && report["generation"] == after.generation
        && report["providers_added"] == named(|old, new| old.is_none() && new.is_some())
        && report["providers_removed"] == named(|old, new| old.is_some() && new.is_none())
        && report["providers_updated"] == named(|old, new| old.is_some() && new.is_some() && old != new);
    if good { Ok(()) } else { Err(format!("not what was asked for: {report}")) }
}
