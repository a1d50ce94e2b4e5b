use proptest::prelude::*;

use super::super::entities::spell;
use super::*;

const IOB: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

fn names() -> Vec<String> {
    IOB.map(str::to_owned).to_vec()
}

fn measured(answered: &[usize], tagged: &[usize], words: &[usize]) -> Quality {
    tags(&answers(answered, 5), Tagged { tags: tagged, words, names: &names() }).unwrap()
}

#[test]
fn only_words_with_a_tag_count() {
    // PER of two words and a LOC; the LOC is missed and an O is taken for one: tp 2, guesses 3, support 3.
    let quality = measured(&[1, 2, 0, 0, 3], &[1, 2, 0, 3, 0], &[3, 2]);
    assert!((quality[TOKEN_F1].value - 2.0 * 2.0 / 6.0).abs() < 1e-15);
    assert!((quality[ENTITY_F1].value - 2.0 * 1.0 / 4.0).abs() < 1e-15);
    assert_eq!(quality[TOKEN_F1].n, 2, "rows are what is drawn");
    // An entity is right as a whole or not at all
    let quality = measured(&[1, 0, 0, 3], &[1, 2, 0, 3], &[4]);
    assert!((quality[TOKEN_F1].value - 2.0 * 2.0 / 5.0).abs() < 1e-15);
    assert!((quality[ENTITY_F1].value - 2.0 * 1.0 / 4.0).abs() < 1e-15);
    // Entities end with their row
    let (apart, together) = (measured(&[1, 2], &[1, 2], &[1, 1]), measured(&[1, 2], &[1, 2], &[2]));
    assert_eq!((apart[ENTITY_F1].value, together[ENTITY_F1].value), (1.0, 1.0));
}

#[test]
fn right_answers_are_perfect_and_silence_is_nothing() {
    let tagged = drawn(80, 5, 3);
    let words = [7, 0, 13, 20, 40];
    for estimate in measured(&tagged, &tagged, &words).values() {
        assert_eq!((estimate.value, estimate.low, estimate.high), (1.0, 1.0, 1.0));
    }
    for estimate in measured(&[0; 80], &tagged, &words).values() {
        assert_eq!(estimate.value, 0.0);
    }
    assert_eq!(measured(&[0, 0], &[0, 0], &[2])[TOKEN_F1].value, 0.0, "nothing to find");
}

#[test]
fn tags_without_a_prefix_spell_no_entities() {
    let names = ["O", "NOUN", "VERB"].map(str::to_owned);
    let quality = tags(&answers(&[1, 2, 0], 3), Tagged { tags: &[1, 1, 0], words: &[3], names: &names }).unwrap();
    assert_eq!(quality.keys().collect::<Vec<_>>(), [TOKEN_F1]);
    assert!((quality[TOKEN_F1].value - 0.5).abs() < 1e-15);
    let spelled = |tags: &[&str]| spell(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
    assert!(spelled(&["O", "B-X", "E-X", "S-Y-Z"]));
    for tags in [&["O"][..], &["O", "X"], &["O", "B-"], &["O", "BI-X"], &["O", "-X"], &["O", ""], &["O", "L-X"]] {
        assert!(!spelled(tags), "{tags:?}");
    }
}

#[test]
fn worse_tags_are_found_and_equal_ones_are_not() {
    let tagged = drawn(400, 5, 11);
    let words = vec![8; 50];
    let spoiled = |every: usize| -> Vec<usize> {
        tagged.iter().enumerate().map(|(word, tag)| if word % every == 0 { 0 } else { *tag }).collect()
    };
    let (good, bad) = (answers(&spoiled(40), 5), answers(&spoiled(3), 5));
    let names = names();
    let of = Tagged { tags: &tagged, words: &words, names: &names };
    let change = tags_change(&good, &bad, of).unwrap();
    for metric in OF_TAGS {
        let change = change[*metric];
        let value = |scores: &Scores| tags(scores, of).unwrap()[*metric].value;
        assert!((change.value - (value(&bad) - value(&good))).abs() < 1e-15);
        assert!(change.high < 0.0 && change.p_value < 0.01 && change.n == 50, "{metric}: {change:?}");
    }
    for change in tags_change(&good, &good, of).unwrap().values() {
        assert_eq!((change.value, change.low, change.high, change.p_value), (0.0, 0.0, 0.0, 1.0));
    }
}

#[test]
fn tags_that_do_not_fit_are_refused() {
    let refused = |answered: &[usize], tagged: &[usize], words: &[usize]| {
        tags(&answers(answered, 5), Tagged { tags: tagged, words, names: &names() }).is_err()
    };
    assert!(refused(&[0, 1], &[0], &[1]), "a tag is missing");
    assert!(refused(&[0, 1], &[0, 5], &[2]), "there is no tag 5");
    assert!(refused(&[0, 1], &[0, 1], &[3]) && refused(&[0, 1], &[0, 1], &[1]), "the rows have other words");
    assert!(refused(&[0, 1], &[0, 1], &[usize::MAX, 3]) && refused(&[0, 1], &[0, 1], &[]));
}

proptest! {
    /// By brute force: every piece of the row is an entity or is not.
    #[test]
    fn entities_are_the_pieces_that_hold_together(tags in prop::collection::vec(prop::sample::select(&IOB[..]), 0..12)) {
        let found = entities(tags.iter().copied());
        let kind = |word: usize| tags[word].split_once('-').map(|(_, kind)| kind);
        let begins = |word: usize| {
            kind(word).is_some() && (tags[word].starts_with('B') || word == 0 || kind(word - 1) != kind(word))
        };
        let mut expected = Vec::new();
        for first in 0..tags.len() {
            for last in first..tags.len() {
                let within = (first + 1..=last).all(|word| kind(word) == kind(first) && !begins(word));
                let whole = last + 1 == tags.len() || kind(last + 1) != kind(first) || begins(last + 1);
                if begins(first) && within && whole {
                    expected.push(Entity { kind: kind(first).unwrap(), first, last });
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}
