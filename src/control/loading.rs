//! `hangar_load`, `hangar_unload`: by name only; what is run stands in the configuration file.

use super::{Control, arguments::One, outcome::Outcome};
use crate::{provider::Client, reload::LoadResult};

/// Of a client's name, so much is remembered.
const NAME: usize = 64;

impl Control {
    pub(super) async fn load(&self, one: &One, client: &dyn Client) -> Outcome {
        told(self.reload.load(&one.provider, &by(client)).await)
    }

    pub(super) async fn unload(&self, one: &One, client: &dyn Client) -> Outcome {
        told(self.reload.unload(&one.provider, &by(client)).await)
    }
}

fn told(result: LoadResult) -> Outcome {
    match result {
        Ok(view) => Outcome::ok(&view),
        Err(refusal) => Outcome::failed_with(&refusal),
    }
}

/// `mcp_tool/claude-code`; the name is the client's own word for itself.
fn by(client: &dyn Client) -> String {
    let name: String = client.name().chars().filter(|c| !c.is_control()).take(NAME).collect();
    if name.is_empty() { "mcp_tool".to_owned() } else { format!("mcp_tool/{name}") }
}
