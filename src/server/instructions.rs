//! What the gateway says about itself and its providers to a client that connects.

use crate::{
    config::Expose,
    registry::{Registry, Snapshot},
};

/// Of the providers' own, together.
const MAX_INSTRUCTIONS: usize = 8 * 1024;
/// Of the providers' names and descriptions, together.
const MAX_OVERVIEW: usize = 2 * 1024;

/// For a client by the name that it gives itself.
pub(super) fn of(registry: &Registry, client: &str) -> String {
    let snapshot = registry.snapshot();
    match registry.exposures().for_client(client) {
        Expose::Search => overview(&snapshot),
        Expose::Direct | Expose::Both => all(&snapshot),
    }
}

fn all(snapshot: &Snapshot) -> String {
    let mut text = String::from(
        "hangar is a gateway to several MCP servers (\"providers\"). Their tools are listed as <provider>__<tool>; the \
         hangar_* tools look after the gateway itself. A tool that is not listed can be found with hangar_search_tools and \
         called with hangar_call.",
    );
    for provider in snapshot.providers.values() {
        let Some(own) = provider.catalogue().and_then(|catalogue| catalogue.hello.instructions.clone()) else {
            continue;
        };
        if text.len() + own.len() > MAX_INSTRUCTIONS {
            continue;
        }
        text += &format!("\n\n## {}\n{}", provider.name, own);
    }
    text
}

/// Of the file alone: the same whatever providers do. What they say themselves comes with `hangar_tools`.
fn overview(snapshot: &Snapshot) -> String {
    let mut text = String::from(
        "hangar is a gateway to several MCP servers (\"providers\"). Their tools are not listed one by one. Find what you need \
         with hangar_search_tools, read its schema and its provider's instructions with hangar_tools, call it with \
         hangar_call.\n\nProviders:",
    );
    let limit = text.len() + MAX_OVERVIEW;
    for (at, provider) in snapshot.providers.values().enumerate() {
        let line = match &provider.spec.description {
            Some(about) => format!("\n- {}: {about}", provider.name),
            None => format!("\n- {}", provider.name),
        };
        if text.len() + line.len() > limit {
            text += &format!("\n- and {} more: hangar_list names all", snapshot.providers.len() - at);
            break;
        }
        text += &line;
    }
    text
}
