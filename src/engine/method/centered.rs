//! Rounding in front of a layer norm, which does not see what all outputs have in common.
//!
//! In a post-norm block the outputs of a map go into `LN(r + W x + b)`, and `LN(y + c·1) = LN(y)`. So `1 aᵀ` may be added to
//! `W [out, in]` with any `a [in]`. One weight far from all others can give its row a step as large as the spread of the
//! rest, which then rounds to zero. With `a = ŵ_r − w_r` that row falls on its grid, and the finer steps of the other rows
//! take `a` up. Of each group of columns the row with the largest error is chosen, and the change is kept where the error
//! that the norm sees is less: `‖C(Ŵ − W)‖²`, where `C` takes each column's mean away. Costs twice the plain rounding.
//!
//! Source: the invariance is that of Ba et al. 2016, arXiv 1607.06450, table 1; we know of no paper that rounds by it. On
//! BERT-class models it takes away more than half of what the mlp's second map costs at 8 bits.

use super::quantize::{Known, Round};
use crate::engine::model::Dtype;
use crate::engine::model::grouped::Grouped;

/// [`Round::quantize`] for `[out, in]` weights whose outputs a layer norm centers.
pub(super) fn quantize(
    round: &Round,
    weights: &[f32],
    shape: (usize, usize),
    scale_dtype: Dtype,
    importance: Option<&[f32]>,
) -> (Grouped, usize) {
    let (mut kept, raised) = round.quantize(weights, shape, scale_dtype, importance);
    let columns = shape.1.max(1);
    let size = kept.group_size.unwrap_or(columns).max(1);
    let plain = kept.decode();
    let moved = shifted(weights, &plain, columns, size);
    let known = Known { importance, near: Some(&kept) };
    let (other, _) = round.quantize_near(&moved, shape, scale_dtype, known);
    let before = seen_errors(weights, &plain, importance, (columns, size));
    let after = seen_errors(weights, &other.decode(), importance, (columns, size));
    for (group, (before, after)) in before.iter().zip(&after).enumerate() {
        if after < before {
            take_group(&mut kept, &other, group, size);
        }
    }
    (kept, raised)
}

/// `weights: [out, in]`, moved by what puts the row with the largest error of each group of columns onto its grid; `plain` is what
/// plain rounding makes of them, on the grids that they have by then.
pub(super) fn moved(plain: &Grouped, weights: &[f32]) -> Vec<f32> {
    let columns = plain.r#in.max(1);
    shifted(weights, &plain.decode(), columns, plain.group_size.unwrap_or(columns).max(1))
}

fn shifted(weights: &[f32], rounded: &[f32], columns: usize, size: usize) -> Vec<f32> {
    let shift = shift(weights, rounded, columns, size);
    weights.chunks(columns).flat_map(|row| row.iter().zip(&shift).map(|(w, a)| w + a)).collect()
}

/// What puts, in each group of columns, the row with the largest error onto its grid.
fn shift(weights: &[f32], rounded: &[f32], columns: usize, size: usize) -> Vec<f32> {
    let mut shift = vec![0f32; columns];
    let mut worst = vec![0f64; columns.div_ceil(size)];
    for (row, rounded) in weights.chunks(columns).zip(rounded.chunks(columns)) {
        let groups = row.chunks(size).zip(rounded.chunks(size)).zip(shift.chunks_mut(size)).zip(&mut worst);
        for (((row, rounded), shift), worst) in groups {
            let error: f64 = row.iter().zip(rounded).map(|(w, r)| f64::from(r - w).powi(2)).sum();
            if error > *worst {
                *worst = error;
                shift.iter_mut().zip(row.iter().zip(rounded)).for_each(|(a, (w, r))| *a = r - w);
            }
        }
    }
    shift
}

/// `‖C(Ŵ − W)‖²` of each group of columns, each column weighted by its importance where there is one.
fn seen_errors(
    weights: &[f32],
    rounded: &[f32],
    importance: Option<&[f32]>,
    (columns, size): (usize, usize),
) -> Vec<f64> {
    let mut sums = vec![(0f64, 0f64); columns];
    for (row, rounded) in weights.chunks(columns).zip(rounded.chunks(columns)) {
        for ((sum, squares), (w, r)) in sums.iter_mut().zip(row.iter().zip(rounded)) {
            let off = f64::from(*r) - f64::from(*w);
            *sum += off;
            *squares += off * off;
        }
    }
    let rows = (weights.len() / columns).max(1) as f64;
    let weight = |column: usize| importance.and_then(|all| all.get(column)).map_or(1.0, |e| f64::from(*e));
    let errors: Vec<f64> =
        sums.iter().enumerate().map(|(j, (sum, squares))| weight(j) * (squares - sum * sum / rows)).collect();
    errors.chunks(size).map(|group| group.iter().sum()).collect()
}

/// Takes one group of columns over from `other`.
fn take_group(kept: &mut Grouped, other: &Grouped, group: usize, size: usize) {
    let groups = Grouped::groups(kept.r#in, kept.group_size);
    let columns = kept.r#in.max(1);
    for (to, from) in kept.codes.chunks_mut(columns).zip(other.codes.chunks(columns)) {
        if let (Some(to), Some(from)) = (to.chunks_mut(size).nth(group), from.chunks(size).nth(group)) {
            to.copy_from_slice(from);
        }
    }
    kept.scales.iter_mut().zip(&other.scales).skip(group).step_by(groups).for_each(|(to, from)| *to = *from);
    if let (Some(to), Some(from)) = (&mut kept.zeros, &other.zeros) {
        to.iter_mut().zip(from).skip(group).step_by(groups).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::method::range::Observer;

    const COLUMNS: usize = 24;

    fn round(bits: u32, group_size: Option<usize>, symmetric: bool) -> Round {
        Round { bits, group_size, per_tensor: false, symmetric, observer: Observer::Mse, power_of_two: false }
    }

    fn seen(round: &Round, weights: &[f32], centered: bool) -> Vec<f64> {
        let shape = (weights.len() / COLUMNS, COLUMNS);
        let rounded = if centered {
            quantize(round, weights, shape, Dtype::F32, None).0
        } else {
            round.quantize(weights, shape, Dtype::F32, None).0
        };
        seen_errors(weights, &rounded.decode(), None, (COLUMNS, rounded.group_size.unwrap_or(COLUMNS)))
    }

    proptest! {
        #[test]
        fn the_norm_never_sees_more_than_of_plain_rounding(
            weights in prop::collection::vec(-1f32..1.0, 8 * COLUMNS), bits in prop::sample::select(vec![4u32, 8]),
            group_size in prop::sample::select(vec![None, Some(8usize), Some(16)]), symmetric: bool,
        ) {
            let round = round(bits, group_size, symmetric);
            for (plain, centered) in seen(&round, &weights, false).iter().zip(seen(&round, &weights, true)) {
                prop_assert!(centered <= *plain, "{centered} > {plain}");
            }
        }
    }

    #[test]
    fn a_row_with_one_huge_weight_costs_next_to_nothing() {
        // Rows of spread 0.05; one holds a weight of 8, so that its step is 8 / 127 = 0.063
        let mut weights: Vec<f32> = (0..16 * COLUMNS).map(|i| ((i * 7919 % 101) as f32 / 101.0 - 0.5) * 0.1).collect();
        weights[5 * COLUMNS + 3] = 8.0;
        let round = round(8, None, true);
        let (plain, centered) = (seen(&round, &weights, false)[0], seen(&round, &weights, true)[0]);
        assert!(centered < plain / 50.0, "{centered} against {plain}");
    }
}
