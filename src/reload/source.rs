//! Reading a configuration whose files somebody may be writing at this very moment.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::config::{self, Dotenv, LoadError, Loaded, Sources};

/// Two reads this far apart must agree; a file not written for longer than that is taken as it is.
pub(super) const SETTLE: Duration = Duration::from_millis(300);
/// Reads before a file that never stands still is an error.
const ATTEMPTS: u32 = 12;
/// The code of a file that never stands still; `docs/configuration.md` explains it.
const RESTLESS: config::Code = "HGR0005";

/// What one attempt gave: the load's outcome and the bytes it is about.
pub(super) type Outcome = Result<Loaded, Box<LoadError>>;

/// `dotenv`: the gateway's choice of a `.env` file.
///
/// Loads from stable bytes: all sources older than [`SETTLE`], or two loads in a row that read the same.
///
/// `in_force`: when all its sources still hold the same bytes, it is what a load would give, and nothing is parsed.
pub(super) async fn load_stable(path: &Path, dotenv: &Dotenv, in_force: Option<&Loaded>) -> Outcome {
    if let Some(same) = in_force.filter(|loaded| unchanged(loaded, dotenv)) {
        return Ok(same.clone());
    }
    let mut last = load(path, dotenv).await;
    for _ in 0..ATTEMPTS {
        let read = sources(&last);
        if at_rest(read) {
            return last;
        }
        let before = read.clone();
        tokio::time::sleep(SETTLE).await;
        last = load(path, dotenv).await;
        if *sources(&last) == before && was_read(&last) {
            return last;
        }
    }
    if was_read(&last) { Err(restless(path)) } else { last }
}

/// Somebody writes and writes. What was read last may be half of what is meant.
fn restless(path: &Path) -> Box<LoadError> {
    let time = SETTLE * ATTEMPTS;
    let problem = config::Problem {
        code: RESTLESS,
        path: String::new(),
        place: Some(config::Place { file: path.to_owned(), line: 1, column: 1 }),
        message: format!("it was still being changed after {:.1} s, or a file it refers to was", time.as_secs_f64()),
        help: Some("reload again when the writing is done".to_owned()),
    };
    Box::new(LoadError { stage: "read", problems: vec![problem], sources: Sources::default(), sha256: String::new() })
}

/// The sources that an outcome is about.
pub(super) fn sources(outcome: &Outcome) -> &Sources {
    match outcome {
        Ok(loaded) => &loaded.sources,
        Err(error) => &error.sources,
    }
}

/// The main file was there, and its bytes were taken. One that is missing in this moment is "not yet": editors replace
/// files by two steps.
pub(super) fn was_read(outcome: &Outcome) -> bool {
    sources(outcome).files.first().is_some_and(|(_, bytes)| bytes.is_some())
}

async fn load(path: &Path, dotenv: &Dotenv) -> Outcome {
    let (path, dotenv) = (path.to_owned(), dotenv.clone());
    match tokio::task::spawn_blocking(move || config::load_with_dotenv(&path, &dotenv)).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let problem = config::Problem {
                code: "HGR0001",
                path: String::new(),
                place: None,
                message: format!("the loader failed: {error}; this is a bug of hangar"),
                help: None,
            };
            let sources = Sources::default();
            Err(Box::new(LoadError { stage: "read", problems: vec![problem], sources, sha256: String::new() }))
        }
    }
}

/// The process's own variables do not change while it runs, so equal bytes give an equal configuration, and an equal report
/// about a `.env` file that nothing uses. A link that leads elsewhere
/// now, or a source that is missing, makes no difference to that.
fn unchanged(loaded: &Loaded, dotenv: &Dotenv) -> bool {
    loaded.dotenv.found == dotenv.now()
        && !loaded.sources.files.is_empty()
        && all(&loaded.sources).all(|(path, known)| match (config::read_source(path), known) {
            (Ok(bytes), Some(known)) => bytes[..] == known[..],
            _ => false,
        })
}

/// What counts and what is only looked at.
fn all(sources: &Sources) -> impl Iterator<Item = &(PathBuf, Option<Arc<[u8]>>)> {
    sources.files.iter().chain(&sources.aside)
}

/// No source was written within [`SETTLE`], and none is missing. A time stamp in the future proves nothing.
fn at_rest(sources: &Sources) -> bool {
    let now = SystemTime::now();
    !sources.files.is_empty()
        && all(sources).all(|(path, bytes)| {
            let written = config::look_at(path).and_then(|data| data.modified());
            bytes.is_some() && written.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > SETTLE))
        })
}
