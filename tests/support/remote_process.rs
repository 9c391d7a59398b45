//! The test remote (`tests/support/remote.rs`) as a process.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// Ends when its stdin is closed: with this value.
pub struct Remote {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Remote {
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hangar-test-remote"));
        let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("an address");
        Self { child, address: address.trim().to_owned() }
    }

    /// One line of YAML. `keys`: more of the provider's keys, each after a comma.
    pub fn provider(&self, name: &str, keys: &str) -> String {
        format!("  {name}: {{mode: remote, endpoint: \"http://{}/mcp\"{keys}}}\n", self.address)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
