//! `hangar_search_tools`: tools of all providers by words, listed or not.

use std::{cmp::Reverse, sync::Arc};

use serde_json::json;

use super::{Control, arguments::Search, outcome::Outcome};
use crate::{
    provider::{Client, Item, Provider},
    registry::{Snapshot, names},
    wire::{shallow, to_json},
};

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 50;

impl Control {
    pub(super) async fn search(&self, search: Search, client: &Arc<dyn Client>) -> Outcome {
        let words = words(&search.query);
        if words.is_empty() {
            return super::arguments::refusal("\"query\" holds no word");
        }
        let within = self.registry.snapshot().config.server.list_timeout;
        let missing = self.registry.learn_catalogues(client, within).await;
        let snapshot = self.registry.snapshot();
        let mut found = Vec::new();
        for (owner, tools) in owners(&snapshot, &**client) {
            for item in tools {
                let score = score(&words, &owner, &item);
                if score > 0 {
                    found.push((score, entry(&owner, &item)));
                }
            }
        }
        // Stable: equal scores stay in the order of providers and of their lists.
        found.sort_by_key(|(score, _)| Reverse(*score));
        let limit = search.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        let total = found.len();
        let tools: Vec<_> = found.into_iter().take(limit).map(|(_, entry)| entry).collect();
        let missing: Vec<_> = missing.iter().map(|m| json!({"provider": m.provider, "why": m.why})).collect();
        let mut out = b"{\"tools\":[".to_vec();
        out.extend(tools.join(&b","[..]));
        out.extend(format!("],\"total\":{total},\"not_searched\":").into_bytes());
        out.extend(to_json(&missing));
        out.push(b'}');
        Outcome::raw(out, false)
    }
}

/// Groups, and the providers that none of them hides, with what they offer.
fn owners(snapshot: &Snapshot, client: &dyn Client) -> Vec<(String, Vec<Item>)> {
    let offered = |provider: &Provider| -> Vec<Item> {
        let catalogue = provider.catalogue_for(client);
        let tools = catalogue.iter().flat_map(|catalogue| &catalogue.tools);
        tools.filter(|item| provider.offers(&item.key)).cloned().collect()
    };
    let seen = snapshot.providers.values().filter(|provider| !snapshot.config.hides(provider.name.as_str()));
    let mut all: Vec<_> = seen.map(|provider| (provider.name.to_string(), offered(provider))).collect();
    all.extend(snapshot.groups.values().map(|group| (group.name.to_string(), group.tools(&snapshot.providers))));
    all
}

/// `{provider, tool, name, description, inputSchema}`; the schema as the upstream wrote it.
fn entry(owner: &str, item: &Item) -> Vec<u8> {
    let head = json!({
        "provider": owner,
        "tool": item.key,
        "name": names::flat(owner, &item.key),
        "description": item.text_field("description"),
    });
    let mut out = to_json(&head);
    if let Some(schema) = item.raw_field("inputSchema") {
        out.pop();
        out.extend_from_slice(b",");
        out.extend_from_slice(&shallow::quote("inputSchema"));
        out.extend_from_slice(b":");
        out.extend_from_slice(&schema);
        out.push(b'}');
    }
    out
}

/// A word in the name counts most, the exact name more, one in the description or among the parameters least.
fn score(query: &[String], provider: &str, item: &Item) -> u32 {
    let name = item.key.to_lowercase();
    let in_name = words(&item.key);
    let description = item.text_field("description").unwrap_or_default().to_lowercase();
    let title = item.text_field("title").unwrap_or_default().to_lowercase();
    let schema =
        item.raw_field("inputSchema").map(|raw| String::from_utf8_lossy(&raw).to_lowercase()).unwrap_or_default();
    let of_word = |word: &String| {
        u32::from(in_name.contains(word)) * 8
            + u32::from(name.contains(word.as_str())) * 4
            + u32::from(provider.to_lowercase().contains(word.as_str())) * 3
            + u32::from(title.contains(word.as_str())) * 3
            + u32::from(description.contains(word.as_str())) * 2
            + u32::from(schema.contains(word.as_str()))
    };
    query.iter().map(of_word).sum()
}

/// Lower-case words; camelCase and snake_case are taken apart.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut lower_before = false;
    for c in text.chars() {
        if c.is_uppercase() && lower_before {
            spaced.push(' ');
        }
        lower_before = c.is_lowercase() || c.is_numeric();
        spaced.push(c);
    }
    spaced.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(words("readFile read_text-file HTTP2"), ["read", "file", "read", "text", "file", "http2"]);
    }
}
