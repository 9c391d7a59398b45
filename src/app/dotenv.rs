//! The `.env` file over a restart: the life that ends leaves digests of its variables, by which the next one tells what is
//! other now. Values are not handed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::state_dir;
use crate::{config::DotenvRead, reload::DotenvReport, wire::hex};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Marks {
    /// Of this one handover, so that a digest says nothing to anybody else.
    salt: String,
    digests: BTreeMap<String, String>,
    shadowed: BTreeSet<String>,
}

impl Marks {
    pub(super) fn of(read: &DotenvRead) -> Self {
        let salt = state_dir::random_id();
        Self { digests: digests(&salt, read), salt, shadowed: read.shadowed.clone() }
    }

    pub(super) fn compare(&self, now: &DotenvRead) -> DotenvReport {
        let digests = digests(&self.salt, now);
        let names: BTreeSet<_> = digests.keys().chain(self.digests.keys()).collect();
        let changed = names.into_iter().filter(|name| digests.get(*name) != self.digests.get(*name)).cloned().collect();
        DotenvReport::of_changed(changed, &self.shadowed, now, false)
    }
}

fn digests(salt: &str, read: &DotenvRead) -> BTreeMap<String, String> {
    let digest = |value: &str| hex::encode(Sha256::new().chain_update(salt).chain_update(value).finalize());
    read.vars.iter().map(|(name, value)| (name.clone(), digest(value.expose()))).collect()
}
