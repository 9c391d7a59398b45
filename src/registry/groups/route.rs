//! From the name of a group to a member.

use std::sync::Arc;

use super::{Errand, Group, Pinned, Seat};
use crate::{
    provider::Listing,
    registry::{DeliveryError, Registry, Route, names},
    wire::Frame,
};

impl Registry {
    /// Of a group: the member whose turn it is, which the route leads to from then on.
    pub(in crate::registry) fn seat(
        &self,
        route: &mut Route,
        frame: &Frame,
        errand: &mut Errand,
    ) -> Result<Option<Seat>, DeliveryError> {
        let Some(group) = &route.group else { return Ok(None) };
        let snapshot = self.snapshot();
        let taken = match Pinned::of(frame) {
            Some(pinned) => group.take_again(&snapshot.providers, pinned, errand),
            None => group.take(&snapshot.providers, &route.name, errand),
        };
        let (provider, seat) = taken?;
        route.provider = provider;
        Ok(Some(seat))
    }

    /// Until a member is taken the route leads to the first that has the tool, or may have it.
    pub(in crate::registry) fn group_route(&self, group: Arc<Group>, tool: &str) -> Result<Route, DeliveryError> {
        let snapshot = self.snapshot();
        let (mut may, mut any) = (None, false);
        for provider in group.providers(&snapshot.providers) {
            any = true;
            if !provider.offers(tool) {
                continue;
            }
            if provider.catalogue().is_some_and(|catalogue| catalogue.tool(tool).is_some()) {
                let provider = provider.clone();
                return Ok(Route { provider, name: tool.into(), group: Some(group.clone()) });
            }
            may = may.or(Some(provider.clone()));
        }
        match may {
            Some(provider) => Ok(Route { provider, name: tool.into(), group: Some(group) }),
            None if any => {
                let name = format!("{}{}{tool}", group.name, names::SEPARATOR);
                Err(DeliveryError::Unknown { kind: Listing::Tools.noun(), name, help: None })
            }
            None => Err(group.without_members(&snapshot.providers).into()),
        }
    }
}
