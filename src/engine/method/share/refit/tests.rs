use super::super::tests::weights;
use super::*;

const COLUMNS: usize = 24;

/// `XᵀX` of inputs that have much in common.
fn metric() -> Metric {
    let draws = weights(300 * COLUMNS, 11);
    let common = weights(300, 12);
    let x = |row: usize, j: usize| {
        f64::from(draws[row * COLUMNS + j]) + 2.0 * f64::from(common[row]) / (1.0 + j as f64 / 8.0)
    };
    let cell = |i: usize, j: usize| (0..300).map(|row| x(row, i) * x(row, j)).sum();
    let gram: Vec<f64> = (0..COLUMNS * COLUMNS).map(|at| cell(at / COLUMNS, at % COLUMNS)).collect();
    Metric::new(&gram, COLUMNS, 0.01)
}

/// `e H eᵀ` of rows of errors.
fn loss(metric: &Metric, errors: &[f32]) -> f64 {
    let row = |errors: &[f32]| -> f64 {
        errors.iter().zip(metric.through(errors)).map(|(e, g)| f64::from(*e) * f64::from(g)).sum()
    };
    errors.chunks(COLUMNS).map(row).sum()
}

/// Four rows with tables of `size` weights and 4 entries, each weight at its nearest.
struct Start {
    target: Vec<f32>,
    indices: Vec<u8>,
    tables: Vec<f32>,
    size: usize,
}

impl Start {
    fn new(size: usize) -> Self {
        let target = weights(4 * COLUMNS, 21);
        let tables: Vec<f32> = (0..target.len().div_ceil(size)).flat_map(|_| [-0.09, -0.02, 0.03, 0.08]).collect();
        let nearest = Nearest::new(&tables[..4]);
        let indices = target.iter().map(|w| nearest.index(*w)).collect();
        Self { target, indices, tables, size }
    }

    fn band(&mut self, outliers: Vec<(usize, f32)>) -> Band<'_> {
        Band {
            target: &self.target,
            indices: &mut self.indices,
            tables: &mut self.tables,
            centroids: 4,
            size: self.size,
            outliers,
            dtype: Dtype::F32,
        }
    }
}

#[test]
fn neither_step_makes_the_outputs_worse_however_tables_lie() {
    let metric = metric();
    for size in [8, COLUMNS, 32, 2 * COLUMNS, 4 * COLUMNS] {
        let mut start = Start::new(size);
        let mut band = start.band(vec![(5, 0.5), (70, -0.4)]);
        let mut last = loss(&metric, &band.errors());
        let first = last;
        for _ in 0..3 {
            for step in [true, false] {
                if step {
                    band.refit(&metric).unwrap();
                } else {
                    band.descend(&metric);
                }
                let now = loss(&metric, &band.errors());
                assert!(now <= last * (1.0 + 1e-5), "{now} after {last} with tables of {size}"); // f32 sums of 24 numbers
                last = now;
            }
        }
        assert!(last < 0.8 * first, "{last} of {first} with tables of {size}");
        assert!(band.tables.chunks(4).all(<[f32]>::is_sorted));
    }
}

/// At the least sum of squares what an entry's weights pull at adds up to nothing.
#[test]
fn refitted_tables_are_the_best_for_their_indices() {
    let metric = metric();
    let mut start = Start::new(4 * COLUMNS);
    let mut band = start.band(Vec::new());
    band.refit(&metric).unwrap();
    let errors = band.errors();
    let pull: Vec<f32> = errors.chunks(COLUMNS).flat_map(|errors| metric.through(errors)).collect();
    let size = pull.iter().map(|x| x.abs()).sum::<f32>();
    for entry in 0..4 {
        let sum: f32 = pull.iter().zip(band.indices.iter()).filter(|(_, index)| **index == entry).map(|(x, _)| x).sum();
        assert!(sum.abs() < 1e-4 * size, "{sum} of {size}"); // f32 sums of 96 numbers
    }
}

/// Without neighbours a weight's best entry is the nearest, and an entry's best value the mean: k-means, which is settled.
#[test]
fn an_even_diagonal_leaves_the_optimum_of_k_means_alone() {
    let mut gram = vec![0.0; COLUMNS * COLUMNS];
    gram.iter_mut().step_by(COLUMNS + 1).for_each(|x| *x = 3.0);
    let target = weights(4 * COLUMNS, 21);
    let points = super::super::kmeans::Points::new(target.iter().map(|w| (*w, 1.0)).collect());
    let means: Vec<f32> = points.means(&points.exact(4)).iter().map(|x| *x as f32).collect();
    let mut start = Start { tables: means.clone(), ..Start::new(4 * COLUMNS) };
    let nearest = Nearest::new(&means);
    start.indices = target.iter().map(|w| nearest.index(*w)).collect();
    let before = start.indices.clone();
    start.band(Vec::new()).settle(&Metric::new(&gram, COLUMNS, 0.01)).unwrap();
    assert_eq!(start.indices, before);
    assert!(start.tables.iter().zip(&means).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn no_weight_is_left_that_another_entry_would_suit_better() {
    let metric = metric();
    let mut start = Start::new(2 * COLUMNS);
    let mut band = start.band(vec![(3, 0.7)]);
    while band.descend(&metric) {}
    let least = loss(&metric, &band.errors());
    for at in (0..band.indices.len()).filter(|at| *at != 3) {
        let kept = band.indices[at];
        for index in 0..4 {
            band.indices[at] = index;
            let now = loss(&metric, &band.errors());
            assert!(now >= least * (1.0 - 1e-5), "{now} below {least}");
        }
        band.indices[at] = kept;
    }
}
