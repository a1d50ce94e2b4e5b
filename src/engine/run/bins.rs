//! Counts of numbers in bins whose width is a power of two, so that counts of parts add up to those of the whole, whatever
//! the parts are.

/// Bins on either side of 0, while numbers are counted.
const HALF: usize = 64;
/// The exponent of a width for numbers that are all (nearly) 0.
const LEAST: i32 = -100;

/// How many numbers lie in each of `[i, i + 1) · 2^exponent`; the width is the least that holds the largest number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bins {
    largest: f32,
    exponent: i32,
    counts: [u64; 2 * HALF],
}

impl Default for Bins {
    fn default() -> Self {
        Self { largest: 0.0, exponent: LEAST, counts: [0; 2 * HALF] }
    }
}

impl Bins {
    /// Counts some numbers. What is not finite stands at an end.
    pub(super) fn add(&mut self, numbers: &[f32]) {
        let largest = numbers.iter().fold(0f32, |most, x| most.max(x.abs())).min(f32::MAX);
        self.widen(exponent(largest));
        self.largest = self.largest.max(largest);
        let scale = 2f32.powi(-self.exponent);
        for x in numbers {
            let scaled = x * scale;
            // Truncated towards 0, and then down: a floor without the library's
            let whole = scaled as i32;
            let floor = whole - i32::from(scaled < whole as f32);
            let place = (floor.clamp(-(HALF as i32), HALF as i32 - 1) + HALF as i32) as usize;
            if let Some(count) = self.counts.get_mut(place) {
                *count += 1;
            }
        }
    }

    /// Adds what was counted of other numbers.
    pub(super) fn join(&mut self, other: &Self) {
        let mut other = other.clone();
        other.widen(self.exponent);
        self.widen(other.exponent);
        self.largest = self.largest.max(other.largest);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
    }

    /// Makes bins wider, if they are narrower: each is half of one of the new ones.
    fn widen(&mut self, exponent: i32) {
        if self.largest == 0.0 {
            self.exponent = self.exponent.max(exponent); // zeros stay where they are
        }
        while self.exponent < exponent {
            let mut wider = [0; 2 * HALF];
            for (place, count) in self.counts.iter().enumerate() {
                if let Some(sum) = wider.get_mut(place / 2 + HALF / 2) {
                    *sum += count;
                }
            }
            (self.counts, self.exponent) = (wider, self.exponent + 1);
        }
    }

    /// The width of the bins, and the counts of several sets of numbers in them: bin `i` of `2n + 1` holds what is nearest to
    /// `(i − n) · width`. 33 to 65 bins; one, of width 0, where all numbers are 0.
    pub(super) fn table<const N: usize>(sets: [&Self; N]) -> (f64, [Vec<u64>; N]) {
        let exponent = sets.iter().map(|set| set.exponent).max().unwrap_or(LEAST);
        if sets.iter().all(|set| set.largest == 0.0) {
            return (0.0, sets.map(|set| vec![set.counts.iter().sum()]));
        }
        // A bin of the table is two of ours, the one before it and the one behind it
        let wide = sets.map(|set| {
            let mut set = set.clone();
            set.widen(exponent);
            let mut counts = vec![0_u64; HALF + 1];
            for (place, count) in set.counts.iter().enumerate() {
                if let Some(sum) = counts.get_mut(place.div_ceil(2)) {
                    *sum += count;
                }
            }
            counts
        });
        let is_empty = |at: usize| wide.iter().all(|counts| counts.get(at).is_none_or(|count| *count == 0));
        let outside = (0..HALF / 2).take_while(|at| is_empty(*at) && is_empty(HALF - at)).count();
        let inner = |counts: Vec<u64>| counts.get(outside..=HALF - outside).map(<[u64]>::to_vec).unwrap_or_default();
        (2f64.powi(exponent + 1), wide.map(inner))
    }
}

/// The least exponent with `largest < HALF · 2^exponent`.
fn exponent(largest: f32) -> i32 {
    ((largest.to_bits() >> 23) as i32 - 127 + 1 - HALF.ilog2() as i32).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u32) -> Vec<f32> {
        // Tails a thousand times as wide as the middle, both signs, and zeros
        (0..count).map(|i| (f32::from((i * 7919 % 613) as u16) / 306.0 - 1.0).powi(7) * 0.37).collect()
    }

    #[test]
    fn parts_in_any_order_count_as_the_whole() {
        let all = numbers(5000);
        let mut whole = Bins::default();
        whole.add(&all);
        for size in [1, 7, 600, 4999] {
            let mut parts = Bins::default();
            for part in all.chunks(size).rev() {
                let mut one = Bins::default();
                one.add(part);
                parts.join(&one);
            }
            assert_eq!(parts, whole, "parts of {size}");
            let mut one_by_one = Bins::default();
            all.chunks(size).for_each(|part| one_by_one.add(part));
            assert_eq!(one_by_one, whole);
        }
    }

    #[test]
    fn a_bin_holds_what_is_nearest_to_its_middle() {
        let (all, other) = (numbers(3000), numbers(100).iter().map(|x| 2.5 * x).collect::<Vec<_>>());
        let (mut a, mut b) = (Bins::default(), Bins::default());
        a.add(&all);
        b.add(&other);
        let (width, [first, second]) = Bins::table([&a, &b]);
        assert!(first.len() == second.len() && (33..=65).contains(&first.len()) && first.len() % 2 == 1);
        let middle = (first.len() / 2) as f64;
        for (numbers, counts) in [(&all, &first), (&other, &second)] {
            let mut expected = vec![0_u64; counts.len()];
            for x in numbers {
                expected[(f64::from(*x) / width + 0.5 + middle).floor() as usize] += 1;
            }
            assert_eq!(*counts, expected);
        }
        assert!(first[0] + second[0] + first.last().unwrap() + second.last().unwrap() > 0, "no bins beyond the ends");
    }

    #[test]
    fn zeros_and_what_is_no_number_are_counted() {
        let mut zeros = Bins::default();
        zeros.add(&[0.0, -0.0, 0.0]);
        assert_eq!(Bins::table([&zeros]), (0.0, [vec![3]]));
        zeros.add(&[1.0]);
        let (width, [counts]) = Bins::table([&zeros]);
        assert_eq!((width, counts.len(), counts[16], counts[32]), (0.0625, 33, 3, 1));
        let mut odd = Bins::default();
        odd.add(&[f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 1e-45]);
        assert_eq!(odd.counts.iter().sum::<u64>(), 5);
    }
}
