//! The containers of this user's gateways, by their labels.

use super::{Belongs, Gateway};
use crate::{
    host,
    transport::{self, ContainerOf},
};

/// What the engine shows. On an engine that several users share the others' are left out.
#[derive(Debug, Clone, Default)]
pub struct Containers {
    pub found: Vec<(ContainerOf, Belongs)>,
    /// In bytes, of each one found; `None`: it does not run, or the engine does not say.
    pub memory: Vec<Option<u64>>,
}

impl Containers {
    /// `instance`: of this user's state directory; without its gateway alive a container is known by that alone.
    pub async fn look(gateways: &[Gateway], instance: Option<&str>) -> Result<Self, String> {
        let all = transport::containers().await?;
        let ours = all.into_iter().filter_map(|container| {
            let belongs = belongs(&container, gateways, instance)?;
            Some((container, belongs))
        });
        let found: Vec<_> = ours.collect();
        let ids: Vec<&str> = found.iter().map(|(container, _)| &*container.id).collect();
        let memory = if ids.is_empty() { Vec::new() } else { transport::container_memory(&ids).await };
        Ok(Self { found, memory })
    }

    /// Each with what it is and what it uses.
    pub fn iter(&self) -> impl Iterator<Item = (&ContainerOf, Belongs, Option<u64>)> {
        let memory = self.memory.iter().copied().chain(std::iter::repeat(None));
        self.found.iter().zip(memory).map(|((container, belongs), memory)| (container, *belongs, memory))
    }
}

/// `None`: it is not this user's, as far as can be told.
fn belongs(container: &ContainerOf, gateways: &[Gateway], instance: Option<&str>) -> Option<Belongs> {
    let recorded = gateways.iter().any(|gateway| {
        gateway.process.is_some()
            && gateway.facts.as_ref().is_some_and(|facts| Some(&facts.generation_id) == container.generation.as_ref())
    });
    if recorded {
        return Some(Belongs::ToLiveGateway);
    }
    let mine = instance.is_some() && container.instance.as_deref() == instance;
    match &container.owner {
        Some(owner) if owner.is_dead() => mine.then_some(Belongs::LeftOver),
        Some(owner) if owner.is_alive() => {
            let me = rustix::process::geteuid().as_raw();
            (mine || host::uid(owner.pid()) == Some(me)).then_some(Belongs::ToLiveGateway)
        }
        _ => mine.then_some(Belongs::Unknown),
    }
}
