//! Which of a row's columns are read, found by their names.
//!
//! Names are the field's own, with the few others that data sets of the Hub use for the same thing.

use crate::engine::findings::shown;

/// Names of the text, of which a row has one.
const TEXT: &[&str] = &["text", "sentence", "sentence1"];
/// Names of the second text.
const TEXT_PAIR: &[&str] = &["text_pair", "sentence2"];
/// Names of the list of words.
const TOKENS: &[&str] = &["tokens", "words"];
/// Names of the list of their tags.
const TAGS: &[&str] = &["tags", "ner_tags"];

/// A row's columns: of a text, or of words that have a tag each.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Columns<T> {
    /// A text, or two, and perhaps a label.
    Text { text: T, text_pair: Option<T>, label: Option<T> },
    /// Words and their tags.
    Tagged { tokens: T, tags: T },
}

impl<T> Columns<T> {
    /// Sorts named columns. Names that are not known are left out, but for those that look like a slip of a name that
    /// is missing; so are tokens or tags beside a text, where only one of the two is there.
    ///
    /// # Errors
    ///
    /// One sentence, with the names that were found.
    pub(super) fn of(columns: impl IntoIterator<Item = (String, T)>) -> Result<Self, String> {
        let (mut text, mut text_pair, mut label) = (Slot::of(TEXT), Slot::of(TEXT_PAIR), Slot::of(&["label"]));
        let (mut tokens, mut tags) = (Slot::of(TOKENS), Slot::of(TAGS));
        let mut names = Vec::new();
        for (name, value) in columns {
            let mut slots = [&mut text, &mut text_pair, &mut label, &mut tokens, &mut tags].into_iter();
            if let Some(slot) = slots.find(|slot| slot.names.contains(&name.as_str())) {
                slot.found.push((name.clone(), value));
            }
            names.push(name);
        }
        for slot in [&text_pair, &label] {
            let known = slot.names.first().copied().unwrap_or_default();
            if let Some(slip) = names.iter().find(|name| slot.found.is_empty() && is_slip(name, known)) {
                return Err(format!("{} is not known; is {known:?} meant?", shown(slip)));
            }
        }
        match (text.one()?, tokens.any(), tags.any()) {
            (Some(_), true, true) => Err("has both a text and \"tokens\" with \"tags\": leave out one".to_owned()),
            (Some(text), _, _) => Ok(Self::Text { text, text_pair: text_pair.one()?, label: label.one()? }),
            (None, true, true) if label.any() => Err("has both a label and tags: leave out one".to_owned()),
            (None, true, true) => match (tokens.one()?, tags.one()?) {
                (Some(tokens), Some(tags)) => Ok(Self::Tagged { tokens, tags }),
                _ => Err(no_text(&names)),
            },
            (None, true, false) => {
                Err("has \"tokens\" and no \"tags\": give every token its tag, or the whole as \"text\"".to_owned())
            }
            (None, false, _) => Err(no_text(&names)),
        }
    }
}

fn no_text(names: &[String]) -> String {
    let found: Vec<String> = names.iter().take(10).map(|name| shown(name)).collect();
    format!("has no \"text\"; found {}", if found.is_empty() { "nothing".into() } else { found.join(", ") })
}

/// What was found under one of some names.
struct Slot<T> {
    names: &'static [&'static str],
    found: Vec<(String, T)>,
}

impl<T> Slot<T> {
    fn of(names: &'static [&'static str]) -> Self {
        Self { names, found: Vec::new() }
    }

    fn any(&self) -> bool {
        !self.found.is_empty()
    }

    /// The only one, if there is any.
    fn one(self) -> Result<Option<T>, String> {
        let mut found = self.found.into_iter();
        match (found.next(), found.next()) {
            (Some((first, _)), Some((second, _))) if first == second => Err(format!("{} stands twice", shown(&first))),
            (Some((first, _)), Some((second, _))) => {
                Err(format!("has both {} and {}: leave out one", shown(&first), shown(&second)))
            }
            (first, _) => Ok(first.map(|(_, value)| value)),
        }
    }
}

/// Whether `name` is `known` but for case, separators and a plural.
fn is_slip(name: &str, known: &str) -> bool {
    let plain = |name: &str| -> String {
        name.trim().chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (name, known) = (plain(name), plain(known));
    name == known || name.strip_suffix('s') == Some(&known)
}
