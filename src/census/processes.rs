//! The processes of gateways: those that bear a gateway's mark in their environment, and everything below its shims.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    host::{self, Owner, Process, Tree, Usage},
    transport::{self, sweep},
};

use super::Gateway;

/// One process that belongs to a gateway.
#[derive(Debug, Clone)]
pub struct Member {
    pub process: Process,
    pub role: Role,
    pub provider: Option<String>,
    pub generation: Option<String>,
    /// Of the state directory of its gateway.
    pub instance: Option<String>,
    pub gateway: Option<u32>,
    pub belongs: Belongs,
    pub uptime: Option<Duration>,
    /// Its own; of a [`Role::Shim`] in [`of_gateway`]: with everything below it.
    pub usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Supervises one provider's process.
    Shim,
    /// Supervises one provider's container.
    Keeper,
    /// A provider, or something that it started.
    Provider,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    ToLiveGateway,
    /// Its gateway is certainly dead.
    LeftOver,
    /// Nothing says for certain whether its gateway lives; such a process is left alone.
    Unknown,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shim => "shim",
            Self::Keeper => "keeper",
            Self::Provider => "provider",
        }
    }

    pub(super) fn of(pid: u32) -> Self {
        match host::arguments(pid).and_then(|line| line.into_iter().nth(1)) {
            Some(word) if word == transport::SHIM.as_bytes() => Self::Shim,
            Some(word) if word == transport::KEEPER.as_bytes() => Self::Keeper,
            _ => Self::Provider,
        }
    }
}

impl Belongs {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToLiveGateway => "of a live gateway",
            Self::LeftOver => "left over by a dead one",
            Self::Unknown => "unknown",
        }
    }
}

/// The shims and keepers of one gateway; each stands for everything below it. Costs two small files for each child of the
/// gateway beside the look at the tree.
pub fn of_gateway(gateway: u32, tree: &Tree) -> Vec<Member> {
    let member = |pid: &u32| {
        let (role, process) = (Role::of(*pid), tree.process(*pid)?);
        if role == Role::Provider {
            return None;
        }
        // `__shim NAME ...`, `__keeper PLACE NAME ...`
        let name = host::arguments(*pid)?.into_iter().nth(if role == Role::Shim { 2 } else { 3 })?;
        Some(Member {
            process,
            role,
            provider: String::from_utf8(name).ok().map(|name| match role {
                Role::Keeper => provider_of_container(&name).to_owned(),
                _ => name,
            }),
            generation: None,
            instance: None,
            gateway: Some(gateway),
            belongs: Belongs::ToLiveGateway,
            uptime: tree.uptime(*pid),
            usage: tree.usage(&tree.with_all_below(*pid)),
        })
    };
    tree.children(gateway).iter().filter_map(member).collect()
}

/// `hangar-NAME-1a2b3c4d`.
fn provider_of_container(name: &str) -> &str {
    let bare = name.strip_prefix("hangar-").unwrap_or(name);
    bare.rsplit_once('-').map_or(bare, |(provider, _)| provider)
}

/// Every process of this user that bears the mark of a gateway, and what stands below one without bearing it. Reads the
/// environment of all processes of this user.
pub fn marked(tree: &Tree, gateways: &[Gateway]) -> Vec<Member> {
    let me = rustix::process::geteuid().as_raw();
    let mut found: Vec<Member> = Vec::new();
    for pid in tree.pids().filter(|pid| host::uid(*pid) == Some(me)) {
        found.extend(bearer(pid, tree, gateways));
    }
    let mut known: BTreeSet<u32> = found.iter().map(|member| member.process.pid).collect();
    for shim in found.clone().into_iter().filter(|member| member.role == Role::Shim) {
        for pid in tree.with_all_below(shim.process.pid) {
            if let (true, Some(process)) = (known.insert(pid), tree.process(pid)) {
                let (uptime, usage) = (tree.uptime(pid), tree.usage(&[pid]));
                found.push(Member { process, role: Role::Provider, uptime, usage, ..shim.clone() });
            }
        }
    }
    // Keepers bear no mark; those of a gateway that is gone finish by themselves.
    for gateway in gateways.iter().filter_map(|gateway| gateway.process) {
        let keepers = of_gateway(gateway.pid, tree).into_iter().filter(|member| member.role == Role::Keeper);
        found.extend(keepers.filter(|member| known.insert(member.process.pid)));
    }
    found.sort_by_key(|member| (member.gateway, member.provider.clone(), member.process));
    found
}

fn bearer(pid: u32, tree: &Tree, gateways: &[Gateway]) -> Option<Member> {
    let process = tree.process(pid)?;
    let environ = host::environ(pid)?;
    let generation = environ.get(sweep::GENERATION)?.to_owned();
    let owner = environ.get(sweep::OWNER).and_then(|owner| owner.parse::<Owner>().ok());
    let of_generation = |gateway: &&Gateway| {
        gateway.process.is_some() && gateway.facts.as_ref().is_some_and(|facts| facts.generation_id == generation)
    };
    let recorded = gateways.iter().find(of_generation).and_then(|gateway| gateway.process);
    let (gateway, belongs) = match (&owner, recorded) {
        (_, Some(gateway)) => (Some(gateway.pid), Belongs::ToLiveGateway),
        (Some(owner), None) if owner.is_dead() => (Some(owner.pid()), Belongs::LeftOver),
        // It runs in a place that is not looked at from here, or became another life a moment ago.
        (Some(owner), None) if owner.is_alive() => (Some(owner.pid()), Belongs::ToLiveGateway),
        (owner, None) => (owner.as_ref().map(Owner::pid), Belongs::Unknown),
    };
    Some(Member {
        process,
        role: Role::of(pid),
        provider: environ.get(sweep::PROVIDER).map(ToOwned::to_owned),
        generation: Some(generation),
        instance: environ.get(sweep::INSTANCE).map(ToOwned::to_owned),
        gateway,
        belongs,
        uptime: tree.uptime(pid),
        usage: tree.usage(&[pid]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_after_its_provider() {
        for (container, provider) in
            [("hangar-search-1a2b3c4d", "search"), ("hangar-a-b_c-00000000", "a-b_c"), ("other", "other")]
        {
            assert_eq!(provider_of_container(container), provider);
        }
    }
}
