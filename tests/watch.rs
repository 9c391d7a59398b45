//! A saved file is noticed, however it was saved, and nothing else is taken for one. CONTRACT sections 2 and 8, PITFALLS
//! P1 to P12, P32, P33, H9.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use gateway::{Gateway, Home, SOON, Signal, config, eventually, holds_for, json, ms, put};

/// The directory watch; the poll is so slow that it cannot be what notices.
const WATCHDOG: &str = "config_reload: {interval_s: 600}\n";
const POLL: &str = "config_reload: {use_watchdog: false, interval_s: 1}\n";
/// CONTRACT section 8, and a moment for a busy machine.
const WITHIN: [(&str, Duration); 2] = [(WATCHDOG, ms(2300)), (POLL, ms(3300))];

/// A gateway that watches, with one provider `p0`; further rounds are `p1`, `p2`...
struct Watch {
    home: Arc<Home>,
    gateway: Gateway,
    settings: &'static str,
    within: Duration,
}

impl Watch {
    fn over(way: (&'static str, Duration)) -> Self {
        let home = Home::new();
        let gateway = Gateway::with_settings(&home, &home.provider("p0", &[], ""), way.0);
        Self { home, gateway, settings: way.0, within: way.1 }
    }

    /// On a config file at another place, which must be there.
    fn on(home: Arc<Home>, config: &Path, way: (&'static str, Duration)) -> Self {
        let gateway = Gateway::spawn_on(&home, config);
        gateway.client.initialize(json!({}));
        Self { home, gateway, settings: way.0, within: way.1 }
    }

    fn text(home: &Home, settings: &str, round: usize) -> String {
        config(&home.provider(&format!("p{round}"), &[], ""), settings)
    }

    fn yaml(&self, round: usize) -> String {
        Self::text(&self.home, self.settings, round)
    }

    /// Round `round` must be in force in time, by a reload of the watcher's own.
    fn assert_applied(&self, what: &str, round: usize) {
        let name = format!("p{round}");
        let what = format!("{what} is applied (settings: {})", self.settings.trim());
        eventually(&what, self.within, || (self.gateway.state(&name) == "cold").then_some(()));
        let trigger = if self.settings == POLL { "poll" } else { "file_watcher" };
        let counted = format!("trigger=\"{trigger}\",result=\"success\"");
        // The reload is counted right behind the commit, not with it.
        eventually(&format!("{what}, counted"), SOON, || self.gateway.reloads().1.contains(&counted).then_some(()));
    }

    fn assert_no_reload(&self, what: &str, mut disturb: impl FnMut()) {
        let before = self.gateway.reloads();
        let until = Instant::now() + ms(1500);
        while Instant::now() < until {
            disturb();
            std::thread::sleep(ms(50));
        }
        holds_for(what, self.within, || self.gateway.reloads() == before);
        assert!(!self.gateway.log().contains("config_file_modified_detected"), "{what}");
    }
}

fn rename_save(path: &Path, text: &str) {
    let scratch = path.with_extension("new");
    fs::write(&scratch, text).unwrap();
    fs::rename(scratch, path).unwrap();
}

#[test]
fn p01_in_place_rename_and_delete_saves_are_seen_by_the_watch() {
    every_simple_save_is_seen(WITHIN[0]);
}

#[test]
fn p01_a_save_in_the_moment_of_the_start_is_seen() {
    for _ in 0..3 {
        let home = Home::new();
        put(&home.config(), &Watch::text(&home, WATCHDOG, 0));
        let gateway = Gateway::spawn(&home);
        gateway.wait_for_log("configuration_reloaded requested_by=\"boot\"");
        fs::write(home.config(), Watch::text(&home, WATCHDOG, 1)).unwrap();
        gateway.client.initialize(json!({}));
        let watch = Watch { home, gateway, settings: WATCHDOG, within: WITHIN[0].1 };
        watch.assert_applied("a save right after the boot", 1);
        watch.gateway.stop();
    }
}

#[test]
fn p06_in_place_rename_and_delete_saves_are_seen_by_the_poll_alone() {
    every_simple_save_is_seen(WITHIN[1]);
}

fn every_simple_save_is_seen(way: (&'static str, Duration)) {
    let watch = Watch::over(way);
    let path = watch.home.config();
    fs::write(&path, watch.yaml(1)).unwrap();
    watch.assert_applied("a write in place", 1);
    for round in [2, 3] {
        rename_save(&path, &watch.yaml(round));
        watch.assert_applied("a save by rename", round);
    }
    fs::remove_file(&path).unwrap();
    std::thread::sleep(ms(100));
    fs::write(&path, watch.yaml(4)).unwrap();
    watch.assert_applied("delete and create again", 4);
    // Atomically, the old file kept as a backup, as vim does.
    fs::rename(&path, path.with_extension("yaml~")).unwrap();
    fs::write(&path, watch.yaml(5)).unwrap();
    watch.assert_applied("rename away and write anew", 5);
    watch.gateway.stop();
}

#[test]
fn p07_h09_a_back_dated_file_is_seen_both_ways() {
    for way in WITHIN {
        let watch = Watch::over(way);
        let scratch = watch.home.path("conf/next");
        let mut file = File::create(&scratch).unwrap();
        file.write_all(watch.yaml(1).as_bytes()).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        fs::rename(&scratch, watch.home.config()).unwrap();
        watch.assert_applied("a file older than the one before", 1);
        watch.gateway.stop();
    }
}

#[test]
fn p07_a_change_that_keeps_size_and_time_is_seen_both_ways() {
    for way in WITHIN {
        let watch = Watch::over(way);
        let path = watch.home.config();
        let before = fs::metadata(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let other = text.replace("p0", "p1");
        assert_eq!(other.len(), text.len());
        let mut file = File::options().write(true).truncate(true).open(&path).unwrap();
        file.write_all(other.as_bytes()).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        drop(file);
        watch.assert_applied("other bytes, same size, same time", 1);
        watch.gateway.stop();
    }
}

/// The shape of a mounted ConfigMap: `config.yaml -> ..data/config.yaml`, `..data -> ..v1`.
fn config_map(home: &Home, settings: &str, round: usize) -> PathBuf {
    let dir = home.path("conf");
    let version = dir.join(format!("..v{round}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("config.yaml"), Watch::text(home, settings, round)).unwrap();
    let scratch = dir.join("..data_tmp");
    symlink(format!("..v{round}"), &scratch).unwrap();
    fs::rename(scratch, dir.join("..data")).unwrap();
    if round > 0 {
        fs::remove_dir_all(dir.join(format!("..v{}", round - 1))).unwrap();
    } else {
        symlink("..data/config.yaml", home.config()).unwrap();
    }
    home.config()
}

#[test]
fn p02_a_configmap_data_swap_is_seen_every_time_both_ways() {
    for way in WITHIN {
        let home = Home::new();
        let path = config_map(&home, way.0, 0);
        let watch = Watch::on(home.clone(), &path, way);
        for round in 1..=3 {
            config_map(&home, way.0, round);
            watch.assert_applied("a ..data swap", round);
        }
        watch.gateway.stop();
    }
}

#[test]
fn p02_a_swap_of_a_linked_directory_is_seen_every_time() {
    // As git-sync and release directories do it: the directory in the path is the link.
    let home = Home::new();
    let current = home.path("current");
    let release = |round: usize| {
        let dir = home.path(&format!("release-{round}"));
        fs::create_dir(&dir).unwrap();
        put(&dir.join("config.yaml"), &Watch::text(&home, WATCHDOG, round));
        let scratch = home.path("next");
        symlink(&dir, &scratch).unwrap();
        fs::rename(scratch, &current).unwrap();
    };
    release(0);
    let watch = Watch::on(home.clone(), &current.join("config.yaml"), WITHIN[0]);
    for round in 1..=2 {
        release(round);
        watch.assert_applied("a swap of the directory", round);
    }
    watch.gateway.stop();
}

#[test]
fn p10_a_directory_that_is_replaced_is_watched_again() {
    let watch = Watch::over(("config_reload: {interval_s: 1}\n", ms(3300)));
    let dir = watch.home.path("conf");
    let moved = watch.home.path("conf-before");
    fs::rename(&dir, &moved).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(watch.home.config(), watch.yaml(1)).unwrap();
    eventually("the poll sees it", ms(3300), || (watch.gateway.state("p1") == "cold").then_some(()));
    let slow = Watch::text(&watch.home, WATCHDOG, 2);
    fs::write(watch.home.config(), slow).unwrap();
    eventually("the poll goes", ms(3300), || (watch.gateway.state("p2") == "cold").then_some(()));
    // From here on nothing but the directory watch can notice in time.
    for round in 3..=4 {
        fs::write(watch.home.config(), Watch::text(&watch.home, WATCHDOG, round)).unwrap();
        eventually("the watch sees it", ms(2300), || {
            (watch.gateway.state(&format!("p{round}")) == "cold").then_some(())
        });
    }
    watch.gateway.stop();
}

#[test]
fn p04_h05_a_file_written_in_chunks_is_applied_once_and_whole() {
    for way in WITHIN {
        let watch = Watch::over(way);
        let yaml = watch.yaml(0).replace("providers:\n", "providers:\n  first: {command: [cat]}\n")
            + &watch.home.provider("last", &[], "");
        let mut file = File::create(watch.home.config()).unwrap();
        for chunk in yaml.as_bytes().chunks(yaml.len() / 14) {
            file.write_all(chunk).unwrap();
            std::thread::sleep(ms(110));
        }
        drop(file);
        eventually("the whole file is applied", watch.within, || (watch.gateway.state("last") == "cold").then_some(()));
        assert_eq!(watch.gateway.state("p0"), "cold");
        let log = watch.gateway.log();
        assert!(!log.contains("provider_removed"), "p0 was never taken away by half a file: {log}");
        watch.gateway.stop();
    }
}

#[test]
fn p05_a_writer_that_never_stops_starves_nobody() {
    let watch = Watch::over(WITHIN[0]);
    let noise = watch.home.path("conf/noise.log");
    fs::write(watch.home.config(), watch.yaml(1)).unwrap();
    let mut writes = 0;
    eventually("applied under constant writes nearby", ms(7000), || {
        writes += 1;
        fs::write(&noise, writes.to_string()).unwrap();
        (watch.gateway.state("p1") == "cold").then_some(())
    });
    watch.gateway.stop();
}

#[test]
fn p03_reading_touching_and_changing_the_mode_reload_nothing() {
    for way in WITHIN {
        let watch = Watch::over(way);
        let path = watch.home.config();
        let mut round = 0;
        watch.assert_no_reload("reads, touches, modes", || {
            round += 1;
            fs::read(&path).unwrap();
            File::options().append(true).open(&path).unwrap().set_modified(SystemTime::now()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600 + round % 2 * 0o44)).unwrap();
        });
        watch.gateway.stop();
    }
}

#[test]
fn p03_noise_of_siblings_reloads_nothing() {
    let watch = Watch::over(WITHIN[0]);
    let dir = watch.home.path("conf");
    let mut round = 0;
    watch.assert_no_reload("siblings", || {
        round += 1;
        fs::write(dir.join("other.yaml"), format!("providers: {{x{round}: {{}}}}")).unwrap();
        fs::write(dir.join(".config.yaml.swp"), "swap").unwrap();
        let _ = fs::remove_file(dir.join(".config.yaml.swp"));
    });
    watch.gateway.stop();
}

#[test]
fn p33_there_and_back_within_the_quiet_time_is_nothing() {
    let watch = Watch::over(WITHIN[0]);
    let pid = watch.gateway.client.pid_of("p0");
    for _ in 0..3 {
        fs::write(watch.home.config(), watch.yaml(1)).unwrap();
        std::thread::sleep(ms(100));
        fs::write(watch.home.config(), watch.yaml(0)).unwrap();
        std::thread::sleep(ms(100));
    }
    holds_for("nothing is reloaded", watch.within, || watch.gateway.reloads().0 == 1);
    assert_eq!(watch.gateway.client.pid_of("p0"), pid);
    watch.gateway.stop();
}

#[test]
fn p11_an_env_file_and_a_referenced_file_are_sources_like_the_config_itself() {
    for way in WITHIN {
        let home = Home::new();
        // Each in a directory of its own, away from the config file.
        for dir in ["env", "secrets"] {
            fs::create_dir(home.path(dir)).unwrap();
        }
        let (env, secret) = (home.path("env/a.env"), home.path("secrets/token"));
        put(&env, "COLOUR=red\n");
        put(&secret, "one");
        let keys = format!("env_file: [{}], env: {{TOKEN: '${{file:{}}}'}}", env.display(), secret.display());
        let gateway = Gateway::with_settings(&home, &home.provider("a", &[], &keys), way.0);
        let value = |name: &str| gateway.client.text("a__env", json!({"name": name}));
        assert_eq!((value("COLOUR"), value("TOKEN")), ("\"red\"".into(), "\"one\"".into()));
        fs::write(&env, "COLOUR=blue\n").unwrap();
        eventually("the env file is applied", way.1, || (value("COLOUR") == "\"blue\"").then_some(()));
        rename_save(&secret, "two");
        eventually("the secret is applied", way.1, || (value("TOKEN") == "\"two\"").then_some(()));
        home.assert_never_two("a");
        gateway.stop();
    }
}

#[test]
fn p11_a_missing_env_file_that_appears_mends_the_configuration() {
    let watch = Watch::over(WITHIN[0]);
    fs::create_dir(watch.home.path("env")).unwrap();
    let env = watch.home.path("env/late.env");
    let yaml = config(&watch.home.provider("p1", &[], &format!("env_file: [{}]", env.display())), WATCHDOG);
    fs::write(watch.home.config(), yaml).unwrap();
    watch.gateway.wait_for_log("configuration_reload_failed");
    assert_eq!(watch.gateway.state("p0"), "cold");
    fs::write(&env, "A=1\n").unwrap();
    watch.assert_applied("the file that was missing", 1);
    watch.gateway.stop();
}

#[test]
fn p09_a_bad_file_is_told_once_and_the_watch_lives_on() {
    for way in WITHIN {
        let watch = Watch::over(way);
        let pid = watch.gateway.client.pid_of("p0");
        fs::write(watch.home.config(), "providers: {bad: {comand: x}}\n").unwrap();
        watch.gateway.wait_for_log("configuration_reload_failed");
        holds_for("told once", ms(2200), || watch.gateway.log().matches("configuration_reload_failed").count() == 1);
        assert_eq!(watch.gateway.client.pid_of("p0"), pid);
        fs::write(watch.home.config(), watch.yaml(1)).unwrap();
        watch.assert_applied("a good file after a bad one", 1);
        watch.gateway.stop();
    }
}

#[test]
fn p10_a_file_that_is_away_for_a_while_changes_nothing() {
    for way in WITHIN {
        let watch = Watch::over(way);
        let pid = watch.gateway.client.pid_of("p0");
        fs::rename(watch.home.config(), watch.home.path("away")).unwrap();
        holds_for("the last good one stays", ms(2200), || watch.gateway.reloads().0 == 1);
        assert_eq!(watch.gateway.client.pid_of("p0"), pid);
        fs::rename(watch.home.path("away"), watch.home.config()).unwrap();
        holds_for("the same file is no change", ms(1500), || watch.gateway.reloads().0 == 1);
        fs::write(watch.home.config(), watch.yaml(1)).unwrap();
        watch.assert_applied("a change after the absence", 1);
        watch.gateway.stop();
    }
}

#[test]
fn h09_a_save_with_sighup_reloads_once() {
    let watch = Watch::over(("config_reload: {interval_s: 1}\n", ms(2300)));
    fs::write(watch.home.config(), watch.yaml(1)).unwrap();
    watch.gateway.signal(Signal::HUP);
    eventually("applied", watch.within, || (watch.gateway.state("p1") == "cold").then_some(()));
    // The commit is seen before the run that made it is over, and counted.
    eventually("counted", watch.within, || (watch.gateway.reloads().0 == 2).then_some(()));
    holds_for("one reload", ms(2300), || watch.gateway.reloads().0 == 2);
    watch.gateway.stop();
}

#[test]
fn a_watcher_that_is_switched_off_notices_nothing_until_it_is_switched_on() {
    let home = Home::new();
    let gateway = Gateway::with_settings(
        &home,
        &home.provider("p0", &[], ""),
        "config_reload: {enabled: false, interval_s: 1}\n",
    );
    fs::write(home.config(), Watch::text(&home, WATCHDOG, 1)).unwrap();
    holds_for("nothing", ms(2000), || gateway.state("p0") == "cold");
    gateway.signal(Signal::HUP);
    eventually("SIGHUP works all the same", ms(2000), || (gateway.state("p1") == "cold").then_some(()));
    fs::write(home.config(), Watch::text(&home, WATCHDOG, 2)).unwrap();
    eventually("switched on", ms(2300), || (gateway.state("p2") == "cold").then_some(()));
    gateway.stop();
}
