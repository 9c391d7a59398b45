//! Ranking by BM25 over all shelves together. A word that no tool has stands for those that begin like it, for what it is
//! put together from, or for those that it is a slip of the pen away from.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
    sync::LazyLock,
};

use super::{
    shelf::{Shelf, Tool},
    words,
};

/// How soon a word that comes again and again counts no more.
const K1: f32 = 1.2;
/// How far a long text has to have a word more often.
const B: f32 = 0.4;
/// What a word counts that only begins like the one that was asked for, or the other way round.
const PREFIX: f32 = 0.5;
const PREFIX_OF: f32 = 0.4;
/// What a word counts that may have been meant.
const TYPO: f32 = 0.7;
/// What a word counts that says the same: beside the very word, and where no tool has that.
const SAME: f32 = 0.35;
const INSTEAD: f32 = 0.7;
/// Words of a query that are looked for; more are no search.
const MOST_WORDS: usize = 32;
/// Words that one word may stand for.
const MOST_TERMS: usize = 24;

/// What tools are asked to do, by whom calls it what: a tool is named by one of these words, and asked for by another.
const ALIKE: [&[&str]; 12] = [
    &["add", "create", "new", "make", "insert", "open"],
    &["delete", "remove", "erase", "drop", "destroy"],
    &["get", "fetch", "read", "retrieve", "show", "view", "load"],
    &["list", "show", "enumerate", "browse"],
    &["search", "find", "query", "look", "lookup"],
    &["update", "edit", "modify", "change", "set"],
    &["send", "post", "write", "publish"],
    &["run", "execute", "perform", "invoke"],
    &["move", "rename"],
    &["folder", "directory"],
    &["comment", "reply"],
    &["calculate", "compute"],
];

static ALIKE_STEMS: LazyLock<[Vec<String>; 12]> =
    LazyLock::new(|| ALIKE.map(|group| group.iter().map(|word| words::stem(word)).collect()));

/// One tool that was found.
pub(super) struct Found<'s> {
    pub score: f32,
    pub tool: &'s Tool,
}

/// Every tool with a word of the query, best first; equal ones in the order of the shelves.
pub(super) fn rank<'s>(shelves: &'s [&'s Shelf], query: &str) -> Vec<Found<'s>> {
    let tools: usize = shelves.iter().map(|shelf| shelf.tools.len()).sum();
    let length: f32 = shelves.iter().map(|shelf| shelf.length).sum();
    let average = (length / tools.max(1) as f32).max(1.0);
    let mut scores: BTreeMap<(usize, u32), f32> = BTreeMap::new();
    for word in wanted(query) {
        // A tool that has several of the words that this one stands for has it once: the best of them.
        let mut best: HashMap<(usize, u32), f32> = HashMap::new();
        for (term, weight) in terms(shelves, &word) {
            let having: usize = shelves.iter().filter_map(|shelf| shelf.terms.get(&*term)).map(Vec::len).sum();
            let rare = (1.0 + (tools as f32 - having as f32 + 0.5) / (having as f32 + 0.5)).ln();
            for (at, shelf) in shelves.iter().enumerate() {
                for (number, often) in shelf.terms.get(&*term).into_iter().flatten() {
                    let long = shelf.tools.get(*number as usize).map_or(average, |tool| tool.length) / average;
                    let score = weight * rare * often * (K1 + 1.0) / (often + K1 * (1.0 - B + B * long));
                    let best = best.entry((at, *number)).or_default();
                    *best = best.max(score);
                }
            }
        }
        for (tool, score) in best {
            *scores.entry(tool).or_default() += score;
        }
    }
    let found = |((at, number), score): ((usize, u32), f32)| {
        Some(Found { score, tool: shelves.get(at)?.tools.get(number as usize)? })
    };
    let mut found: Vec<_> = scores.into_iter().filter_map(found).collect();
    found.sort_by(|one, other| other.score.total_cmp(&one.score));
    found
}

/// The words of a query that say something; all of them when none does.
pub(super) fn wanted(query: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let all: Vec<_> =
        words::words(query).into_iter().filter(|word| seen.insert(word.clone())).take(MOST_WORDS).collect();
    let full: Vec<_> = all.iter().filter(|word| !words::is_empty(word)).cloned().collect();
    if full.is_empty() { all } else { full }
}

/// The stems that a word stands for, and how much each counts.
fn terms(shelves: &[&Shelf], word: &str) -> Vec<(Box<str>, f32)> {
    let stem = words::stem(word);
    let known = shelves.iter().any(|shelf| shelf.terms.contains_key(&*stem));
    let mut terms: HashMap<Box<str>, f32> = HashMap::new();
    let mut put = |term: &str, weight: f32| {
        if let Some(known) = terms.get_mut(term) {
            *known = known.max(weight);
        } else if terms.len() < MOST_TERMS {
            terms.insert(term.into(), weight);
        }
    };
    if known {
        put(&stem, 1.0);
    }
    for group in ALIKE_STEMS.iter().filter(|group| group.contains(&stem)) {
        let weight = if known { SAME } else { INSTEAD };
        group.iter().filter(|alike| **alike != stem).for_each(|alike| put(alike, weight));
    }
    if stem.chars().count() >= 3 {
        for shelf in shelves {
            let from = shelf.terms.range::<str, _>((Bound::Excluded(&*stem), Bound::Unbounded));
            from.take_while(|(term, _)| term.starts_with(&*stem)).for_each(|(term, _)| put(term, PREFIX));
        }
    }
    if known {
        return terms.into_iter().collect();
    }
    for (end, _) in stem.char_indices().skip(4) {
        if let Some(start) = stem.get(..end)
            && shelves.iter().any(|shelf| shelf.terms.contains_key(start))
        {
            put(start, PREFIX_OF);
        }
    }
    for part in parts(shelves, word) {
        put(&part, 1.0);
    }
    if terms.is_empty() {
        return meant(shelves, word);
    }
    terms.into_iter().collect()
}

/// `pullrequest`: two known words that make it up.
fn parts(shelves: &[&Shelf], word: &str) -> Vec<String> {
    let known = |word: &str| {
        let stem = words::stem(word);
        shelves.iter().any(|shelf| shelf.terms.contains_key(&*stem)).then_some(stem)
    };
    let halves = word.char_indices().filter_map(|(at, _)| word.split_at_checked(at));
    let mut halves = halves.filter(|(first, second)| first.len() >= 3 && second.len() >= 3);
    halves.find_map(|(first, second)| Some(vec![known(first)?, known(second)?])).unwrap_or_default()
}

/// The known words next to one that nobody knows.
fn meant(shelves: &[&Shelf], word: &str) -> Vec<(Box<str>, f32)> {
    let length = word.chars().count();
    let most = match length {
        0..=3 => return Vec::new(),
        4..=7 => 1,
        _ => 2,
    };
    let letters = letters(word);
    let mut near: HashMap<&str, usize> = HashMap::new();
    for (spelling, stem) in shelves.iter().flat_map(|shelf| &shelf.spellings) {
        // Each slip changes at most two letters of the set: most words are ruled out by that.
        if spelling.len().abs_diff(word.len()) > most * 4
            || (letters ^ self::letters(spelling)).count_ones() as usize > 2 * most
        {
            continue;
        }
        let distance = strsim::osa_distance(spelling, word);
        if distance <= most {
            let best = near.entry(stem).or_insert(distance);
            *best = (*best).min(distance);
        }
    }
    let mut near: Vec<_> = near.into_iter().collect();
    near.sort();
    near.sort_by_key(|(_, distance)| *distance);
    near.iter().take(MOST_TERMS).map(|(stem, distance)| ((*stem).into(), TYPO / *distance as f32)).collect()
}

/// One bit for each letter and digit that a word has.
fn letters(word: &str) -> u64 {
    word.chars().map(|c| 1u64 << (u32::from(c) % 64)).fold(0, |set, bit| set | bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        provider::{Item, Listing},
        wire::shallow,
    };

    fn shelf(provider: &str, tools: &[(&str, &str)]) -> Shelf {
        let item = |(name, description): &(&str, &str)| {
            let text = serde_json::json!({"name": name, "description": description}).to_string();
            let text = bytes::Bytes::from(text);
            Item::read(&text, shallow::root(&text).unwrap(), Listing::Tools).unwrap()
        };
        let items: Vec<_> = tools.iter().map(item).collect();
        Shelf::of(provider, None, items.iter())
    }

    fn first(query: &str) -> Option<String> {
        let files = shelf(
            "files",
            &[
                ("read_text_file", "Reads the contents of a file"),
                ("delete_file", "Deletes a file for good"),
                ("list_directory", "Lists what is in a directory"),
            ],
        );
        let code = shelf(
            "code",
            &[
                ("create_pull_request", "Opens a pull request"),
                ("search_repositories", "Finds repositories by words"),
                ("calculateSum", "Adds numbers"),
            ],
        );
        let shelves = [&files, &code];
        rank(&shelves, query).first().map(|found| found.tool.item.key.clone())
    }

    #[test]
    fn words_in_any_form_slipped_cut_short_run_together_or_said_otherwise() {
        for (query, tool) in [
            ("reading files", "read_text_file"),
            ("pull requests", "create_pull_request"),
            ("serach repositores", "search_repositories"),
            ("repo", "search_repositories"),
            ("pullrequest", "create_pull_request"),
            ("erase a file", "delete_file"),
            ("folder", "list_directory"),
            ("compute the sum", "calculateSum"),
            ("code__search_repositories", "search_repositories"),
        ] {
            assert_eq!(first(query).as_deref(), Some(tool), "{query}");
        }
        assert_eq!(first("xylophone"), None);
    }

    #[test]
    fn of_two_tools_with_the_word_the_one_in_whose_name_it_is_comes_first_and_equal_ones_keep_their_order() {
        let shelf = shelf("x", &[("beta", "same"), ("alpha", "same"), ("same", "other"), ("gamma", "same")]);
        let shelves = [&shelf];
        let order: Vec<_> = rank(&shelves, "same").iter().map(|found| found.tool.item.key.as_str()).collect();
        assert_eq!(order, ["same", "beta", "alpha", "gamma"]);
    }

    #[test]
    fn the_groups_of_words_alike_are_stems_that_differ() {
        for group in ALIKE_STEMS.iter() {
            let set: HashSet<_> = group.iter().collect();
            assert_eq!(set.len(), group.len(), "{group:?}");
        }
    }

    #[test]
    fn a_query_is_bounded() {
        assert_eq!(wanted(&(0..5000).map(|n| format!("w{n} ")).collect::<String>()).len(), MOST_WORDS);
        assert_eq!(wanted("what is it"), ["what", "is", "it"], "nothing else is there to look for");
        assert_eq!(wanted("what is the time"), ["time"]);
    }
}
