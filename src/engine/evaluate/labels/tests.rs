use super::*;
use crate::engine::data::{Row, Word};
use crate::engine::problem::Code;

fn labelled(labels: &[&str], target: Target) -> Dataset {
    let row = |label: &&str| Row { text: "a".to_owned(), label: Some((*label).to_owned()), ..Row::default() };
    Dataset { target, rows: labels.iter().map(row).collect(), ..Dataset::default() }
}

fn tagged(rows: &[&[&str]]) -> Dataset {
    let word = |tag: &&str| Word { text: "a".to_owned(), tag: (*tag).to_owned() };
    let rows = rows.iter().map(|tags| Row::tagged(tags.iter().map(word).collect())).collect();
    Dataset { target: Target::Tags, rows, ..Dataset::default() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn refused(head: &Head, dataset: &Dataset) -> Vec<String> {
    let problems = check(head, dataset, "/here").unwrap_err().problems();
    assert!(
        problems[0].pointer == "/here" && problems.iter().all(|one| one.code == Code::LabelUnknown),
        "{problems:?}"
    );
    problems.into_iter().map(|one| one.detail).collect()
}

#[test]
fn labels_go_by_the_model_s_names_in_the_model_s_order() {
    let head = Head::Classification { labels: names(&["b", "a"]) };
    let classes = Labels::of_rows(&labelled(&["a", "b", "a"], Target::Class), &head);
    assert_eq!(classes, Some(Labels::Classes(vec![1, 0, 1])));
    let numbers = Labels::of_rows(&labelled(&["1", "-2.5"], Target::Regression), &Head::Regression);
    assert_eq!(numbers, Some(Labels::Numbers(vec![1.0, -2.5])));
    assert_eq!(Labels::of_rows(&labelled(&["1"], Target::None), &Head::Regression), None);

    let data = tagged(&[&["O", "X"], &["X"], &["O", "O"]]);
    let words = vec![vec![None, Some(0), Some(0), Some(1), None], vec![None, None], vec![None, Some(1)]];
    let found = EncodedWords { words, ..EncodedWords::default() };
    let Some(Labels::Tags(tags)) = Labels::of_words(&data, &names(&["X", "O"]), &found) else { panic!("no tags") };
    assert_eq!(
        (tags.tags.as_slice(), tags.words.as_slice(), tags.left_out),
        ([1, 0, 1].as_slice(), [2, 0, 1].as_slice(), 2)
    );
    let labels = Labels::Tags(tags);
    assert_eq!(labels.prints(), [vec![1, 0], vec![], vec![1]]);
    assert!(labels.protocol().ends_with("2 of 5 words have no token there and are left out"), "{}", labels.protocol());
}

#[test]
fn rows_that_say_nothing_of_the_model_s_answers_are_refused_with_counts() {
    let tagger = Head::TokenClassification { labels: names(&["O", "B-PER", "I-PER"]) };
    check(&tagger, &tagged(&[&["O", "B-PER"]]), "/here").unwrap();
    let wrong = refused(&tagger, &tagged(&[&["O", "B-PR"], &["3", "B-PR"]]));
    assert_eq!(wrong.len(), 2);
    assert_eq!(wrong[0], "the model has no tag \"B-PR\": did you mean 'B-PER'? (2 words have it)");
    assert_eq!(wrong[1], "the model has no tag \"3\": it knows O, B-PER, I-PER (1 word has it)");

    let wrong = refused(&Head::Regression, &labelled(&["good", "1.5", "good", "bad"], Target::Class));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].starts_with("the label \"good\" is no number") && wrong[0].ends_with("(2 rows have it)"));
    check(&Head::Regression, &labelled(&["1", "2"], Target::Class), "/here").unwrap();

    for (head, dataset) in [
        (&tagger, labelled(&["O"], Target::Class)),
        (&tagger, labelled(&["1.5"], Target::Regression)),
        (&Head::Regression, tagged(&[&["O"]])),
        (&Head::Classification { labels: names(&["O"]) }, tagged(&[&["O"]])),
        (&Head::Classification { labels: names(&["O"]) }, labelled(&["1.5"], Target::Regression)),
    ] {
        let wrong = refused(head, &dataset);
        assert!(wrong.len() == 1 && wrong[0].contains("and the model answers with"), "{wrong:?}");
    }
    let many: Vec<String> = (0..30).map(|i| format!("name{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let wrong = refused(&Head::Regression, &labelled(&many, Target::Class));
    assert_eq!((wrong.len(), wrong[20].starts_with("10 more problems")), (21, true));
}
