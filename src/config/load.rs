//! One load in progress: where it is in the file, what it has found wrong, what it has read.

use std::{
    collections::BTreeMap,
    io,
    mem::{replace, take},
    path::{Path, PathBuf},
};

use super::{
    Code, Fragments, LoadError, Loaded, Place, Problem, codes, discovery,
    files::{Files, NoText, absolute},
    keys, normalize, raw,
    raw::{At, Node, Parsed, push_key},
    shape,
    substitute::{Fault, Values},
    variables::{Asked, Variables},
};

/// Problems listed of one file; the rest is counted.
const MAX_PROBLEMS: usize = 500;

pub(super) struct Load<'e> {
    main: PathBuf,
    /// What relative paths are relative to.
    pub dir: PathBuf,
    pub files: Files<'e>,
    pub(super) variables: Variables<'e>,
    pub(super) asked: Asked,
    problems: Vec<Problem>,
    /// Problems beyond [`MAX_PROBLEMS`].
    hidden: usize,
    pub(super) warnings: Vec<Problem>,
    fragments: Fragments,
    /// Dotted path of where we are.
    trail: String,
}

/// What stands aside while another file is read.
pub(super) struct Outer {
    main: PathBuf,
    dir: PathBuf,
    problems: Vec<Problem>,
    hidden: usize,
    trail: String,
}

/// Reads `path` with `read`: the whole of [`super::load()`].
pub(super) fn run(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    variables: Variables<'_>,
) -> Result<Loaded, Box<LoadError>> {
    let main = absolute(&std::env::current_dir().unwrap_or_default(), path);
    let dir = main.parent().unwrap_or(Path::new("/")).to_owned();
    let mut load = Load {
        main: path.to_owned(),
        dir,
        files: Files::new(read),
        variables,
        asked: Asked::default(),
        problems: Vec::new(),
        hidden: 0,
        warnings: Vec::new(),
        fragments: Some(BTreeMap::new()),
        trail: String::new(),
    };
    let config = match load.files.text(path) {
        Ok(text) => load.read(&text),
        Err(why) => {
            load.unreadable(&why);
            None
        }
    };
    load.finish(config)
}

impl<'e> Load<'e> {
    fn read(&mut self, text: &str) -> Option<super::Config> {
        let root = self.parsed(raw::parse(text))?;
        let fields = shape::read_file(self, root.as_ref())?;
        let config = normalize::config(self, &fields);
        self.fragments = discovery::fragments(self, &config, &fields);
        Some(config)
    }

    /// Takes over what is wrong with a text. `None`: nothing further can be said about it.
    pub(super) fn parsed<'y>(&mut self, (root, flaws): Parsed<'y>) -> Option<Option<Node<'y>>> {
        let broken = root.is_none() && !flaws.is_empty();
        for flaw in flaws {
            let mark = self.jump(flaw.path);
            self.problem(flaw.code, Some(flaw.at), flaw.message, flaw.help);
            self.trail = mark;
        }
        (!broken).then_some(root)
    }

    /// From here on everything is about this file; give what comes back to [`Load::turn_back`].
    pub(super) fn turn_to(&mut self, file: PathBuf) -> Outer {
        let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
        Outer {
            main: replace(&mut self.main, file),
            dir: replace(&mut self.dir, dir),
            problems: take(&mut self.problems),
            hidden: take(&mut self.hidden),
            trail: take(&mut self.trail),
        }
    }

    /// The problems that were found since.
    pub(super) fn turn_back(&mut self, outer: Outer) -> Vec<Problem> {
        let Outer { main, dir, problems, hidden, trail } = outer;
        (self.main, self.dir, self.hidden, self.trail) = (main, dir, hidden, trail);
        replace(&mut self.problems, problems)
    }

    fn finish(mut self, config: Option<super::Config>) -> Result<Loaded, Box<LoadError>> {
        let dotenv = self.dotenv_read();
        let (sources, sha256) = self.files.finish();
        let main = self.main;
        let order = |p: &Problem| {
            let place = p.place.as_ref().map(|p| (p.file != main, p.file.clone(), p.line, p.column));
            (place.is_none(), place)
        };
        self.problems.sort_by_cached_key(order);
        self.warnings.sort_by_cached_key(order);
        match config {
            Some(config) if self.problems.is_empty() => {
                Ok(Loaded { config, sources, sha256, dotenv, warnings: self.warnings, fragments: self.fragments })
            }
            _ => {
                if let Some(last) = self.problems.last_mut().filter(|_| self.hidden > 0) {
                    last.help = Some(format!("{} further problems are not shown", self.hidden));
                }
                let stages = ["read", "parse", "normalize", "validate"];
                let found = |stage: &&str| self.problems.iter().any(|p| codes::stage(p.code) == *stage);
                let stage = stages.into_iter().find(found).unwrap_or("parse");
                Err(Box::new(LoadError { stage, problems: self.problems, sources, sha256 }))
            }
        }
    }

    pub(super) fn unreadable(&mut self, why: &NoText) {
        let (code, message) = why.of_main();
        let at = match why {
            NoText::NotUtf8(line) => Some(At { line: *line, column: 1 }),
            _ => None,
        };
        let place = at.unwrap_or(At { line: 1, column: 1 });
        let help = matches!(why, NoText::NotUtf8(_)).then(|| "save it as UTF-8".to_owned());
        self.problem(code, Some(place), message, help);
    }

    /// Goes one key deeper; give what comes back to [`Load::leave`].
    pub(super) fn enter(&mut self, key: &str) -> usize {
        let before = self.trail.len();
        push_key(&mut self.trail, key);
        before
    }

    pub(super) fn enter_item(&mut self, index: usize) -> usize {
        use std::fmt::Write as _;
        let before = self.trail.len();
        let _ = write!(self.trail, "[{index}]");
        before
    }

    pub(super) fn leave(&mut self, before: usize) {
        self.trail.truncate(before);
    }

    pub(super) fn jump(&mut self, path: String) -> String {
        replace(&mut self.trail, path)
    }

    /// Whether `path`, absolute, is the file that is being read.
    pub(super) fn is_main(&self, path: &Path) -> bool {
        self.main.file_name().is_some_and(|name| self.dir.join(name) == path)
    }

    /// A problem of the key we are at. `at`: in the main file.
    pub(super) fn problem(&mut self, code: Code, at: Option<At>, message: impl Into<String>, help: Option<String>) {
        let problem = self.make(code, at, message.into(), help);
        self.keep(problem);
    }

    /// A problem of a key below the one we are at.
    pub(super) fn problem_of(
        &mut self,
        key: &str,
        code: Code,
        at: At,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let mark = self.enter(key);
        self.problem(code, Some(at), message, help);
        self.leave(mark);
    }

    /// A problem with a place in another file.
    pub(super) fn problem_in(&mut self, file: &Path, code: Code, at: At, message: String) {
        let mut problem = self.make(code, None, message, None);
        problem.place = Some(Place { file: file.to_owned(), line: at.line, column: at.column });
        self.keep(problem);
    }

    fn keep(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.hidden += 1;
        }
    }

    pub(super) fn warn(
        &mut self,
        key: &str,
        code: Code,
        at: Option<At>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let mark = if key.is_empty() { self.trail.len() } else { self.enter(key) };
        let warning = self.make(code, at, message.into(), help);
        self.warnings.push(warning);
        self.leave(mark);
    }

    fn make(&self, code: Code, at: Option<At>, message: String, help: Option<String>) -> Problem {
        let place = at.map(|at| Place { file: self.main.clone(), line: at.line, column: at.column });
        Problem { code, path: self.trail.clone(), place, message, help }
    }

    /// What is said of a word or key of a later version.
    pub(super) fn refuse_later(&mut self, section: &str, key: &str, word: &str, at: At) -> bool {
        let Some(say) = keys::later(section, key, word) else { return false };
        self.problem(codes::NOT_YET, Some(at), format!("not in this version: {say}"), None);
        true
    }
}

impl Values for Load<'_> {
    fn variable(&mut self, name: &str) -> Result<Option<String>, Fault> {
        self.answer(name)
    }

    fn elsewhere(&self) -> Option<String> {
        self.dotenv_lacks_it()
    }

    fn file(&mut self, path: &str) -> Result<String, Fault> {
        let mut text = self.files.text(&absolute(&self.dir, path)).map_err(|why| Fault {
            code: codes::FILE_REFERENCE,
            message: format!("the file {path} {}", why.phrase()),
            help: home_help(path),
        })?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

/// For a path that was meant for a shell.
pub(super) fn home_help(path: &str) -> Option<String> {
    path.starts_with('~').then(|| "`~` is not expanded; write ${HOME}".to_owned())
}
