//! `hangar_fetch_continuation`, `hangar_delete_continuation`: the rest of an answer that was too long.

use serde::Deserialize;
use serde_json::json;

use super::{Control, arguments::refusal, outcome::Outcome};
use crate::provider::Client;

const USUAL: usize = 64 * 1024;
/// Bytes of one part.
const MOST: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    continuation_id: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    continuation_id: String,
}

impl Control {
    pub(super) fn fetch(&self, wanted: &Fetch, client: &dyn Client) -> Result<Outcome, Outcome> {
        let limit = wanted.limit.unwrap_or(USUAL);
        if limit == 0 || limit > MOST {
            return Err(refusal(&format!("\"limit\" must be 1 to {MOST}")));
        }
        let key = &wanted.continuation_id;
        let part = self.registry.continuations.part(key, client, wanted.offset.unwrap_or(0), limit);
        let part = part.ok_or_else(|| {
            let message = "there is no such continuation for this client: it was deleted, its time is over, or newer ones took \
                           its place; call the tool again";
            Outcome::error("unknown_continuation", message, json!({}))
        })?;
        let complete = part.end == part.total;
        Ok(Outcome::ok(&json!({
            "continuation_id": key,
            "format": part.format,
            "offset": part.offset,
            "next_offset": (!complete).then_some(part.end),
            "total_bytes": part.total,
            "complete": complete,
            "data": part.data,
        })))
    }

    pub(super) fn delete(&self, which: &Delete, client: &dyn Client) -> Outcome {
        let deleted = self.registry.continuations.delete(&which.continuation_id, client);
        Outcome::ok(&json!({"continuation_id": which.continuation_id, "deleted": deleted}))
    }
}
