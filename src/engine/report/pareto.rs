//! Which results are worth having: those that no other beats in size and quality at once.

/// A result as a point: smaller is better in `size_bytes`, larger in `value`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Weight files.
    pub size_bytes: u64,
    /// The metric. Finite.
    pub value: f64,
}

impl Point {
    /// Whether this one is no larger and no worse than `other`, and better in one of the two.
    ///
    /// `size ≤ size' ∧ value ≥ value' ∧ (size < size' ∨ value > value')`
    pub fn dominates(self, other: Self) -> bool {
        self.size_bytes <= other.size_bytes
            && self.value >= other.value
            && (self.size_bytes < other.size_bytes || self.value > other.value)
    }
}

/// For each point whether another one dominates it, in the points' order. Equal points do not dominate each other.
///
/// One walk by size: a point is dominated exactly if a smaller one has at least its value, or one of its own size has
/// more. `O(n log n)`.
pub fn dominated(points: &[Point]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let at = |i: &usize| points.get(*i).copied().unwrap_or(Point { size_bytes: 0, value: f64::NEG_INFINITY });
    order.sort_by(|a, b| {
        let (a, b) = (at(a), at(b));
        a.size_bytes.cmp(&b.size_bytes).then(b.value.total_cmp(&a.value))
    });
    let mut flags = vec![false; points.len()];
    // the best value so far, and the best point of the present size, which comes first
    let (mut best, mut first) = (f64::NEG_INFINITY, None::<Point>);
    for i in &order {
        let point = at(i);
        match first {
            Some(first) if first.size_bytes == point.size_bytes => {}
            before => {
                best = before.map_or(best, |before| best.max(before.value));
                first = Some(point);
            }
        }
        let is_beaten = best >= point.value || first.is_some_and(|first| first.value > point.value);
        if let Some(flag) = flags.get_mut(*i) {
            *flag = is_beaten;
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(pairs: &[(u64, f64)]) -> Vec<Point> {
        pairs.iter().map(|&(size_bytes, value)| Point { size_bytes, value }).collect()
    }

    #[test]
    fn smaller_or_better_survives_and_equals_do_not_beat_each_other() {
        let given = points(&[(10, 0.9), (5, 0.8), (7, 0.8), (5, 0.7), (20, 0.9), (3, 0.1), (10, 0.9)]);
        assert_eq!(dominated(&given), [false, false, true, true, true, false, false]);
        assert_eq!(dominated(&[]), [] as [bool; 0]);
        assert_eq!(dominated(&points(&[(1, -0.5)])), [false]);
    }

    proptest! {
        #[test]
        fn the_walk_says_what_the_definition_says(pairs in prop::collection::vec((0_u64..8, 0_u8..8), 0..40)) {
            let pairs: Vec<_> = pairs.into_iter().map(|(size, value)| (size, f64::from(value) / 4.0)).collect();
            let given = points(&pairs);
            let defined: Vec<bool> =
                given.iter().map(|point| given.iter().any(|other| other.dominates(*point))).collect();
            prop_assert_eq!(dominated(&given), defined);
        }
    }
}
