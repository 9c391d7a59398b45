//! `hangar_server_info`: this gateway, its processes, its PID file, and the other gateways of this user.

use serde_json::{Value, json};

use super::{Control, outcome::Outcome};
use crate::{
    census::{self, Ask, Gateway, Member, Role},
    host::{Process, Tree},
    registry::view,
    runtime_dir::{
        self,
        pid_file::{self, Found},
    },
    telemetry::{About, in_words},
};

impl Control {
    pub(super) async fn server_info(&self) -> Outcome {
        let mut info = self.about.json();
        let snapshot = self.registry.snapshot();
        let (healthy, reasons) = view::health(&snapshot);
        info["health"] = json!(if healthy { "healthy" } else { "degraded" });
        info["reasons"] = json!(reasons);
        info["generation"] = json!(snapshot.generation);
        let about = self.about.clone();
        // Reads a few small files for each process of the machine.
        let looked = tokio::task::spawn_blocking(move || {
            let tree = Tree::look();
            (processes(&tree), others(&tree), pid_file_status(&about))
        });
        // It fails only when the runtime ends.
        let (processes, others, pid_file) = looked.await.unwrap_or_default();
        info["processes"] = json!(processes);
        info["other_gateways"] = json!(others);
        info["pid_file_status"] = pid_file;
        Outcome::ok(&info)
    }
}

/// The gateway's own first; each shim and keeper with what everything below it uses.
fn processes(tree: &Tree) -> Vec<Value> {
    let own = std::process::id();
    let usage = tree.usage(&[own]);
    let uptime = tree.uptime(own);
    let gateway = tree.process(own).map(|process| entry("gateway", process, None, None, uptime, usage));
    let below = census::of_gateway(own, tree).into_iter().map(|member| {
        let Member { process, role, provider, uptime, usage, .. } = member;
        let server = if role == Role::Shim { tree.children(process.pid).iter().min().copied() } else { None };
        entry(role.as_str(), process, provider, server, uptime, usage)
    });
    gateway.into_iter().chain(below).collect()
}

fn entry(
    role: &str,
    process: Process,
    provider: Option<String>,
    server_pid: Option<u32>,
    uptime: Option<std::time::Duration>,
    usage: crate::host::Usage,
) -> Value {
    json!({
        "pid": process.pid,
        "role": role,
        "provider": provider,
        "server_pid": server_pid,
        "uptime_s": uptime.map(|uptime| uptime.as_secs()),
        "uptime": uptime.map(|uptime| in_words(uptime.as_secs())),
        "cpu_ms": u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
        "memory_bytes": usage.memory_bytes,
        "process_count": usage.processes,
    })
}

fn others(tree: &Tree) -> Vec<Value> {
    let found = census::gateways(None, tree);
    let others = found.iter().filter(|gateway| gateway.process.is_some() && !gateway.is_this_process());
    others
        .map(|gateway: &Gateway| {
            let mut told = gateway.json();
            // Nobody is asked for it: one that hangs would hold up the answer.
            let client = gateway.client(tree, Ask::Never);
            told["client"] = json!(client.map(|client| client.as_str()));
            told
        })
        .collect()
}

/// The file where scripts look, if this gateway keeps one, and its record.
fn pid_file_status(about: &About) -> Value {
    let held = |path: &std::path::Path| matches!(pid_file::look(path), Ok(Found::Held(_)));
    let record = runtime_dir::record_path(&about.config, std::process::id()).ok();
    json!({
        "path": about.pid_file,
        "held": about.pid_file.as_deref().map(held),
        "record": record,
        "record_held": record.as_deref().map(held),
    })
}
