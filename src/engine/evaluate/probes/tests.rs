use super::quartiles::by_length;
use super::sample::{sample, shuffled};
use super::sums::Sums;
use crate::engine::data::Encoded;

#[test]
fn rows_are_drawn_once_each_and_always_the_same() {
    let places = sample(1_000, 256);
    assert_eq!((places.len(), places.clone()), (256, sample(1_000, 256)));
    assert!(places.is_sorted_by(|a, b| a < b) && places[255] > 900, "not the first ones");
    assert_eq!(sample(3, 256), [0, 1, 2]);
}

#[test]
fn shuffled_rows_hold_the_same_tokens_and_special_ones_stay() {
    let ids: Vec<u32> = std::iter::once(1).chain(10..60).chain([2]).chain(100..130).chain([2]).collect();
    let types: Vec<u32> = ids.iter().enumerate().map(|(place, _)| u32::from(place > 51)).collect();
    let rows = Encoded { ids: vec![ids.clone(), vec![1, 2]], type_ids: vec![types, vec![0, 0]] };
    let mixed = shuffled(&rows, |_, _, id| id < 10);
    let row = &mixed.rows.ids[0];
    assert_eq!((row[0], row[51], row[82]), (1, 2, 2));
    let sorted = |part: &[u32]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part
    };
    assert_eq!(sorted(&row[1..51]), ids[1..51], "each text of a pair keeps its words");
    assert_eq!(sorted(&row[52..82]), ids[52..82]);
    assert!(row.iter().zip(&ids).filter(|(a, b)| a == b).count() < 15, "most have moved: {row:?}");
    assert!(mixed.from[0].iter().zip(row).all(|(from, id)| ids[*from] == *id), "and it is known from where");
    assert_eq!(mixed.rows.ids[1], [1, 2]);
}

#[test]
fn quartiles_hold_every_row_once_and_equal_lengths_together() {
    let lengths: Vec<usize> = (0..103).map(|row| 5 + row * 7 % 20).collect();
    let parts = by_length(&lengths);
    assert_eq!(parts.len(), 4);
    let mut all: Vec<usize> = parts.concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..103));
    let ends = |part: &Vec<usize>| {
        let of_part: Vec<usize> = part.iter().map(|row| lengths[*row]).collect();
        (*of_part.iter().min().unwrap(), *of_part.iter().max().unwrap())
    };
    assert!(parts.windows(2).all(|pair| ends(&pair[0]).1 < ends(&pair[1]).0));
    assert!(parts.iter().all(|part| (20..=32).contains(&part.len())));
    assert_eq!(by_length(&[32; 9]).len(), 1);
    assert!(by_length(&[]).is_empty());
}

#[test]
fn a_ratio_is_paired_and_there_is_none_to_nothing() {
    let before = Sums((0..50).map(|row| (f64::from(row % 7), 2.0)).collect());
    let after = Sums(before.0.iter().map(|(sum, count)| (sum / 4.0, *count)).collect());
    let found = Sums::sides(Some(&before), &after).unwrap();
    let ratio = found.ratio.unwrap();
    assert!([ratio.value, ratio.low, ratio.high].iter().all(|x| (x - 0.25).abs() < 1e-12), "{ratio:?}");
    let original = found.original.unwrap();
    assert!(original.low < original.value && original.value < original.high);
    let nothing = Sums(vec![(0.0, 2.0); 50]);
    assert_eq!(Sums::sides(Some(&nothing), &after).unwrap().ratio, None);
    assert!(Sums::sides(None, &Sums::default()).is_err(), "of no rows");
}
