//! The sample's probes, and the ways in which less of them was measured.

use std::collections::BTreeMap;

use crate::engine::evaluate::probes::{
    Balance, HeadBalance, LayerHeads, LongRange, Positions, Probes, Quartile, QuartileQuality, QuartilesOf, Sample,
    Sides, Unit,
};
use crate::engine::evaluate::statistics::Interval;

fn interval(value: f64, half: f64) -> Interval {
    Interval { value, low: value - half, high: value + half }
}

fn sides(original: f64, result: f64, half: f64) -> Sides {
    let ratio = Some(interval(result / original, half / original / 2.0));
    Sides { original: Some(interval(original, half)), result: interval(result, half), ratio }
}

/// Everything measured.
pub(super) fn probes() -> Probes {
    let quartile = |(from, to, n, kl, before, after)| Quartile {
        from,
        to,
        n,
        kl: Some(interval(kl, kl / 3.0)),
        quality: Some(QuartileQuality { original: Some(interval(before, 0.032)), result: interval(after, 0.033) }),
    };
    let quartiles = [
        (9, 24, 507, 0.0031, 0.8501, 0.8481),
        (25, 41, 489, 0.0044, 0.8466, 0.8446),
        (42, 70, 506, 0.0051, 0.8419, 0.8320),
        (71, 96, 498, 0.0064, 0.8554, 0.8434),
    ];
    let layer = |layer: u64| {
        let balance = |factor: f64| Balance {
            kept: 12,
            effective: 11.2 - 0.2 * factor * layer as f64,
            importances: (0..12_u32).map(|head| factor * (0.3 + 0.04 * f64::from(head))).collect(),
        };
        let ranks = ["query", "key", "value", "output"].map(|name| (name.to_owned(), 384));
        LayerHeads { layer, original: Some(balance(1.0)), result: balance(0.98), ranks: BTreeMap::from(ranks) }
    };
    Probes {
        sample: Sample { rows: 256, of: 2_000, seed: 16 },
        unit: Unit::Probability,
        long_range: LongRange {
            window: 16,
            change: Some(sides(0.412, 0.398, 0.071)),
            worth: sides(0.094, 0.089, 0.021),
            quartiles_of: QuartilesOf::RowLength,
            metric: Some("accuracy".into()),
            quartiles: quartiles.map(quartile).into(),
        },
        positions: Positions {
            table_relative_error: Some(0.064),
            change: Some(sides(0.187, 0.176, 0.043)),
            worth: sides(0.041, 0.039, 0.013),
        },
        head_balance: HeadBalance { fewest_effective: sides(10.2, 10.22, 0.04), layers: (0..6).map(layer).collect() },
    }
}

fn all_sides(probes: &mut Probes) -> impl Iterator<Item = &mut Sides> {
    let Probes { long_range, positions, head_balance, .. } = probes;
    let always = [&mut long_range.worth, &mut positions.worth, &mut head_balance.fewest_effective];
    always.into_iter().chain(long_range.change.as_mut()).chain(positions.change.as_mut())
}

pub(super) fn without_quality(probes: &mut Probes) {
    probes.long_range.metric = None;
    probes.long_range.quartiles.iter_mut().for_each(|quartile| quartile.quality = None);
}

pub(super) fn without_original(probes: &mut Probes) {
    all_sides(probes).for_each(|sides| (sides.original, sides.ratio) = (None, None));
    probes.positions.table_relative_error = None;
    probes.head_balance.layers.iter_mut().for_each(|layer| layer.original = None);
    for quartile in &mut probes.long_range.quartiles {
        quartile.kl = None;
        quartile.quality.iter_mut().for_each(|quality| quality.original = None);
    }
}

pub(super) fn of_vectors(probes: &mut Probes) {
    probes.unit = Unit::CosineDistance;
    (probes.long_range.change, probes.positions.change) = (None, None);
    probes.long_range.quartiles.iter_mut().for_each(|quartile| quartile.kl = None);
}
