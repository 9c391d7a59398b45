//! The words of one provider's tools, counted: what ranking needs of a catalogue. Made once for each catalogue and thrown
//! away with it, so that a change of one provider costs as much as that provider has tools.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::words;
use crate::{provider::Item, registry::names, wire::shallow};

/// How much one occurrence of a word counts, by where it stands.
const NAME: f32 = 3.0;
const TITLE: f32 = 1.5;
const PROVIDER: f32 = 1.5;
const DESCRIPTION: f32 = 1.0;
const PARAMETER: f32 = 0.7;
/// Of what the file says about the provider: it holds for all its tools.
const ABOUT: f32 = 0.3;

/// Characters of a description in an answer.
const SHORT: usize = 160;
/// Parameters named in an answer; a schema with more is read with `hangar_tools`.
const MOST_PARAMETERS: usize = 40;

pub struct Shelf {
    about: Option<Box<str>>,
    pub(super) tools: Vec<Tool>,
    /// By stem: in which tools, and how much there. Sorted, for prefixes.
    pub(super) terms: BTreeMap<Box<str>, Vec<(u32, f32)>>,
    /// Words as they are spelled, each with its stem.
    pub(super) spellings: Vec<(Box<str>, Box<str>)>,
    /// Weighed words of all tools together.
    pub(super) length: f32,
}

/// One tool, as an answer shows it.
pub(super) struct Tool {
    pub length: f32,
    pub item: Item,
    /// Everything but score and schema: `"name":...,"provider":...`, without braces.
    pub head: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    stems: HashMap<String, f32>,
    length: f32,
}

impl Shelf {
    /// `items`: those that are offered. `about`: what the file says about the provider.
    pub fn of<'i>(provider: &str, about: Option<&str>, items: impl Iterator<Item = &'i Item>) -> Self {
        let mut shelf = Self {
            about: about.map(Into::into),
            tools: Vec::new(),
            terms: BTreeMap::new(),
            spellings: Vec::new(),
            length: 0.0,
        };
        let mut spelled: HashMap<String, Box<str>> = HashMap::new();
        for item in items {
            let number = shelf.tools.len() as u32;
            let parameters = Parameters::of(item);
            let description = item.text_field("description").unwrap_or_default();
            let mut counts = Counts::default();
            counts.add(&mut spelled, &item.key, NAME);
            counts.add(&mut spelled, &item.text_field("title").unwrap_or_default(), TITLE);
            counts.add(&mut spelled, provider, PROVIDER);
            counts.add(&mut spelled, &description, DESCRIPTION);
            counts.add(&mut spelled, about.unwrap_or_default(), ABOUT);
            parameters.names.iter().for_each(|name| counts.add(&mut spelled, name, PARAMETER));
            let head = head(provider, item, &description, &parameters);
            shelf.length += counts.length;
            shelf.tools.push(Tool { length: counts.length, item: item.clone(), head });
            for (stem, weight) in counts.stems {
                shelf.terms.entry(stem.into()).or_default().push((number, weight));
            }
        }
        shelf.spellings = spelled.into_iter().map(|(word, stem)| (word.into(), stem)).collect();
        shelf
    }
}

impl Shelf {
    /// Whether it is the shelf of these tools of its provider. Mostly they are the very same bytes.
    pub(super) fn is_of(&self, about: Option<&str>, items: &[Item]) -> bool {
        let same = |tool: &Tool, item: &Item| {
            let (mine, other) = (&tool.item.raw, &item.raw);
            mine.as_ptr() == other.as_ptr() && mine.len() == other.len() || mine == other
        };
        self.about.as_deref() == about
            && self.tools.len() == items.len()
            && self.tools.iter().zip(items).all(|(tool, item)| same(tool, item))
    }
}

impl Counts {
    fn add(&mut self, spelled: &mut HashMap<String, Box<str>>, text: &str, weight: f32) {
        for word in words::words(text).into_iter().filter(|word| !words::is_empty(word)) {
            let stem = spelled.entry(word).or_insert_with_key(|word| words::stem(word).into());
            *self.stems.entry(stem.to_string()).or_default() += weight;
            self.length += weight;
        }
    }
}

#[derive(Default)]
struct Parameters {
    names: Vec<String>,
    required: Vec<String>,
}

impl Parameters {
    /// The properties of the input schema, in its order.
    fn of(item: &Item) -> Self {
        let Some(schema) = item.raw_field("inputSchema") else { return Self::default() };
        let Ok(root) = shallow::root(&schema) else { return Self::default() };
        let properties = shallow::get(&schema, root, "properties").ok().flatten();
        let names = properties.and_then(|place| shallow::fields(&schema, place)).unwrap_or_default();
        let required = shallow::get(&schema, root, "required").ok().flatten();
        let required = required.and_then(|place| serde_json::from_slice::<Vec<Value>>(place.of(&schema)).ok());
        Self {
            names: names.into_iter().take(MOST_PARAMETERS).map(|field| field.key.into_owned()).collect(),
            required: required.unwrap_or_default().iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        }
    }
}

/// What an answer says of a tool in any case: `"name":...`
fn head(provider: &str, item: &Item, description: &str, parameters: &Parameters) -> Vec<u8> {
    let list = |names: &[String]| {
        let quoted: Vec<_> = names.iter().map(|name| shallow::quote(name)).collect();
        [b"[", quoted.join(&b","[..]).as_slice(), b"]"].concat()
    };
    let mut fields = vec![
        ("name", shallow::quote(&names::flat(provider, &item.key))),
        ("provider", shallow::quote(provider)),
        ("tool", shallow::quote(&item.key)),
        ("description", shallow::quote(&short(description))),
        ("parameters", list(&parameters.names)),
    ];
    if !parameters.required.is_empty() {
        fields.push(("required", list(&parameters.required)));
    }
    let fields: Vec<_> = fields.iter().map(|(key, value)| (*key, value.as_slice())).collect();
    shallow::members(&fields)
}

/// One line, cut between words.
fn short(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if out.chars().count() + word.chars().count() >= SHORT {
            // A text without blanks is cut anywhere.
            let room = if out.is_empty() { SHORT } else { 0 };
            out.extend(word.chars().take(room));
            out.push('…');
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out += word;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_cut_between_words() {
        assert_eq!(short("Reads\n  a file. "), "Reads a file.");
        let long = short(&"word ".repeat(100));
        assert!(long.ends_with("word…") && long.chars().count() <= SHORT, "{long}");
        assert_eq!(short(&"ä".repeat(500)).chars().count(), SHORT + 1);
    }
}
