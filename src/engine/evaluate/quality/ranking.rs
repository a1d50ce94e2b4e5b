//! Correlations of rows that are drawn again and again.

use super::super::statistics::ranks;

/// Numbers with their order, so that the ranks of any drawn rows take one pass and no sorting.
pub(super) struct Ranking {
    values: Vec<f64>,
    /// Rows from the smallest value up.
    order: Vec<usize>,
    /// Where each run of equal values ends in `order`.
    ends: Vec<usize>,
}

impl Ranking {
    /// Cost: a sort.
    pub(super) fn of(values: Vec<f64>) -> Self {
        let ranks = ranks(&values);
        let at = |row: &usize| ranks.get(*row).copied().unwrap_or_default();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| at(a).total_cmp(&at(b)));
        let ties = order.chunk_by(|a, b| at(a) == at(b));
        let ends = ties.scan(0, |end, ties| {
            *end += ties.len();
            Some(*end)
        });
        let ends = ends.collect();
        Self { values, order, ends }
    }

    /// The numbers themselves.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rank of every row among rows that were drawn so many times; equal values share the mean of their ranks.
    fn ranks(&self, drawn: &[u32], ranks: &mut Vec<f64>) {
        ranks.clear();
        ranks.resize(self.values.len(), 0.0);
        let (mut before, mut start) = (0.0, 0);
        for &end in &self.ends {
            let ties = self.order.get(start..end).unwrap_or_default();
            let count: f64 = ties.iter().filter_map(|row| drawn.get(*row)).map(|count| f64::from(*count)).sum();
            let rank = before + f64::midpoint(count, 1.0);
            for row in ties {
                if let Some(slot) = ranks.get_mut(*row) {
                    *slot = rank;
                }
            }
            before += count;
            start = end;
        }
    }
}

/// Two columns of numbers.
pub(super) struct Pair<'a> {
    x: &'a Ranking,
    y: &'a Ranking,
    drawn: Vec<u32>,
    ranks: (Vec<f64>, Vec<f64>),
}

impl<'a> Pair<'a> {
    /// Of as many numbers each.
    pub(super) fn of(x: &'a Ranking, y: &'a Ranking) -> Self {
        Self { x, y, drawn: Vec::new(), ranks: (Vec::new(), Vec::new()) }
    }

    fn draw(&mut self, rows: &[usize]) {
        self.drawn.clear();
        self.drawn.resize(self.x.values.len(), 0);
        for row in rows {
            if let Some(count) = self.drawn.get_mut(*row) {
                *count += 1;
            }
        }
    }

    /// Pearson's correlation of the drawn rows; NaN where one side does not vary.
    pub(super) fn pearson(&mut self, rows: &[usize]) -> f64 {
        self.draw(rows);
        weighted(&self.x.values, &self.y.values, &self.drawn)
    }

    /// Spearman's: Pearson's of the ranks.
    pub(super) fn spearman(&mut self, rows: &[usize]) -> f64 {
        self.draw(rows);
        self.x.ranks(&self.drawn, &mut self.ranks.0);
        self.y.ranks(&self.drawn, &mut self.ranks.1);
        weighted(&self.ranks.0, &self.ranks.1, &self.drawn)
    }
}

/// Pearson's correlation with each row counted so many times.
fn weighted(x: &[f64], y: &[f64], weights: &[u32]) -> f64 {
    let (mut n, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
    for ((x, y), weight) in x.iter().zip(y).zip(weights) {
        let weight = f64::from(*weight);
        n += weight;
        sum_x += weight * x;
        sum_y += weight * y;
    }
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for ((x, y), weight) in x.iter().zip(y).zip(weights) {
        let (dx, dy, weight) = (x - mean_x, y - mean_y, f64::from(*weight));
        xy += weight * dx * dy;
        xx += weight * dx * dx;
        yy += weight * dy * dy;
    }
    if xx > 0.0 && yy > 0.0 { (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0) } else { f64::NAN }
}
