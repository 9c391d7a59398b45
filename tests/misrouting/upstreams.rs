//! The raw test servers of every transport and era.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::gateway::{Home, json};

const RAW: &str = env!("CARGO_BIN_EXE_hangar-test-raw");

/// A raw server over HTTP; ends with this value.
pub struct Remote {
    child: Child,
    address: String,
    mode: String,
}

impl Remote {
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(RAW).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned(), mode: args[0].to_owned() }
    }

    /// A line of YAML.
    pub fn provider(&self, name: &str, keys: &str) -> String {
        let transport = if self.mode == "legacy-sse" { "sse" } else { "streamable_http" };
        format!(
            "  {name}: {{mode: remote, endpoint: \"http://{}/mcp\", transport: {transport}, {keys}}}\n",
            self.address
        )
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn stdio(name: &str, era: &str, keys: &str) -> String {
    format!("  {name}: {{command: {}, {keys}}}\n", json!([RAW, "stdio", "--era", era]))
}

/// `u0` to `u15`; the answers of every third one come alone, without what is told before.
pub fn sixteen(_home: &Home) -> (String, Vec<Remote>) {
    let keys = "max_concurrency: 0, call_timeout_s: 120";
    let mut remotes = Vec::new();
    let mut yaml = String::new();
    for number in 0..16 {
        let name = format!("u{number}");
        let (mode, era) = match number {
            0..7 => ("stdio", "legacy"),
            7..10 => ("stdio", "modern"),
            10 => ("json", "legacy"),
            11 => ("json", "modern"),
            12 => ("legacy-sse", "legacy"),
            13 => ("sse", "modern"),
            _ => ("sse", "legacy"),
        };
        if mode == "stdio" {
            yaml += &stdio(&name, era, keys);
        } else {
            let remote = Remote::start(&[mode, "--era", era]);
            yaml += &remote.provider(&name, keys);
            remotes.push(remote);
        }
    }
    (yaml, remotes)
}
