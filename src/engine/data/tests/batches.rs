use proptest::prelude::*;

use super::*;

#[test]
fn rows_of_like_length_go_together() {
    assert_eq!(batches(&[5, 2, 9, 2, 5], 2, 100), [vec![1, 3], vec![0, 4], vec![2]]);
    assert_eq!(batches(&[5, 2, 9, 2, 5], 10, 10), [vec![1, 3], vec![0, 4], vec![2]]);
    assert_eq!(batches(&[50, 3], 10, 10), [vec![1], vec![0]]);
    assert!(batches(&[], 10, 10).is_empty());
}

proptest! {
    #[test]
    fn each_row_is_in_one_batch_within_its_limits(
        lengths in prop::collection::vec(0_usize..300, 0..100),
        max_rows in 1_usize..20,
        max_tokens in 1_usize..2000,
    ) {
        let all = batches(&lengths, max_rows, max_tokens);
        let mut seen: Vec<usize> = all.iter().flatten().copied().collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        for batch in all {
            let longest = batch.iter().map(|&at| lengths[at]).max().unwrap();
            prop_assert!(batch.len() <= max_rows);
            prop_assert!(batch.len() == 1 || batch.len() * longest <= max_tokens);
        }
    }
}

#[test]
fn random_rows_are_ordinary_tokens_between_the_special_ones() {
    let vocabulary = Vocabulary { ordinary: vec![3, 5, 6], prefix: vec![1], suffix: vec![2] };
    let encoded = vocabulary_text(&vocabulary, 20, 12, 9);
    assert_eq!(encoded, vocabulary_text(&vocabulary, 20, 12, 9));
    assert_ne!(encoded, vocabulary_text(&vocabulary, 20, 12, 10));
    for (ids, types) in encoded.ids.iter().zip(&encoded.type_ids) {
        assert_eq!((ids.len(), types), (12, &vec![0; 12]));
        assert_eq!((ids[0], ids[11]), (1, 2));
        assert!(ids[1..11].iter().all(|id| vocabulary.ordinary.contains(id)));
    }
    let drawn: std::collections::HashSet<u32> = encoded.ids.iter().flatten().copied().collect();
    assert_eq!(drawn.len(), 5);
    assert_eq!(Vocabulary::plain(5, &[0, 3]).ordinary, [1, 2, 4]);
}
