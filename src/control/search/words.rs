//! From text to the words that are compared: taken apart, in lower case, reduced to their stems.

use frostem::{Algorithm, Stemmer};

/// Of a text that is searched or searched for; what is longer is cut.
const MAX_TEXT: usize = 4000;
/// Bytes of one word, or nearly; what is longer counts as several.
const MAX_WORD: usize = 64;
/// In English questions everywhere, and in tools' descriptions nowhere of use.
const EMPTY: &[&str] = &[
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do", "does", "for",
    "from", "have", "how", "i", "if", "in", "into", "is", "it", "its", "let", "me", "my", "need", "of", "on", "one",
    "or", "our", "please", "s", "should", "some", "that", "the", "their", "them", "then", "there", "these", "this",
    "to", "tool", "use", "using", "want", "was", "we", "what", "when", "where", "which", "who", "will", "with",
    "would", "you", "your",
];

/// Lower-case words; camelCase and snake_case are taken apart.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    let mut rest = text.chars().take(MAX_TEXT).peekable();
    while let Some(c) = rest.next() {
        // `readFile`, and the last capital of `HTTPServer`.
        let begins = c.is_uppercase()
            && (before.is_lowercase()
                || before.is_numeric()
                || before.is_uppercase() && rest.peek().is_some_and(|c| c.is_lowercase()));
        if (begins || !c.is_alphanumeric() || word.len() >= MAX_WORD) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether a word says nothing about what is looked for.
pub(super) fn is_empty(word: &str) -> bool {
    EMPTY.binary_search(&word).is_ok()
}

/// `created`, `creating` and `creates` are one.
pub(super) fn stem(word: &str) -> String {
    // Compiled in, see Cargo.toml.
    Stemmer::new(Algorithm::English).stem(word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(
            words("readFile read_text-file HTTP2 HTTPServer a__b getURL"),
            ["read", "file", "read", "text", "file", "http2", "http", "server", "a", "b", "get", "url"]
        );
        assert_eq!(words("Größe  Datei,öffnen"), ["größe", "datei", "öffnen"]);
        assert_eq!(words(&"x ".repeat(100_000)).len(), MAX_TEXT / 2);
        assert_eq!(words(&"x".repeat(150)).iter().map(String::len).collect::<Vec<_>>(), [64, 64, 22]);
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for form in ["create", "created", "creating", "creates"] {
            assert_eq!(stem(form), "creat", "{form}");
        }
    }

    #[test]
    fn the_empty_words_are_in_order() {
        assert!(EMPTY.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(is_empty("the") && !is_empty("file"));
    }
}
