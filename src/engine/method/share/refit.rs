//! Tables and indices that bring a layer's outputs near to what they were: `Σ_r e_r H e_rᵀ` with `e_r = ŵ_r − w_r` of row `r` and
//! `H = X̂ᵀX̂`, where [`super::kmeans`] sees its diagonal alone.
//!
//! Two steps take turns, and neither makes the sum larger but for the rounding of centroids to their type. For given indices the
//! best table is a least-squares problem in as many unknowns as it has entries: `A δ = −Σ_r B_rᵀ H e_r`, `A = Σ_r B_rᵀ H B_r`, with
//! `B_r [in, centroids]` one where a weight has an entry. For given tables each weight in turn takes the entry nearest to where
//! its row costs least, `ŵ_j − (H e)_j / H_jj`: coordinate descent, as Behdin et al. 2023, arXiv 2309.01885, do on even grids.
//!
//! Costs `in²` multiplications a row for each step, and as many for each weight that changes.

use super::Nearest;
use crate::engine::error::{EngineError, Result};
use crate::engine::linalg::solve::Cholesky;
use crate::engine::model::Dtype;

/// Times that tables and indices take turns.
const TURNS: usize = 3;
/// Most times that a row's weights are gone through in one turn.
const SWEEPS: usize = 4;
/// What is added to the diagonal of a table's equations, as a share of its mean, the first with which they have a factor: entries
/// that no weight has stay where they are, and sums in f32 may leave less than nothing in some direction.
const DAMPING: [f64; 3] = [1e-6, 1e-4, 1e-2];

/// `H [in, in]`, symmetric and positive.
pub(super) struct Metric {
    columns: usize,
    rows: Vec<f32>,
}

impl Metric {
    /// `X̂ᵀX̂` over the mean of its diagonal, with `damping` added to that.
    pub(super) fn new(gram: &[f64], columns: usize, damping: f64) -> Self {
        let diagonal = gram.iter().step_by(columns + 1);
        let mean = (diagonal.sum::<f64>() / columns.max(1) as f64).max(f64::MIN_POSITIVE);
        let mut rows: Vec<f32> = gram.iter().map(|x| (x / mean) as f32).collect();
        rows.iter_mut().step_by(columns + 1).for_each(|x| *x += damping as f32);
        Self { columns, rows }
    }

    fn row(&self, j: usize) -> &[f32] {
        &self.rows[j * self.columns..(j + 1) * self.columns]
    }

    /// `e H`.
    fn through(&self, errors: &[f32]) -> Vec<f32> {
        let mut sums = vec![0f32; self.columns];
        for (j, e) in errors.iter().enumerate().filter(|(_, e)| **e != 0.0) {
            add(&mut sums, *e, self.row(j));
        }
        sums
    }
}

fn add(sums: &mut [f32], factor: f32, row: &[f32]) {
    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * x);
}

/// Rows whose tables are theirs alone.
pub(super) struct Band<'a> {
    /// `[rows, in]`.
    pub(super) target: &'a [f32],
    /// As many.
    pub(super) indices: &'a mut [u8],
    /// Tables of so many entries each, in order.
    pub(super) tables: &'a mut [f32],
    pub(super) centroids: usize,
    /// Weights that share a table.
    pub(super) size: usize,
    /// What weights that stand for themselves are, by place in the band, ascending.
    pub(super) outliers: Vec<(usize, f32)>,
    pub(super) dtype: Dtype,
}

impl Band<'_> {
    /// Lets tables and indices take turns.
    ///
    /// # Errors
    ///
    /// A metric that is not positive.
    pub(super) fn settle(&mut self, metric: &Metric) -> Result<()> {
        for _ in 0..TURNS {
            self.refit(metric)?;
            if !self.descend(metric) {
                break;
            }
        }
        Ok(())
    }

    /// `ŵ − w` of all rows.
    fn errors(&self) -> Vec<f32> {
        let value = |(at, index): (usize, &u8)| self.tables[at / self.size * self.centroids + usize::from(*index)];
        let mut shared: Vec<f32> = self.indices.iter().enumerate().map(value).collect();
        self.outliers.iter().for_each(|(at, value)| shared[*at] = *value);
        shared.iter().zip(self.target).map(|(shared, w)| shared - w).collect()
    }

    fn is_outlier(&self, at: usize) -> bool {
        self.outliers.binary_search_by_key(&at, |outlier| outlier.0).is_ok()
    }

    /// The best tables for these indices, one after another where several share a row.
    fn refit(&mut self, metric: &Metric) -> Result<()> {
        let columns = metric.columns;
        let mut errors = self.errors();
        for group in 0..self.indices.len().div_ceil(self.size) {
            let (start, end) = (group * self.size, ((group + 1) * self.size).min(self.indices.len()));
            let mut equations = Equations::new(self.centroids);
            for row in start / columns..end.div_ceil(columns) {
                let part = start.max(row * columns)..end.min((row + 1) * columns);
                let gradient = metric.through(&errors[row * columns..(row + 1) * columns]);
                let entries = part.filter(|at| !self.is_outlier(*at)).map(|at| (at % columns, self.indices[at]));
                equations.add(metric, &entries.collect::<Vec<_>>(), &gradient);
            }
            let table = &mut self.tables[group * self.centroids..(group + 1) * self.centroids];
            let before = table.to_vec();
            table.iter_mut().zip(equations.solve()?).for_each(|(centroid, step)| *centroid += step);
            self.dtype.round(table);
            for at in (start..end).filter(|at| !self.is_outlier(*at)) {
                let entry = usize::from(self.indices[at]);
                errors[at] += self.tables[group * self.centroids + entry] - before[entry];
            }
            self.sort(group, start..end);
        }
        Ok(())
    }

    /// Puts a table's entries in order again.
    fn sort(&mut self, group: usize, part: std::ops::Range<usize>) {
        let table = &mut self.tables[group * self.centroids..(group + 1) * self.centroids];
        let mut order: Vec<usize> = (0..table.len()).collect();
        order.sort_by(|a, b| table[*a].total_cmp(&table[*b]));
        let sorted: Vec<f32> = order.iter().map(|entry| table[*entry]).collect();
        let mut places = vec![0u8; table.len()];
        order.iter().enumerate().for_each(|(place, entry)| places[*entry] = place as u8);
        table.copy_from_slice(&sorted);
        self.indices[part].iter_mut().for_each(|index| *index = places[usize::from(*index)]);
    }

    /// The best entry for each weight in turn, all others as they are. Whether any changed.
    fn descend(&mut self, metric: &Metric) -> bool {
        let columns = metric.columns;
        let tables: Vec<Nearest> = self.tables.chunks(self.centroids).map(Nearest::new).collect();
        let mut errors = self.errors();
        let mut any = false;
        for row in 0..self.indices.len() / columns {
            let errors = &mut errors[row * columns..(row + 1) * columns];
            let mut gradient = metric.through(errors);
            for _ in 0..SWEEPS {
                let mut has_changed = false;
                for j in 0..columns {
                    let at = row * columns + j;
                    let group = at / self.size;
                    let table = &self.tables[group * self.centroids..(group + 1) * self.centroids];
                    let value = table[usize::from(self.indices[at])];
                    let index = tables[group].index(value - gradient[j] / metric.row(j)[j]);
                    let step = table[usize::from(index)] - value;
                    if step != 0.0 && !self.is_outlier(at) {
                        self.indices[at] = index;
                        errors[j] += step;
                        add(&mut gradient, step, metric.row(j));
                        has_changed = true;
                    }
                }
                if !has_changed {
                    break;
                }
                any = true;
            }
        }
        any
    }
}

/// The equations of one table.
struct Equations {
    centroids: usize,
    matrix: Vec<f64>,
    right: Vec<f32>,
}

impl Equations {
    fn new(centroids: usize) -> Self {
        Self { centroids, matrix: vec![0.0; centroids * centroids], right: vec![0.0; centroids] }
    }

    /// Adds what a row says: its columns that have an entry of the table, and `e H`.
    fn add(&mut self, metric: &Metric, entries: &[(usize, u8)], gradient: &[f32]) {
        let (k, columns) = (self.centroids, metric.columns);
        let mut sums = vec![0f32; k * columns];
        for (j, entry) in entries {
            let entry = usize::from(*entry);
            add(&mut sums[entry * columns..(entry + 1) * columns], 1.0, metric.row(*j));
            self.right[entry] -= gradient[*j];
        }
        for (j, entry) in entries {
            let line = &mut self.matrix[usize::from(*entry) * k..(usize::from(*entry) + 1) * k];
            line.iter_mut().zip(sums.iter().skip(*j).step_by(columns)).for_each(|(cell, sum)| *cell += f64::from(*sum));
        }
    }

    /// How far each entry moves.
    fn solve(&self) -> Result<Vec<f32>> {
        let k = self.centroids;
        let mean = self.matrix.iter().step_by(k + 1).sum::<f64>() / k as f64;
        let factor = DAMPING.iter().find_map(|damping| {
            let mut matrix = self.matrix.clone();
            matrix.iter_mut().step_by(k + 1).for_each(|x| *x += (damping * mean).max(f64::MIN_POSITIVE));
            Cholesky::new(&matrix, k).ok()
        });
        let none = || EngineError::Internal(format!("the equations of a table of {k} have no factor"));
        let right: Vec<f64> = self.right.iter().map(|x| f64::from(*x)).collect();
        factor.ok_or_else(none)?.solve_rows(&right)
    }
}

#[cfg(test)]
mod tests;
