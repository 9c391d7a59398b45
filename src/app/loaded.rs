//! What was loaded while running, over a restart in place: loaded again, from the file as it is then.

use super::handover::LoadedRecord;
use crate::{provider::Owner, registry::Snapshot, reload::ReloadHandle};

pub(super) fn records(last: &Snapshot) -> Vec<LoadedRecord> {
    let one = |provider: &std::sync::Arc<crate::provider::Provider>| match &provider.belongs_to {
        Owner::Load(by) => Some(LoadedRecord { provider: provider.name.to_string(), by: by.to_string() }),
        _ => None,
    };
    last.providers.values().filter_map(one).collect()
}

/// One that the file does not define any more, or has taken the name of, is told in the log by who refuses it.
pub(super) async fn again(records: Vec<LoadedRecord>, reload: &ReloadHandle) {
    for LoadedRecord { provider, by } in records {
        let _ = reload.load(&provider, &by).await;
    }
}
