//! Entities that tags of words spell: `B-PER I-PER O` is one, of words 0 and 1.
//!
//! The rules are seqeval's (its default mode, which are those of the `conlleval` script): prefixes `B`, `I`, `E`, `S` and the
//! tag `O`; a new entity begins with `B` and `S`, after `E` and `S`, after `O`, and where the type changes. So `I-PER`
//! after `O` or after `B-LOC` begins one too.

/// The tag of words that belong to nothing.
pub(super) const OUTSIDE: &str = "O";

/// Words of one type, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity<'a> {
    /// What is behind the prefix: `PER`.
    pub kind: &'a str,
    /// Its first word.
    pub first: usize,
    /// Its last word.
    pub last: usize,
}

/// A tag in two parts; `None` where it has no prefix.
fn parts(tag: &str) -> Option<(char, &str)> {
    if tag == OUTSIDE {
        return Some(('O', ""));
    }
    let (prefix, kind) = tag.split_once('-')?;
    let mut letters = prefix.chars();
    match (letters.next(), letters.next()) {
        (Some(letter @ ('B' | 'I' | 'E' | 'S')), None) if !kind.is_empty() => Some((letter, kind)),
        _ => None,
    }
}

/// Whether every one of a model's tags is `O` or has a prefix: only then do they spell entities.
pub fn spell(tags: &[String]) -> bool {
    tags.iter().all(|tag| parts(tag).is_some()) && tags.iter().any(|tag| tag != OUTSIDE)
}

/// The entities of a row by its words' tags, in order. A tag without a prefix counts as `O`.
pub fn entities<'a>(tags: impl IntoIterator<Item = &'a str>) -> Vec<Entity<'a>> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let (mut before, mut kind_before) = ('O', "");
    let tags = tags.into_iter().map(|tag| parts(tag).unwrap_or(('O', "")));
    for (word, (letter, kind)) in tags.chain([('O', "")]).enumerate() {
        let changes = kind != kind_before;
        let ends = matches!(before, 'E' | 'S') || before != 'O' && (matches!(letter, 'B' | 'S' | 'O') || changes);
        if ends && let Some((kind, first)) = open.take() {
            found.push(Entity { kind, first, last: word - 1 });
        }
        let continues = matches!(before, 'B' | 'I') && !changes;
        if matches!(letter, 'B' | 'S') || matches!(letter, 'I' | 'E') && !continues {
            open = Some((kind, word));
        }
        (before, kind_before) = (letter, kind);
    }
    found
}
