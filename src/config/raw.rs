//! What was typed, with places: YAML text -> a tree of [`Node`]s. The only module that knows the YAML crate.
//!
//! Nothing is interpreted here: a plain scalar keeps its spelling, a duplicate key keeps both entries. What YAML itself
//! allows but this file format does not (tags, several documents, clashing merge keys, alias bombs) is a problem, and
//! every such problem is collected; only a syntax error ends the run.

use std::{borrow::Cow, collections::HashMap, rc::Rc};

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::codes;

/// Nodes of one file after aliases are expanded. 1 000 providers with every key set have about 60 000.
const MAX_NODES: usize = 500_000;
/// Deepest nesting, aliases expanded. The format itself needs 6.
const MAX_DEPTH: usize = 64;
/// Flaws kept of one file; a file with more is no configuration.
const MAX_PROBLEMS: usize = 500;

/// Line and column in the main file, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct At {
    pub line: u32,
    pub column: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Node<'y> {
    pub at: At,
    pub kind: Kind<'y>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind<'y> {
    /// `plain`: not quoted and not a block, so it may be a number, `true` or null.
    Scalar {
        text: Cow<'y, str>,
        plain: bool,
    },
    List(Rc<[Node<'y>]>),
    Map(Rc<[Entry<'y>]>),
    /// Already reported; says nothing more.
    Bad,
}

#[derive(Debug, Clone)]
pub(super) struct Entry<'y> {
    pub key: Cow<'y, str>,
    pub at: At,
    pub value: Node<'y>,
    /// An earlier entry of the map has the same key; already reported.
    pub again: bool,
}

/// A problem of the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub code: &'static str,
    pub at: At,
    pub message: String,
    pub help: Option<String>,
    /// Dotted path of keys that lead there, as far as known.
    pub path: String,
}

/// The tree, and what is wrong with it. No tree: nothing further can be said about the file.
pub(super) type Parsed<'y> = (Option<Node<'y>>, Vec<Flaw>);

pub(super) fn parse(text: &str) -> Parsed<'_> {
    let options = granit_parser::options! { emit_comments: false, emit_unresolved_aliases: true };
    let mut builder = Builder { flaws: Vec::new(), anchors: HashMap::new(), nodes: 0, open: Vec::new(), root: None };
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => {
                if !builder.take(event, span) {
                    return (None, builder.flaws);
                }
            }
            Err(error) => {
                // What has been read is a torso: its missing keys would be false alarms.
                let at = At { line: narrow(error.marker().line()), column: narrow(error.marker().col()) + 1 };
                builder.flaw(codes::SYNTAX, at, format!("not valid YAML: {}", error.info()), syntax_help(text, at));
                return (None, builder.flaws);
            }
        }
    }
    (builder.root, builder.flaws)
}

/// Where the key is that these keys lead to.
pub(super) fn place_of(text: &str, keys: &[&str]) -> Option<At> {
    let mut node = parse(text).0?;
    let mut at = None;
    for key in keys {
        let Kind::Map(entries) = &node.kind else { return None };
        let entry = entries.iter().find(|entry| entry.key == *key)?.clone();
        (at, node) = (Some(entry.at), entry.value);
    }
    at
}

/// A node with what the budgets need to know about it.
#[derive(Clone)]
struct Sized<'y> {
    node: Node<'y>,
    nodes: usize,
    depth: usize,
}

struct Open<'y> {
    at: At,
    anchor: usize,
    is_map: bool,
    bad: bool,
    items: Vec<Node<'y>>,
    entries: Vec<Entry<'y>>,
    key: Option<(Option<Cow<'y, str>>, At)>,
    merges: Vec<Node<'y>>,
    nodes: usize,
    depth: usize,
}

struct Builder<'y> {
    flaws: Vec<Flaw>,
    /// `None` while the anchored collection is still open.
    anchors: HashMap<usize, Option<Sized<'y>>>,
    nodes: usize,
    open: Vec<Open<'y>>,
    root: Option<Node<'y>>,
}

impl<'y> Builder<'y> {
    /// `false`: stop here.
    fn take(&mut self, event: Event<'y>, span: Span) -> bool {
        let at = At { line: narrow(span.start.line()), column: narrow(span.start.col()) + 1 };
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let help = "keep everything in one document: remove the `---` line".to_owned();
                self.flaw(codes::DOCUMENTS, at, "a second YAML document begins here".into(), Some(help));
                return false;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let bad = self.refuse_tag(tag.is_some(), at);
                let plain = style == ScalarStyle::Plain;
                let kind = if bad { Kind::Bad } else { Kind::Scalar { text, plain } };
                return self.finish(Sized { node: Node { at, kind }, nodes: 1, depth: 1 }, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => self.begin(at, anchor, tag.is_some(), false),
            Event::MappingStart(_, anchor, tag) => self.begin(at, anchor, tag.is_some(), true),
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            Event::Alias(id) => return self.alias(id, at),
            Event::UnresolvedAlias(_) => {
                self.flaw(codes::ALIAS, at, "this alias names no anchor that stands before it".into(), None);
                return self.finish(bad_node(at), 0);
            }
            _ => {}
        }
        true
    }

    fn begin(&mut self, at: At, anchor: usize, tagged: bool, is_map: bool) {
        let bad = self.refuse_tag(tagged, at);
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open {
            at,
            anchor,
            is_map,
            bad,
            items: Vec::new(),
            entries: Vec::new(),
            key: None,
            merges: Vec::new(),
            nodes: 1,
            depth: 1,
        });
    }

    fn end(&mut self) -> bool {
        let Some(mut open) = self.open.pop() else { return true };
        let kind = match (open.bad, open.is_map) {
            (true, _) => Kind::Bad,
            (false, false) => Kind::List(open.items.into()),
            (false, true) => {
                self.mark_duplicates(&mut open.entries);
                let merges = std::mem::take(&mut open.merges);
                self.merge(&mut open.entries, merges);
                Kind::Map(open.entries.into())
            }
        };
        self.finish(Sized { node: Node { at: open.at, kind }, nodes: open.nodes, depth: open.depth }, open.anchor)
    }

    fn alias(&mut self, id: usize, at: At) -> bool {
        match self.anchors.get(&id) {
            Some(Some(target)) => {
                let target = target.clone();
                self.finish(target, 0)
            }
            _ => {
                self.flaw(codes::ALIAS, at, "this alias stands inside the very thing it repeats".into(), None);
                self.finish(bad_node(at), 0)
            }
        }
    }

    /// Puts a complete node where it belongs: key, value, item or root.
    fn finish(&mut self, done: Sized<'y>, anchor: usize) -> bool {
        self.nodes += 1;
        if self.open.len() + done.depth > MAX_DEPTH || self.nodes > MAX_NODES {
            let message =
                format!("the file is nested too deeply or too large (limits: {MAX_DEPTH} levels, {MAX_NODES} values)");
            self.too_much(done.node.at, message);
            return false;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Some(done.clone()));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(done.node);
            return true;
        };
        parent.depth = parent.depth.max(done.depth + 1);
        if !parent.is_map {
            parent.nodes += done.nodes;
            parent.items.push(done.node);
            return self.within_budget(done.nodes);
        }
        match parent.key.take() {
            None => self.key(done.node),
            Some((key, at)) => {
                parent.nodes += done.nodes + 1;
                match key {
                    Some(key) if key == "<<" => parent.merges.push(done.node),
                    Some(key) => parent.entries.push(Entry { key, at, value: done.node, again: false }),
                    None => {}
                }
            }
        }
        self.within_budget(done.nodes)
    }

    /// The size of everything expanded so far, wherever it hangs.
    fn within_budget(&mut self, added: usize) -> bool {
        let total: usize = self.open.iter().map(|open| open.nodes).sum();
        if total <= MAX_NODES || added <= 1 {
            return true;
        }
        let at = self.open.last().map(|open| open.at).unwrap_or_default();
        let message = format!("the file is too large once its aliases are expanded (limit: {MAX_NODES} values)");
        self.too_much(at, message);
        false
    }

    fn key(&mut self, node: Node<'y>) {
        let at = node.at;
        let key = match node.kind {
            Kind::Scalar { text, plain } if !(plain && is_null(&text)) => Some(text),
            Kind::Bad => None,
            _ => {
                self.flaw(codes::WRONG_TYPE, at, "a key must be text".into(), None);
                None
            }
        };
        if let Some(parent) = self.open.last_mut() {
            parent.key = Some((key, at));
        }
    }

    fn refuse_tag(&mut self, tagged: bool, at: At) -> bool {
        if tagged {
            let help = "remove the tag; write text in quotes and numbers without".to_owned();
            self.flaw(codes::TAG, at, "YAML tags (`!...`) are not accepted".into(), Some(help));
        }
        tagged
    }

    fn mark_duplicates(&mut self, entries: &mut [Entry<'y>]) {
        // Most maps are small, and for these looking is cheaper than hashing.
        let small = entries.len() <= 8;
        if small && entries.iter().enumerate().all(|(n, e)| entries.iter().take(n).all(|other| other.key != e.key)) {
            return;
        }
        let mut first: HashMap<Cow<'y, str>, At> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let Some(before) = first.get(&entry.key) else {
                first.insert(entry.key.clone(), entry.at);
                continue;
            };
            entry.again = true;
            let message = format!("the key is here twice; the first one is in line {}", before.line);
            let path = self.path_to(&entry.key);
            self.push(Flaw { code: codes::DUPLICATE, at: entry.at, message, help: None, path });
        }
    }

    /// `<<: *one` and `<<: [*one, *two]`. A key that would come from two places is refused: nobody reads it the same way.
    fn merge(&mut self, entries: &mut Vec<Entry<'y>>, merges: Vec<Node<'y>>) {
        for node in merges {
            let sources: Vec<Node<'y>> = match node.kind {
                Kind::List(items) => items.to_vec(),
                _ => vec![node],
            };
            for source in sources {
                match &source.kind {
                    Kind::Map(more) => self.merge_one(entries, more),
                    Kind::Bad => {}
                    _ => {
                        let help = Some("write `<<: *anchor` or `<<: [*one, *two]`".to_owned());
                        self.flaw(codes::MERGE, source.at, "`<<` merges mappings only".into(), help);
                    }
                }
            }
        }
    }

    fn merge_one(&mut self, entries: &mut Vec<Entry<'y>>, more: &[Entry<'y>]) {
        let mut have: HashMap<Cow<'y, str>, At> = entries.iter().map(|e| (e.key.clone(), e.at)).collect();
        for entry in more.iter().filter(|entry| !entry.again) {
            if let Some(at) = have.insert(entry.key.clone(), entry.at) {
                let message =
                    format!("the key is given here and comes from the merge key `<<` (line {}) too", entry.at.line);
                let help = Some("leave it out in one of the two places".to_owned());
                let path = self.path_to(&entry.key);
                self.push(Flaw { code: codes::MERGE, at, message, help, path });
            } else {
                entries.push(entry.clone());
            }
        }
    }

    fn flaw(&mut self, code: &'static str, at: At, message: String, help: Option<String>) {
        let path = self.path();
        self.push(Flaw { code, at, message, help, path });
    }

    /// Without a path: it could be as long as the file is deep.
    fn too_much(&mut self, at: At, message: String) {
        self.push(Flaw { code: codes::BUDGET, at, message, help: None, path: String::new() });
    }

    fn push(&mut self, flaw: Flaw) {
        if self.flaws.len() < MAX_PROBLEMS {
            self.flaws.push(flaw);
        }
    }

    fn path_to(&self, key: &str) -> String {
        let mut path = self.path();
        push_key(&mut path, key);
        path
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.key {
                Some((Some(key), _)) => push_key(&mut path, key),
                _ if !open.is_map => path.push_str(&format!("[{}]", open.items.len())),
                _ => {}
            }
        }
        path
    }
}

/// Appends one step of a dotted path.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&shown(key));
}

/// A key as it may be printed. Where YAML took `{TOKEN:value}` for one key, only `TOKEN` may be seen.
pub(super) fn shown(key: &str) -> Cow<'_, str> {
    let end = key.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(key.len());
    let end = end.min(80);
    if end == key.len() { Cow::Borrowed(key) } else { Cow::Owned(format!("{}…", &key[..end])) }
}

/// Null in the YAML 1.2 core schema.
pub(super) fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

fn bad_node<'y>(at: At) -> Sized<'y> {
    Sized { node: Node { at, kind: Kind::Bad }, nodes: 1, depth: 1 }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn syntax_help(text: &str, at: At) -> Option<String> {
    let line = text.lines().nth((at.line as usize).saturating_sub(1))?;
    line.starts_with('\t').then(|| "indent with spaces; YAML does not allow tabs there".to_owned())
}
