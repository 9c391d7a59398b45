//! `groups:` in its normal form, how it is made of what was typed, and what differs between two of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Config, ConfigDiff, ProviderName, codes,
    fields::{Fields, Value},
    hints,
    load::Load,
    raw::At,
};

/// A name that stands for several providers. A new field breaks `changed_fields` until it is compared there by name.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    pub strategy: Strategy,
    /// In file order; never empty, no member twice.
    pub members: Vec<GroupMember>,
    /// At most the number of members; 0: calls are never refused for it.
    pub min_healthy: u32,
    /// The members' own tools are not listed.
    pub hide_members: bool,
    pub description: Option<String>,
    pub health: MemberHealth,
    pub breaker: Breaker,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// A provider of the same file.
    pub id: ProviderName,
    /// At least 1.
    pub weight: u32,
    /// The least is taken first.
    pub priority: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    #[default]
    RoundRobin,
    WeightedRoundRobin,
    LeastConnections,
    Random,
    Priority,
}

/// In a row; at least 1 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberHealth {
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
}

/// Of a group, or of a provider.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Of a group at least 1; of a provider 0: none.
    pub failure_threshold: u32,
    /// Never zero. Of the breakers of a group's members, too.
    pub reset_timeout: Duration,
}

pub(super) type Groups = BTreeMap<ProviderName, Arc<GroupSpec>>;

impl Strategy {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::Random => "random",
            Self::Priority => "priority",
        }
    }

    fn of(word: Option<&str>) -> Self {
        let all = [Self::WeightedRoundRobin, Self::LeastConnections, Self::Random, Self::Priority];
        all.into_iter().find(|strategy| word == Some(strategy.as_str())).unwrap_or_default()
    }
}

impl Default for MemberHealth {
    fn default() -> Self {
        Self { unhealthy_threshold: 2, healthy_threshold: 1 }
    }
}

impl Breaker {
    pub const OF_GROUP: Self = Self { failure_threshold: 10, reset_timeout: Duration::from_secs(60) };
    pub const OF_PROVIDER: Self = Self { failure_threshold: 5, reset_timeout: Duration::from_secs(30) };

    /// `fields`: what holds the section. `usual`: what counts for what it leaves out.
    pub(super) fn of(fields: &Fields, usual: Self) -> Self {
        let Some(typed) = fields.section("circuit_breaker") else { return usual };
        Self {
            failure_threshold: count(typed, "failure_threshold", usual.failure_threshold),
            reset_timeout: typed.seconds("reset_timeout_s").unwrap_or(usual.reset_timeout),
        }
    }
}

impl Config {
    /// Whether a group has `provider` among its members and does not want it listed beside itself.
    pub fn hides(&self, provider: &str) -> bool {
        self.groups.values().any(|group| group.hide_members && group.has(provider))
    }

    /// Whether any group has it.
    pub fn is_member(&self, provider: &str) -> bool {
        self.groups.values().any(|group| group.has(provider))
    }
}

impl GroupSpec {
    fn has(&self, provider: &str) -> bool {
        self.members.iter().any(|member| member.id.as_str() == provider)
    }
}

// === from what was typed ===

/// Members are held against the names in the file, also of providers that have problems of their own.
pub(super) fn groups(load: &mut Load<'_>, file: &Fields) -> Groups {
    let mut out = Groups::new();
    let outer = load.enter("groups");
    for (name, at, item) in file.map("groups") {
        let (Value::Fields(fields), Some(name)) = (&item.value, ProviderName::new(name)) else { continue };
        let mark = load.enter(name.as_str());
        name_is_free(load, &name, *at, file);
        out.insert(name, Arc::new(group(load, fields, file)));
        load.leave(mark);
    }
    load.leave(outer);
    out
}

/// Its tools bear its name as those of a provider do.
fn name_is_free(load: &mut Load<'_>, name: &ProviderName, at: At, file: &Fields) {
    let (providers, groups) = (file.map("providers"), file.map("groups"));
    if let Some((_, other, _)) = providers.iter().find(|(other, ..)| other == name.as_str()) {
        let message = format!("a provider has this name already (line {})", other.line);
        load.problem(codes::GROUP_NAME, Some(at), message, Some("give the group a name of its own".to_owned()));
    }
    let differs_by_one =
        |other: &str| name.as_str().strip_suffix('_') == Some(other) || other.strip_suffix('_') == Some(name.as_str());
    if let Some((other, place, _)) = providers.iter().chain(groups).find(|(other, ..)| differs_by_one(other)) {
        // `a_` + `__` + `b` and `a` + `__` + `_b` are one name.
        let message = format!("its tools could bear the same names as those of `{other}` (line {})", place.line);
        load.problem(codes::PROVIDER_CLASH, Some(at), message, Some("leave out the `_` at the end".to_owned()));
    }
}

fn group(load: &mut Load<'_>, fields: &Fields, file: &Fields) -> GroupSpec {
    let members = members(load, fields, file);
    let min_healthy = count(fields, "min_healthy", 1);
    let typed = fields.list("members").len();
    if let Some(item) = fields.get("min_healthy")
        && typed > 0
        && min_healthy as usize > typed
    {
        let message = format!("{min_healthy} members can never be healthy: the group has {typed}");
        load.problem_of("min_healthy", codes::MIN_HEALTHY, item.at, message, Some(format!("at most {typed}")));
    }
    let none = Fields::default();
    let health = fields.section("health").unwrap_or(&none);
    let usual = MemberHealth::default();
    GroupSpec {
        strategy: Strategy::of(fields.word("strategy")),
        members,
        min_healthy,
        hide_members: fields.flag("hide_members").unwrap_or(false),
        description: fields.text("description").map(|(text, _)| text.text.clone()).filter(|text| !text.is_empty()),
        health: MemberHealth {
            unhealthy_threshold: count(health, "unhealthy_threshold", usual.unhealthy_threshold),
            healthy_threshold: count(health, "healthy_threshold", usual.healthy_threshold),
        },
        breaker: Breaker::of(fields, Breaker::OF_GROUP),
    }
}

fn members(load: &mut Load<'_>, fields: &Fields, file: &Fields) -> Vec<GroupMember> {
    let (providers, groups) = (file.map("providers"), file.map("groups"));
    let mut out: Vec<(GroupMember, At)> = Vec::new();
    let mark = load.enter("members");
    for (index, item) in fields.list("members").iter().enumerate() {
        let Value::Fields(member) = &item.value else { continue };
        let Some((id, at)) = member.text("id") else { continue };
        let Some(name) = ProviderName::new(&id.text) else { continue };
        let inner = load.enter_item(index);
        if !providers.iter().any(|(known, ..)| *known == id.text) {
            let meant = hints::nearest(&id.text, providers.iter().map(|(known, ..)| known.as_str()));
            let help = meant.map(|meant| format!("did you mean `{meant}`?"));
            let help = match groups.iter().any(|(group, ..)| *group == id.text) {
                true => Some("a group cannot be a member".to_owned()),
                false => help.or_else(|| Some("a member is the name of a provider of this file".to_owned())),
            };
            let what = if id.typed {
                format!("there is no provider \"{}\"", id.text)
            } else {
                "there is no such provider".to_owned()
            };
            load.problem_of("id", codes::NO_MEMBER, at, what, help);
        } else if let Some((_, first)) = out.iter().find(|(other, _)| other.id == name) {
            let message = format!("this provider is a member already (line {})", first.line);
            let help = Some("for a greater share give it a `weight`".to_owned());
            load.problem_of("id", codes::MEMBER_TWICE, at, message, help);
        } else {
            let (weight, priority) = (count(member, "weight", 1), count(member, "priority", 1));
            out.push((GroupMember { id: name, weight, priority }, at));
        }
        load.leave(inner);
    }
    load.leave(mark);
    out.into_iter().map(|(member, _)| member).collect()
}

fn count(fields: &Fields, key: &str, default: u32) -> u32 {
    fields.whole(key).map_or(default, |whole| u32::try_from(whole).unwrap_or(u32::MAX))
}

// === what differs ===

pub(super) fn diff(old: &Groups, new: &Groups, out: &mut ConfigDiff) {
    out.groups_removed.extend(old.keys().filter(|name| !new.contains_key(*name)).cloned());
    for (name, after) in new {
        match old.get(name) {
            None => out.groups_added.push(name.clone()),
            Some(before) if before == after => {}
            Some(before) => out.groups_updated.push((name.clone(), changed_fields(before, after))),
        }
    }
}

/// Sorted; empty exactly when the two are equal.
fn changed_fields(old: &GroupSpec, new: &GroupSpec) -> Vec<&'static str> {
    let GroupSpec { strategy, members, min_healthy, hide_members, description, health, breaker } = old;
    let differs = [
        ("circuit_breaker", *breaker != new.breaker),
        ("description", *description != new.description),
        ("health", *health != new.health),
        ("hide_members", *hide_members != new.hide_members),
        ("members", *members != new.members),
        ("min_healthy", *min_healthy != new.min_healthy),
        ("strategy", *strategy != new.strategy),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
