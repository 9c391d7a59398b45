//! A stdio gateway that can lose its parent, its client and its wits one by one.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
};

use crate::gateway::{Being, Home, SOON, Signal, eventually, holds_for, ms, signal};

/// A gateway whose parent is a shell in between, which can be taken away from it.
pub struct Orphan {
    pub being: Being,
    shell: Child,
    /// The only end that anybody can write to; `None` with a socket.
    pub stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Orphan {
    pub fn start(home: &Arc<Home>, stdin: Stdio, options: &str) -> Self {
        let number = fs::read_dir(home.path("logs")).unwrap().count();
        let log = home.path(&format!("logs/orphan-{number}.log"));
        // The shell must not hold the gateway's stdin open, nor read from it.
        let script = format!(
            "exec 3<&0; \"$0\" serve --config \"$1\" {options} <&3 3<&- >/dev/null 2>\"$2\" & \
             exec </dev/null 3<&-; echo $!; wait"
        );
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_hangar")])
            .args([home.config(), log.clone()])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path(""))
            .env("XDG_STATE_HOME", home.path("state"))
            .env("XDG_RUNTIME_DIR", home.path("run"))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stdin = shell.stdin.take();
        let being = Being::of(line.trim().parse().unwrap()).expect("it runs");
        let orphan = Self { being, shell, stdin, log };
        eventually("the first gateway has started", SOON, || orphan.log().contains("gateway_started").then_some(()));
        let record = format!("-{}.json", orphan.being.pid);
        eventually("its record is written", SOON, || {
            let mut entries = fs::read_dir(home.path("run/hangar")).unwrap().flatten();
            entries.find(|e| e.path().to_string_lossy().ends_with(&record) && e.metadata().unwrap().len() > 0)
        });
        orphan
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn lose_parent(&mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }

    /// Hung: it does not notice what happens to its client.
    pub fn hang(&self) {
        signal(self.being.pid, Signal::STOP);
    }

    pub fn assert_kept(&self) {
        holds_for("it is left alone", ms(1500), || self.being.lives());
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.being.lives() {
            signal(self.being.pid, Signal::KILL);
        }
        // It may have been taken away already.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
