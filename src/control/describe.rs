//! What `hangar_tools` answers: tools as their provider wrote them, and what it says about using them.

use serde_json::json;

use super::{arguments::Names, outcome::Outcome};
use crate::{provider::Item, registry::names, wire::shallow};

/// `{"provider", "instructions"?, "tools": [...]}` of a provider or a group. `wanted`: by their own names or as they are listed; one that is not
/// there is an error that names the nearest.
pub(super) fn describe(owner: &str, instructions: Option<&str>, offered: &[&Item], wanted: Option<Names>) -> Outcome {
    let chosen = match wanted.map(Names::into_vec) {
        None => offered.to_vec(),
        Some(wanted) => {
            let is_it = |item: &Item, name: &str| item.key == name || names::flat(owner, &item.key) == name;
            let found: Result<Vec<_>, _> =
                wanted.iter().map(|name| offered.iter().copied().find(|item| is_it(item, name)).ok_or(name)).collect();
            match found {
                Ok(found) => found,
                Err(name) => return unknown(owner, name, offered),
            }
        }
    };
    let tools: Vec<&[u8]> = chosen.iter().map(|item| &item.raw[..]).collect();
    let tools = [b"[", tools.join(&b","[..]).as_slice(), b"]"].concat();
    let name = shallow::quote(owner);
    let instructions = instructions.map(shallow::quote);
    let mut fields = vec![("provider", name.as_slice())];
    fields.extend(instructions.as_deref().map(|text| ("instructions", text)));
    fields.push(("tools", &tools));
    Outcome::raw([b"{", shallow::members(&fields).as_slice(), b"}"].concat(), false)
}

fn unknown(provider: &str, name: &str, offered: &[&Item]) -> Outcome {
    let rated = offered.iter().map(|item| (strsim::jaro_winkler(&item.key, name), &item.key));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.8);
    let help = best.map(|(_, known)| format!("; did you mean \"{known}\"?")).unwrap_or_default();
    let shown: String = name.chars().take(200).collect();
    let message = format!("provider \"{provider}\" offers no tool \"{shown}\"{help}");
    Outcome::error("unknown_tool", message, json!({"provider": provider, "tool": shown}))
}
