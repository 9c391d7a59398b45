//! `discovery:` of the file, and the directory of fragments that it may name: one provider a file, `NAME.yaml`, with what
//! stands under a provider's name. A fragment that is wrong is told and blocks nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Config, ProviderName, ProviderSpec, codes, could_clash,
    fields::Fields,
    files::{NoText, absolute},
    keys::{Section, Shape, key},
    load::Load,
    normalize,
    raw::{self, At},
    rules, shape,
    validate::Commands,
};

/// Fragments taken of one directory.
const MOST: usize = 1000;
/// Problems told of one fragment.
const TOLD: usize = 20;
/// In the place of a file's name: the names of all fragments of the directory. A file that really bears it is none.
const ALL: &str = "*.yaml";
const START: At = At { line: 1, column: 1 };

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiscoverySettings {
    /// Absolute. `None`: no directory is looked into.
    pub directory: Option<PathBuf>,
}

/// What the directory holds. `None`: it is not there, or cannot be read, and nothing is known.
pub type Fragments = Option<BTreeMap<ProviderName, Fragment>>;

#[derive(Debug, Clone)]
pub struct Fragment {
    /// Its name in the directory.
    pub file: String,
    /// `None`: it is wrong, and that is among the warnings.
    pub spec: Option<Arc<ProviderSpec>>,
}

pub(super) static DISCOVERY: Section = Section {
    id: "discovery",
    about: "Where providers are found beside this file. What is found there belongs to who put it there.",
    selector: None,
    keys: &[key("files", Shape::Fields(&FILES), "", "A directory of files with one provider each.")],
};

pub(super) static FILES: Section = Section {
    id: "files",
    about: "A directory of files with one provider each, `NAME.yaml`, which are watched as this file is.",
    selector: None,
    keys: &[key("directory", Shape::Text(&rules::PATH), "", "The directory; it may be made later.").need(&[""])],
};

pub(super) fn settings(load: &Load<'_>, discovery: &Fields) -> DiscoverySettings {
    let typed = discovery.section("files").and_then(|files| files.text("directory"));
    DiscoverySettings { directory: typed.map(|(text, _)| absolute(&load.dir, &text.text)) }
}

/// Reads the directory of `config`, if it names one. What is wrong with fragments becomes warnings.
pub(super) fn fragments(load: &mut Load<'_>, config: &Config, file: &Fields) -> Fragments {
    let Some(directory) = &config.discovery.directory else { return Some(BTreeMap::new()) };
    let names = match load.files.text(&directory.join(ALL)) {
        Ok(names) => names,
        Err(NoText::Missing) => return None,
        Err(why) => {
            let at = file.section("discovery").and_then(|d| d.section("files")).map(|files| files.at);
            let mark = load.enter("discovery");
            let message = format!("the directory {}", why.phrase());
            load.warn("files", codes::UNREADABLE, at, message, None);
            load.leave(mark);
            return None;
        }
    };
    let mut commands = Commands::default();
    let mut found: BTreeMap<ProviderName, Fragment> = BTreeMap::new();
    for name in names.lines() {
        let path = directory.join(name);
        let outer = load.turn_to(path.clone());
        let provider = named(load, name);
        let spec = provider.as_ref().and_then(|provider| {
            let spec = fragment(load, &path, &mut commands);
            is_free(load, provider, file, &found);
            spec
        });
        let problems = load.turn_back(outer);
        let spec = spec.filter(|_| problems.is_empty()).map(Arc::new);
        load.warnings.extend(problems.into_iter().take(TOLD));
        if let Some(provider) = provider {
            found.insert(provider, Fragment { file: name.to_owned(), spec });
        }
    }
    Some(found)
}

/// The file's name is the provider's.
fn named(load: &mut Load<'_>, file: &str) -> Option<ProviderName> {
    let name = file.strip_suffix(".yaml").and_then(ProviderName::new);
    if name.is_none() {
        let message = "the file's name, without `.yaml`, is the provider's: it must be 1 to 64 letters, digits, `_` and `-`, \
                       begin with a letter and hold no `__`";
        load.problem(codes::PROVIDER_NAME, Some(START), message, None);
    }
    name
}

fn fragment(load: &mut Load<'_>, path: &Path, commands: &mut Commands) -> Option<ProviderSpec> {
    let text = match load.files.text(path) {
        Ok(text) => text,
        Err(why) => {
            load.unreadable(&why);
            return None;
        }
    };
    let root = load.parsed(raw::parse(&text))?;
    let fields = shape::read_provider(load, root.as_ref())?;
    normalize::provider(load, &fields, commands)
}

/// The main file comes first, then the fragments in the order of their names.
fn is_free(load: &mut Load<'_>, name: &ProviderName, file: &Fields, before: &BTreeMap<ProviderName, Fragment>) {
    let in_file = ["providers", "groups", "catalog"].into_iter().find_map(|section| {
        let (other, at, _) = file.map(section).iter().find(|(other, ..)| could_clash(name, other))?;
        Some(format!("`{section}.{other}` of the configuration file (line {})", at.line))
    });
    let fragment = || before.iter().find(|(other, _)| could_clash(name, other.as_str()));
    if let Some(other) = in_file.or_else(|| fragment().map(|(_, other)| format!("the fragment {}", other.file))) {
        let message = format!("{other} has the name `{name}`, or one as good as it");
        load.problem(codes::FRAGMENT_NAME, Some(START), message, Some("give one of the two another name".to_owned()));
    }
}

// === the directory as a source ===

/// Whether the path stands for the names of a directory's fragments.
pub(super) fn is_listing(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ALL)
}

/// Those names, sorted, one a line. Hidden ones are somebody's own business (`..data`, an editor's copy).
pub(super) fn listing(path: &Path) -> io::Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(path))? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if name.ends_with(".yaml") && !name.starts_with('.') && !name.contains(char::is_control) {
            names.push(name);
        }
        if names.len() > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it holds more than {MOST} fragments")));
        }
    }
    names.sort_unstable();
    Ok(names.join("\n").into_bytes())
}
