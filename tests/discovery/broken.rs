//! A fragment that is wrong is told, keeps its last good provider, and blocks nobody.

use std::{fs, io::Write, thread, time::Duration};

use crate::{
    WATCHED, fragment,
    gateway::{Home, SOON, UNWATCHED, eventually, json},
    main_file, put_fragment, reload, start, unwatched,
};

#[test]
fn its_last_good_provider_stays_and_the_main_file_is_not_blocked() {
    let home = Home::new();
    let gateway = unwatched(&home);
    let pid = gateway.client.pid_of("f");
    for (text, says) in [
        ("command: [sh]\ncomand: [sh]\n", "f.yaml:2:1: comand: unknown key [HGR0102]"),
        ("command: [sh\n", "[HGR0101]"),
        ("", "f.yaml:1:1: the file is empty [HGR0107]"),
        ("command: [not-there-at-all]\n", "f.yaml:1:11: command[0]: \"not-there-at-all\" is not found"),
        ("- x\n", "f.yaml:1:1: expected a mapping, found a list [HGR0104]"),
    ] {
        put_fragment(&home, "f", text);
        let with_b = main_file(&home, UNWATCHED) + &home.provider("b", &[], "");
        let report = gateway.reload_to(&with_b, json!({}));
        assert_eq!(report["status"], "success", "{report}");
        assert!(report["warnings"][0].as_str().unwrap().contains(says), "{text:?}: {report}");
        assert_eq!(gateway.client.pid_of("f"), pid, "{text:?}");
        assert_eq!(gateway.state("b"), "cold");
        let status = gateway.client.structured("hangar_status", json!({}));
        assert!(status["last_reload"]["warnings"][0].as_str().unwrap().contains(says), "{status}");
    }
    assert!(gateway.log().contains("configuration_warning"));
    put_fragment(&home, "bad__name", "command: [sh]\n");
    let report = reload(&gateway);
    assert!(report["warnings"].to_string().contains("bad__name.yaml:1:1: the file's name"), "{report}");
    gateway.stop();
}

#[test]
fn one_that_is_wrong_at_the_start_is_told_and_the_others_serve() {
    let home = Home::new();
    fs::create_dir(home.path("conf/providers.d")).unwrap();
    put_fragment(&home, "bad", "mode: remote\n");
    put_fragment(&home, "good", &fragment(&home, "good", &[], ""));
    home.put(&main_file(&home, UNWATCHED));
    let gateway = crate::Gateway::again(&home);
    assert_eq!((gateway.state("good").as_str(), gateway.state("bad").as_str()), ("cold", "gone"));
    assert!(gateway.log().contains("bad.yaml:1:1"), "{}", gateway.log());
    put_fragment(&home, "bad", &fragment(&home, "bad", &[], ""));
    assert_eq!(reload(&gateway)["providers_added"], json!(["bad"]));
    gateway.stop();
}

#[test]
fn one_that_is_being_written_is_not_taken_before_it_is_done() {
    let home = Home::new();
    let gateway = start(&home, WATCHED);
    let path = home.path("conf/providers.d/slow.yaml");
    // Each prefix would be a valid fragment; only the last one is meant.
    let mut file = fs::File::create(&path).unwrap();
    write!(file, "{}", fragment(&home, "slow", &[], "").trim_end()).unwrap();
    for n in 0..20 {
        thread::sleep(Duration::from_millis(100));
        write!(file, "\n# {n}").unwrap();
        file.flush().unwrap();
        assert_eq!(gateway.state("slow"), "gone", "still being written");
    }
    drop(file);
    eventually("it is taken", SOON, || (gateway.state("slow") == "cold").then_some(()));
    gateway.stop();
}
