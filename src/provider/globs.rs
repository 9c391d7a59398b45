//! Which names a list of glob patterns matches.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Compiled patterns. `*` alone, which most providers have, costs nothing: a compiled set is kilobytes.
pub struct Globs(Kind);

enum Kind {
    Every,
    Any(GlobSet),
}

impl Globs {
    /// Any of `patterns` matches. The validator has refused every pattern that is none; here such a one matches nothing.
    pub fn new(patterns: &[String]) -> Self {
        if patterns.iter().any(|pattern| pattern == "*") {
            return Self(Kind::Every);
        }
        let mut set = GlobSetBuilder::new();
        patterns.iter().filter_map(|pattern| Glob::new(pattern).ok()).for_each(|glob| {
            set.add(glob);
        });
        Self(Kind::Any(set.build().unwrap_or_else(|_| GlobSet::empty())))
    }

    pub fn is_match(&self, name: &str) -> bool {
        match &self.0 {
            Kind::Every => true,
            Kind::Any(set) => set.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_star_matches_what_a_compiled_star_matches() {
        let new = |patterns: &[&str]| Globs::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        for name in ["", "a", "a/b", ".a", "a\nb", "ä", "*"] {
            assert!(new(&["*"]).is_match(name) && new(&["x", "*"]).is_match(name), "{name:?}");
            assert!(new(&["**"]).is_match(name) && !new(&[]).is_match(name), "{name:?}");
        }
        assert!(new(&["get_*"]).is_match("get_x") && !new(&["get_*"]).is_match("set_x"));
    }
}
