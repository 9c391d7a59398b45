//! What the machine does to the gateway: it runs out of something, or its clock jumps.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    gateway::{Home, SOON, eventually, json, ms},
    row::{Row, Told, chaos, open},
};

const AUDIT: &str = "audit: {file: ../logs/disk/audit.jsonl}\n";

/// Of a running process; `None`: as this one has it.
fn limit(pid: u32, resource: Resource, most: Option<u64>) {
    let ours = getrlimit(resource);
    let wanted = Rlimit { current: most.or(ours.current), maximum: ours.maximum };
    prlimit(Pid::from_raw(pid.cast_signed()), resource, wanted).unwrap();
}

/// Processor time that it has used, in milliseconds.
fn used(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths of a second.
    [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

fn sockets(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => sockets(&entry.path()),
            Ok(kind) if kind.is_socket() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn no_descriptor_for_a_process() {
    let mut row =
        Row::begin("no_descriptor_for_a_process", "the gateway has no descriptors left (EMFILE) for a start", |home| {
            chaos(home, "")
        });
    let pid = row.gateway.pid();
    thread::sleep(ms(300));
    limit(pid, Resource::Nofile, Some(open(pid) as u64 + 3));
    let says = &["Too many open files", "tried again in"];
    row.fails("", Vec::new(), &Told { error: "provider_not_started", fault: "internal", says, within: ms(1000) });
    limit(pid, Resource::Nofile, None);
    row.serves_again();
    row.end();
}

#[test]
fn no_descriptor_for_a_client() {
    let mut row = Row::begin(
        "no_descriptor_for_a_client",
        "the gateway has no descriptors left (EMFILE) for connections",
        |home| chaos(home, ""),
    );
    let pid = row.gateway.pid();
    row.works();
    let path = sockets(&row.home.path("run")).pop().expect("the admin socket");
    thread::sleep(ms(300));
    let before = used(pid);
    thread::sleep(ms(1000));
    let usual = used(pid) - before;
    limit(pid, Resource::Nofile, Some(open(pid) as u64 + 3));
    let began = Instant::now();
    let mut waiting: Vec<_> = (0..10).map(|_| UnixStream::connect(&path).unwrap()).collect();
    row.gateway.wait_for_log("http_accept_failed");
    row.detected(began.elapsed(), ms(1000));
    row.says("no error: it is accepted when there is room again; the log says `http_accept_failed`");
    let before = used(pid);
    thread::sleep(ms(1000));
    let short = used(pid) - before;
    assert!(usual > 0);
    assert!(short < usual + 500, "{usual} ms of processor time in a second before, {short} ms without descriptors");
    row.note(format!("processor: {usual} ms in the second before, {short} ms in one of these"));
    row.works();
    assert_eq!(row.gateway.log().matches("http_accept_failed").count(), 1);
    limit(pid, Resource::Nofile, None);
    for stream in &mut waiting {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    row.serves_again();
    row.end();
}

/// A disk of 32 KiB; `None`: this user may not mount one.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32k", "none"]).arg(&at).output();
        mounted.is_ok_and(|out| out.status.success()).then(|| Self(at))
    }

    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(&self.0).status();
    }
}

/// Begins with `logs/disk` as `make` has made it.
fn audited(name: &'static str, fault: &'static str) -> Row {
    let faulty = |home: &Home| {
        fs::create_dir(home.path("logs/disk")).unwrap();
        chaos(home, "")
    };
    Row::begin_with(name, fault, AUDIT, faulty, &[])
}

#[test]
fn a_full_disk_below_the_audit_file() {
    let mut disk = None;
    let faulty = |home: &Home| {
        fs::create_dir(home.path("logs/disk")).unwrap();
        disk = Disk::mount(home.path("logs/disk"));
        if disk.is_none() {
            // As good as full, for whoever may not mount.
            std::os::unix::fs::symlink("/dev/full", home.path("logs/disk/audit.jsonl")).unwrap();
        }
        chaos(home, "")
    };
    let name = "a_full_disk_below_the_audit_file";
    let mut row = Row::begin_with(name, "ENOSPC on the audit file", AUDIT, faulty, &[]);
    row.says("no error: calls go on, the log says `audit_not_written` once, what is lost is counted");
    row.gateway.wait_for_log("audit_not_written");
    row.works();
    match &disk {
        Some(disk) => disk.grow(),
        None => fs::remove_file(row.home.path("logs/disk/audit.jsonl")).unwrap(),
    }
    recorded_again(&mut row);
    row.end();
    drop(disk);
}

#[test]
fn a_limit_on_the_size_of_files() {
    let mut row = audited("a_limit_on_the_size_of_files", "EFBIG and SIGXFSZ on the audit file (`ulimit -f`)");
    let pid = row.gateway.pid();
    limit(pid, Resource::Fsize, Some(8192));
    row.says("no error: calls go on, the log says `audit_not_written` once, what is lost is counted");
    row.gateway.wait_for_log("audit_not_written");
    row.works();
    limit(pid, Resource::Fsize, None);
    recorded_again(&mut row);
    row.end();
}

/// There is room again: it is written again, and the first line says how many are missing.
fn recorded_again(row: &mut Row) {
    let began = Instant::now();
    row.gateway.wait_for_log("audit_written_again");
    row.note(format!("written again after {} ms", began.elapsed().as_millis()));
    assert_eq!(row.gateway.log().matches("audit_not_written").count(), 1);
    let file = row.home.path("logs/disk/audit.jsonl");
    eventually("the gap is told", SOON, || fs::read_to_string(&file).ok()?.contains("AuditRecordsLost").then_some(()));
    row.client.structured("hangar_list", json!({}));
    row.serves_again();
}

/// Where a distribution puts it; `HANGAR_FAKETIME` names another place.
fn faketime() -> Option<PathBuf> {
    let named = std::env::var_os("HANGAR_FAKETIME").map(PathBuf::from);
    let usual = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|triplet| format!("/usr/lib/{triplet}/faketime").into());
    let places = usual.map(|dir: PathBuf| dir.join("libfaketime.so.1"));
    named.into_iter().chain(places).find(|path| path.exists())
}

#[test]
fn the_clock_jumps() {
    let Some(library) = faketime() else {
        eprintln!("!!! skipped: there is no libfaketime (HANGAR_FAKETIME names it)");
        return;
    };
    let clock = tempfile::NamedTempFile::new().unwrap();
    let jump = |to: &str| fs::write(clock.path(), format!("{to}\n")).unwrap();
    jump("+0");
    let variables = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.path().to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // As when somebody sets the clock: the time since the boot and what is written on the disk stay.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    let fault = "the clock jumps 400 days ahead, and back (`idle_ttl_s: 60`)";
    let keys = "idle_ttl_s: 60, health_check_interval_s: 1";
    let mut row = Row::begin_with("the_clock_jumps", fault, "", |home| chaos(home, keys), &variables);
    let pid = row.works();
    row.says("no error: what is waited for is measured by a clock that does not jump");
    let yaml = fs::read_to_string(row.home.config()).unwrap();
    for (round, to) in ["+400d", "-400d", "+0"].into_iter().enumerate() {
        // A call that times out in its own time, whatever the clock says meanwhile.
        let (call, began) = (row.send("hang"), Instant::now());
        thread::sleep(ms(200));
        jump(to);
        let answer = call.wait();
        let took = began.elapsed();
        assert_eq!(answer["error"]["data"]["error"], "timeout", "{answer}");
        assert!(took > ms(950) && took < ms(3000), "{to}: {took:?}");
        assert_eq!(row.works(), pid, "{to}: nothing was idle, nothing was unhealthy");
        // A file whose time stamp lies in the future now, or far back.
        row.home.put(&format!("{yaml}# {round}\n"));
        let report = row.client.structured("hangar_reload_config", json!({}));
        assert_eq!(report["providers_unchanged"], json!(["far", "faulty", "near"]), "{report}");
    }
    let log = row.gateway.log();
    let years: std::collections::BTreeSet<_> = log.lines().filter_map(|line| line.get(..4)).collect();
    assert!(years.len() >= 3, "the clock did jump: {years:?}");
    row.serves_again();
    row.end();
}
