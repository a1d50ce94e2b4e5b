//! Rows by their length, tokens by their place: is it the long ones that got worse?

use super::sums::{Sums, interval};
use super::{Quartile, QuartileQuality};
use crate::engine::error::Result;
use crate::engine::evaluate::Scores;
use crate::engine::evaluate::cloze::Cloze;
use crate::engine::evaluate::fidelity;
use crate::engine::evaluate::language::Foretold;
use crate::engine::evaluate::statistics::wilson;

/// Quartiles.
const PARTS: usize = 4;

/// Rows from the shortest to the longest, in at most four parts of about one size. Rows of one length stay together.
pub(super) fn by_length(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    let length = |row: &usize| lengths.get(*row).copied().unwrap_or(0);
    order.sort_by_key(|row| (length(row), *row));
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut taken = 0;
    for same in order.chunk_by(|a, b| length(a) == length(b)) {
        // A length stands where the middle of its rows does
        let part = (2 * taken + same.len()) * PARTS / (2 * order.len()).max(1);
        taken += same.len();
        parts.resize(parts.len().max(part + 1), Vec::new());
        if let Some(part) = parts.get_mut(part) {
            part.extend(same);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Answers to whole rows, with the labels where these are known. `starts` are where each row's lines begin.
pub(super) fn of_rows(
    lengths: &[usize],
    starts: &[usize],
    (original, result): (Option<&Scores>, &Scores),
    labels: Option<&[usize]>,
    are_distributions: bool,
) -> Result<Vec<Quartile>> {
    let kl = original.filter(|_| are_distributions).map(|original| fidelity::divergences(original, result));
    let right = |scores: &Scores| -> Option<Vec<bool>> {
        Some(scores.argmax().iter().zip(labels?).map(|(answer, label)| answer == label).collect())
    };
    let (before, after) = (original.and_then(right), right(result));
    let share = |right: &Vec<bool>, rows: &[usize]| {
        let count = rows.iter().filter(|row| right.get(**row).copied().unwrap_or(false)).count();
        wilson(count as u64, rows.len() as u64)
    };
    let quartile = |rows: &Vec<usize>| {
        let of_part = rows.iter().filter_map(|row| lengths.get(*row)).map(|length| *length as u64);
        let sums = kl.as_ref().map(|kl| {
            let row = |row: &usize| {
                let lines = kl.get(*starts.get(*row)?..*starts.get(*row + 1)?)?;
                Some((lines.iter().sum(), lines.len() as f64))
            };
            Sums(rows.iter().filter_map(row).collect())
        });
        let result = after.as_ref().and_then(|right| share(right, rows));
        Ok(Quartile {
            from: of_part.clone().min().unwrap_or(0),
            to: of_part.max().unwrap_or(0),
            n: rows.len() as u64,
            kl: sums.map(|sums| sums.interval()).transpose()?,
            quality: result.map(|result| QuartileQuality {
                original: before.as_ref().and_then(|right| share(right, rows)),
                result,
            }),
        })
    };
    // A row that nothing is asked of has no answer to compare
    let is_asked = |row: &usize| starts.get(*row) < starts.get(*row + 1);
    let parts = by_length(lengths).into_iter().map(|rows| rows.into_iter().filter(is_asked).collect::<Vec<_>>());
    parts.filter(|rows| !rows.is_empty()).map(|rows| quartile(&rows)).collect()
}

/// What was foretold of each token, by its place in the row. Quality is perplexity, where the rows are text.
pub(super) fn of_tokens(
    cloze: &Cloze,
    original: Option<&Foretold>,
    result: &Foretold,
    is_text: bool,
) -> Result<Vec<Quartile>> {
    let longest = cloze.asked.iter().flatten().map(|(place, _)| *place as usize + 1).max().unwrap_or(1);
    let part_of = |place: u32| (place as usize * PARTS / longest).min(PARTS - 1);
    let starts = cloze.offsets();
    // Of each row what is summed over its tokens in that part
    let sums = |values: &[f32], part: usize| -> Sums {
        let row = |(asked, start): (&Vec<(u32, u32)>, &usize)| {
            let inside = asked.iter().enumerate().filter(|(_, (place, _))| part_of(*place) == part);
            let values = inside.filter_map(|(i, _)| values.get(start + i)).map(|x| f64::from(*x));
            values.fold((0f64, 0f64), |(sum, count), x| (sum + x, count + 1.0))
        };
        Sums(cloze.asked.iter().zip(&starts).map(row).filter(|(_, count)| *count > 0.0).collect())
    };
    let perplexity = |foretold: &Foretold, part: usize| {
        let sums = sums(&foretold.nll, part);
        interval(sums.0.len(), |rows| sums.mean(rows).exp())
    };
    let quartile = |part: usize| -> Option<Result<Quartile>> {
        let places = cloze.asked.iter().flatten().map(|(place, _)| *place).filter(|place| part_of(*place) == part);
        let (from, to) = (u64::from(places.clone().min()?), u64::from(places.clone().max()?));
        let kl = result.beside.as_ref().map(|beside| sums(&beside.kl, part).interval());
        let quality = || -> Result<QuartileQuality> {
            let original = original.map(|original| perplexity(original, part)).transpose()?;
            Ok(QuartileQuality { original, result: perplexity(result, part)? })
        };
        let whole = || -> Result<Quartile> {
            let quality = is_text.then(quality).transpose()?;
            Ok(Quartile { from, to, n: places.count() as u64, kl: kl.transpose()?, quality })
        };
        Some(whole())
    };
    (0..PARTS).filter_map(quartile).collect()
}
