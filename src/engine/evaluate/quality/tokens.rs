//! One tag a word.

use super::super::Scores;
use super::classification::predictions;
use super::entities::{Entity, OUTSIDE, entities, spell};
use super::{ENTITY_F1, Quality, QualityChange, TOKEN_F1, bootstrapped, bootstrapped_change, defined, no_rows};
use crate::engine::error::{EngineError, Result};

/// What words are tagged with.
#[derive(Debug, Clone, Copy)]
pub struct Tagged<'a> {
    /// The right tag of every word, by its index in `names`; the rows' words one after another, as scores have them.
    pub tags: &'a [usize],
    /// How many words each row has; words of one row are not independent, so rows are what is resampled.
    pub words: &'a [usize],
    /// The model's tags.
    pub names: &'a [String],
}

/// Token-F1 and entity-F1 of logits `[words, tags]`, with bootstrap percentile intervals over rows.
///
/// Token-F1 is the micro-average over all tags but `O`: `2 tp / (guesses + support)`, where a word is a guess if it is
/// answered with a tag, support if it has one, and `tp` if both are the same; scikit-learn's `f1_score` with
/// `average='micro'` and `labels` without `O`. Entity-F1 is the same over whole [`entities`], of which type, first and
/// last word must be right; seqeval's `f1_score`. It is left out where a tag has no prefix (`B-`, `I-`, `E-`, `S-`). Both
/// are 0 where there is nothing to find and nothing was found.
///
/// # Errors
///
/// [`EngineError::Internal`] when tags, words and rows do not match or a score is not finite.
pub fn tags(scores: &Scores, tagged: Tagged<'_>) -> Result<Quality> {
    let found = Found::of(scores, tagged)?;
    let n = tagged.words.len();
    let entities = found.entities.as_ref().and_then(|counts| bootstrapped(n, |rows| f1(counts, rows)));
    Ok(defined([(TOKEN_F1, bootstrapped(n, |rows| f1(&found.tokens, rows))), (ENTITY_F1, entities)]))
}

/// The paired change of both from `original` to `result` on the same words: paired bootstrap over rows.
///
/// # Errors
///
/// As [`tags`], and when the shapes of original and result differ.
pub fn tags_change(original: &Scores, result: &Scores, tagged: Tagged<'_>) -> Result<QualityChange> {
    original.check_pair(result)?;
    let (before, after) = (Found::of(original, tagged)?, Found::of(result, tagged)?);
    let n = tagged.words.len();
    let both = before.entities.as_ref().zip(after.entities.as_ref());
    let tokens = bootstrapped_change(n, |rows| (f1(&before.tokens, rows), f1(&after.tokens, rows)));
    let entities = both.and_then(|(before, after)| bootstrapped_change(n, |rows| (f1(before, rows), f1(after, rows))));
    Ok(defined([(TOKEN_F1, tokens), (ENTITY_F1, entities)]))
}

/// How many of a row were right, answered, and to be found.
#[derive(Debug, Clone, Copy, Default)]
struct Hits {
    right: u64,
    guesses: u64,
    support: u64,
}

/// Hits by row.
struct Found {
    tokens: Vec<Hits>,
    entities: Option<Vec<Hits>>,
}

impl Found {
    fn of(scores: &Scores, Tagged { tags, words, names }: Tagged<'_>) -> Result<Self> {
        let predicted = predictions(scores, tags, names.len())?;
        if words.is_empty() {
            return Err(no_rows());
        }
        let wanted = words.iter().copied().fold(0, usize::saturating_add);
        if wanted != tags.len() {
            return Err(EngineError::Internal(format!("{} words do not fit rows of {wanted}", tags.len())));
        }
        let spell = spell(names);
        let mut found = Self { tokens: Vec::new(), entities: spell.then(Vec::new) };
        let (mut predicted, mut tags) = (predicted.as_slice(), tags);
        for &count in words {
            let ((answer, others), (row, rest)) = (predicted.split_at(count), tags.split_at(count));
            (predicted, tags) = (others, rest);
            found.tokens.push(words_hit(answer, row, names));
            if let Some(found) = &mut found.entities {
                found.push(entities_hit(&spelled(answer, names), &spelled(row, names)));
            }
        }
        Ok(found)
    }
}

fn words_hit(answer: &[usize], tags: &[usize], names: &[String]) -> Hits {
    let counts = |tag: &usize| names.get(*tag).is_some_and(|name| name != OUTSIDE);
    let mut hits = Hits::default();
    for (answer, tag) in answer.iter().zip(tags) {
        hits.right += u64::from(answer == tag && counts(tag));
        hits.guesses += u64::from(counts(answer));
        hits.support += u64::from(counts(tag));
    }
    hits
}

fn spelled<'a>(tags: &[usize], names: &'a [String]) -> Vec<Entity<'a>> {
    entities(tags.iter().map(|tag| names.get(*tag).map_or(OUTSIDE, String::as_str)))
}

/// Both are in order, and no two entities of a row begin with one word.
fn entities_hit(answer: &[Entity<'_>], entities: &[Entity<'_>]) -> Hits {
    let same = |entity: &&Entity<'_>| {
        answer.binary_search_by_key(&entity.first, |one| one.first).is_ok_and(|at| answer.get(at) == Some(entity))
    };
    Hits {
        right: entities.iter().filter(same).count() as u64,
        guesses: answer.len() as u64,
        support: entities.len() as u64,
    }
}

fn f1(hits: &[Hits], rows: &[usize]) -> f64 {
    let (mut right, mut both) = (0, 0);
    for hits in rows.iter().filter_map(|row| hits.get(*row)) {
        right += hits.right;
        both += hits.guesses + hits.support;
    }
    if both == 0 { 0.0 } else { 2.0 * right as f64 / both as f64 }
}
