//! The fuzz targets on a stable compiler: everything the long runs have kept, then some seconds of mutations of it. `make fuzz` is
//! the real thing; this finds what a change has just broken.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hangar::fuzzing::TARGETS;

/// For each target; `HANGAR_FUZZ_SECONDS` for more.
const TIME: Duration = Duration::from_secs(3);
/// Longest input.
const LONGEST: usize = 8 * 1024;
/// The corpora of all targets together.
const LARGEST: u64 = 1024 * 1024;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The same run everywhere.
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Says which input it was when a law is broken.
fn hold(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-broken"));
        fs::write(&kept, input).unwrap();
        panic!("the target {name} fails with the input in {}: {:?}", kept.display(), String::from_utf8_lossy(input));
    }
}

/// One to four changes: bytes, pieces of other inputs, repetitions, cuts.
fn mutated(all: &[Vec<u8>], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = all[dice.usize(..all.len())].clone();
    for _ in 0..dice.usize(1..5) {
        let at = dice.usize(..text.len() + 1);
        let end = dice.usize(at..text.len() + 1).min(at + 64);
        match dice.u8(..6) {
            0 if at < text.len() => text[at] ^= 1 << dice.u8(..8),
            1 => text.insert(at, *dice.choice(b"{}[]\":,\\ \n\r\t0-.eEu\0\xff=").unwrap()),
            2 => drop(text.drain(at..end)),
            3 => {
                let piece = text[at..end].to_vec();
                text.splice(at..at, piece);
            }
            4 => {
                let other = &all[dice.usize(..all.len())];
                let from = dice.usize(..other.len() + 1);
                let piece = other[from..dice.usize(from..other.len() + 1)].to_vec();
                text.splice(at..end, piece);
            }
            _ => text.truncate(at),
        }
    }
    text.truncate(LONGEST);
    text
}

fn run(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let all = corpus(name);
    assert!(!all.is_empty(), "no corpus for {name}");
    all.iter().for_each(|input| hold(name, target, input));
    target(b"");
    let seconds = std::env::var("HANGAR_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (time, began) = (seconds.map_or(TIME, Duration::from_secs), Instant::now());
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut count = 0;
    while began.elapsed() < time {
        hold(name, target, &mutated(&all, &mut dice));
        count += 1;
    }
    eprintln!("{name}: {} inputs of the corpus, {count} mutations, seed {seed}", all.len());
}

#[test]
fn envelope() {
    run("envelope");
}

#[test]
fn headers() {
    run("headers");
}

#[test]
fn lines() {
    run("lines");
}

#[test]
fn request_state() {
    run("request_state");
}

#[test]
fn sse() {
    run("sse");
}

#[test]
fn the_corpora_are_small_and_each_belongs_to_a_target() {
    let mut size = 0;
    for entry in fs::read_dir(folder("")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "fuzz/corpus/{name} is nobody's");
        size += fs::read_dir(entry.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    }
    assert!(size < LARGEST, "{size} bytes; minimise them: make fuzz-corpus");
}

#[test]
fn a_broken_law_is_told_with_its_input() {
    let told = catch_unwind(|| hold("self-test", |input| assert_ne!(input, b"bad"), b"bad")).unwrap_err();
    assert!(told.downcast_ref::<String>().is_some_and(|text| text.contains("self-test") && text.contains("bad")));
}
