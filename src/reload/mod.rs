//! A config change on its way into force: notice, read, load, diff, plan, commit, report, retire.
//!
//! One task ([`Reloader`]) runs every reload, whatever asked for it; everybody else holds a [`ReloadHandle`].

mod dotenv;
mod fragments;
mod loading;
mod plan;
mod reloader;
mod report;
mod retire;
mod source;
mod trigger;

pub use dotenv::DotenvReport;
pub use loading::{LoadRefusal, LoadResult};
pub use plan::{Plan, plan};
pub use reloader::{LastReload, ReloadHandle, ReloadResult, Reloader};
pub use report::{ReloadError, ReloadOptions, ReloadReport, Trigger};
pub use trigger::watch_sources;
