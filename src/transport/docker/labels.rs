//! What every container of ours bears, so that a sweep finds it and can tell whose it is.

use crate::{config::ProviderName, host::Owner, transport::Marker};

pub(super) const MANAGED: &str = "hangar.managed";
pub(super) const INSTANCE: &str = "hangar.instance";
pub(super) const GENERATION: &str = "hangar.generation";
pub(super) const PROVIDER: &str = "hangar.provider";
/// The gateway that made it: see [`Owner`].
pub(super) const OWNER: &str = "hangar.owner";

/// For a container that this gateway makes now.
pub(in crate::transport) fn of(name: &ProviderName, marker: &Marker) -> [(&'static str, String); 5] {
    [
        (MANAGED, "true".to_owned()),
        (INSTANCE, marker.instance.to_string()),
        (PROVIDER, name.to_string()),
        (GENERATION, marker.generation.to_string()),
        (OWNER, Owner::ours().to_string()),
    ]
}
