//! `catalog:` of the file: providers that wait to be loaded by name. Read and validated as `providers` are.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Config, ProviderName, ProviderSpec, codes,
    fields::{Fields, Value},
    load::Load,
    normalize,
    validate::Commands,
};

pub(super) type Catalog = BTreeMap<ProviderName, Arc<ProviderSpec>>;

pub(super) fn catalog(load: &mut Load<'_>, file: &Fields, commands: &mut Commands) -> Catalog {
    let mut out = Catalog::new();
    let outer = load.enter("catalog");
    for (name, at, item) in file.map("catalog") {
        let (Value::Fields(fields), Some(name)) = (&item.value, ProviderName::new(name)) else { continue };
        let mark = load.enter(name.as_str());
        if let Some(spec) = normalize::provider(load, fields, commands) {
            out.insert(name.clone(), Arc::new(spec));
        }
        // Loaded, it would stand beside them.
        for (what, section) in [("provider", "providers"), ("group", "groups")] {
            if let Some((other, place, _)) = file.map(section).iter().find(|(other, ..)| could_clash(&name, other)) {
                let message = format!("the {what} `{other}` (line {}) has this name, or one as good as it", place.line);
                let help = Some("give one of the two another name".to_owned());
                load.problem(codes::CATALOG_NAME, Some(*at), message, help);
            }
        }
        load.leave(mark);
    }
    load.leave(outer);
    out
}

/// Whether tools of the two could be listed under one name: `a_` + `__` + `b` and `a` + `__` + `_b` are one.
pub fn could_clash(one: &ProviderName, other: &str) -> bool {
    let one = one.as_str();
    one == other || one.strip_suffix('_') == Some(other) || other.strip_suffix('_') == Some(one)
}

impl Config {
    /// What may be loaded under this name: an entry of `catalog`, or a provider with `enabled: false`.
    pub fn loadable(&self, name: &str) -> Option<&Arc<ProviderSpec>> {
        self.catalog.get(name).or_else(|| self.providers.get(name).filter(|spec| !spec.enabled))
    }

    /// All of them, in order of their names.
    pub fn all_loadable(&self) -> Vec<&ProviderName> {
        let off = self.providers.iter().filter(|(_, spec)| !spec.enabled).map(|(name, _)| name);
        let mut all: Vec<_> = self.catalog.keys().chain(off).collect();
        all.sort_unstable();
        all
    }
}
