//! The `audit` section: its keys, its normal form, what differs.

use std::path::PathBuf;

use super::{
    ConfigDiff, codes,
    fields::Fields,
    files::absolute,
    keys::{Section, Shape, key},
    load::Load,
    rules,
};

/// Where each call, refusal, reload, start and stop is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditSettings {
    /// Absolute. `None`: nowhere.
    pub file: Option<PathBuf>,
    /// Bytes at which the file is put aside; 0: never.
    pub max_size: u64,
    /// Files put aside that are kept; at least 1.
    pub keep: u32,
}

pub(super) static AUDIT: Section = Section {
    id: "audit",
    about: "Where each call, refusal, reload, start and stop is written down, as one line of JSON.",
    selector: None,
    keys: &[
        key("file", Shape::Text(&rules::PATH), "null", "The file; its directory must be there. `null` = none.")
            .nullable(),
        key(
            "max_size",
            Shape::Memory { min: 64 << 10 },
            "\"64m\"",
            "Size at which the file is put aside as `FILE.1`, the one before as `FILE.2`...; 0 = never.",
        ),
        key("keep", Shape::Whole { min: 1, max: 1000 }, "5", "Files put aside that are kept."),
    ],
};

impl Default for AuditSettings {
    fn default() -> Self {
        Self { file: None, max_size: 64 << 20, keep: 5 }
    }
}

pub(super) fn settings(load: &mut Load<'_>, fields: &Fields) -> AuditSettings {
    let default = AuditSettings::default();
    let mark = load.enter("audit");
    let file = fields.text("file").map(|(text, at)| {
        let path = absolute(&load.dir, &text.text);
        let help = || Some("the gateway makes the file, not its directory".to_owned());
        if load.is_main(&path) {
            let help = Some("name a file of its own".to_owned());
            load.problem_of("file", codes::AUDIT_FILE, at, "this is the configuration itself", help);
        } else if path.is_dir() {
            load.problem_of("file", codes::AUDIT_FILE, at, "this is a directory", help());
        } else if !path.parent().is_some_and(|parent| parent.is_dir()) {
            load.problem_of("file", codes::AUDIT_FILE, at, "its directory is not there", help());
        }
        path
    });
    load.leave(mark);
    AuditSettings {
        file,
        max_size: fields.whole("max_size").unwrap_or(default.max_size),
        keep: fields.whole("keep").and_then(|keep| u32::try_from(keep).ok()).unwrap_or(default.keep),
    }
}

pub(super) fn diff(old: &AuditSettings, new: &AuditSettings, out: &mut ConfigDiff) {
    let AuditSettings { file, max_size, keep } = old;
    out.live("audit.file", file, &new.file);
    out.live("audit.max_size", max_size, &new.max_size);
    out.live("audit.keep", keep, &new.keep);
}
