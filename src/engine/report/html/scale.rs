//! Axes: from values to places on the page, and where the ticks stand.

/// A stretch of values and the stretch of the page that it is drawn on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// `low` is drawn at `from`, `high` at `to`. An empty stretch is widened.
    pub(crate) fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        Self { low, high, from, to }
    }

    /// The place of a value; what is beyond the ends stands at them.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Whether a value is within the ends.
    pub(crate) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// About `wanted` round values: multiples of 1, 2 or 5 times a power of ten.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / wanted.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).take(4 * wanted.max(1)).map(|number| number as f64 * step).collect()
    }
}

/// Round values between two sizes on a logarithmic axis: 1, 2 and 5 times the powers of ten, and more of them where
/// the sizes are near each other.
pub(crate) fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let ticks = |multiples: &[f64]| -> Vec<f64> {
        let all = (first..=last).flat_map(|power| multiples.iter().map(move |m| m * 10_f64.powi(power)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let coarse = ticks(&[1.0, 2.0, 5.0]);
    let ticks = if coarse.len() < 4 { ticks(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]) } else { coarse };
    let every = ticks.len().div_ceil(8).max(1);
    ticks.into_iter().step_by(every).collect()
}
