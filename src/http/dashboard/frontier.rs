//! Which results are worth having: smaller, or better, than every other. Pure.

use crate::engine::report::pareto;

/// A result: bytes, and a metric of which more is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) bytes: f64,
    pub(super) value: f64,
}

/// Whether another of them is as small and as good, and in one of the two better. Of equals none is dominated.
pub(super) fn dominated(places: &[Place]) -> Vec<bool> {
    let point = |place: &Place| pareto::Point { size_bytes: place.bytes as u64, value: place.value };
    pareto::dominated(&places.iter().map(point).collect::<Vec<_>>())
}

/// The corners of the steps that those which are not dominated make, from the smallest on.
pub(super) fn steps(places: &[Place]) -> Vec<Place> {
    let dominated = dominated(places);
    let mut frontier: Vec<Place> =
        places.iter().zip(dominated).filter(|(_, is)| !is).map(|(place, _)| *place).collect();
    frontier.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
    let mut corners: Vec<Place> = Vec::new();
    for place in frontier {
        if let Some(last) = corners.last().copied() {
            corners.push(Place { bytes: place.bytes, value: last.value });
        }
        corners.push(place);
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(pairs: &[(f64, f64)]) -> Vec<Place> {
        pairs.iter().map(|(bytes, value)| Place { bytes: *bytes, value: *value }).collect()
    }

    #[test]
    fn the_smaller_and_better_dominate() {
        let all = places(&[(4.0, 0.8), (2.0, 0.7), (4.0, 0.7), (3.0, 0.6), (2.0, 0.7)]);
        assert_eq!(dominated(&all), [false, false, true, true, false], "equals do not dominate each other");
        assert_eq!(dominated(&[]), [false; 0]);
    }

    #[test]
    fn steps_go_across_and_then_up() {
        let all = places(&[(4.0, 0.8), (2.0, 0.7), (3.0, 0.6)]);
        assert_eq!(steps(&all), places(&[(2.0, 0.7), (4.0, 0.7), (4.0, 0.8)]));
    }
}
