//! Classes counted: what macro-F1 and Matthews' coefficient are made of.

/// Per class: right predictions, predictions, rows. Kept between resamples to spare allocations.
pub(super) struct Counts {
    classes: Vec<[u64; 3]>,
}

impl Counts {
    pub(super) fn new(n_labels: usize) -> Self {
        Self { classes: vec![[0; 3]; n_labels] }
    }

    /// Counts these rows alone.
    pub(super) fn of(&mut self, predicted: &[usize], labels: &[usize], rows: &[usize]) -> &Self {
        self.classes.fill([0; 3]);
        for &row in rows {
            let (Some(&predicted), Some(&label)) = (predicted.get(row), labels.get(row)) else { continue };
            if let Some([right, guesses, _]) = self.classes.get_mut(predicted) {
                *right += u64::from(predicted == label);
                *guesses += 1;
            }
            if let Some([_, _, support]) = self.classes.get_mut(label) {
                *support += 1;
            }
        }
        self
    }

    /// Mean F1 over the classes that occur; 0 of none.
    pub(super) fn macro_f1(&self) -> f64 {
        let (mut sum, mut occurring) = (0.0, 0_u64);
        for &[right, guesses, support] in &self.classes {
            if guesses + support > 0 {
                sum += 2.0 * right as f64 / (guesses + support) as f64;
                occurring += 1;
            }
        }
        sum / occurring.max(1) as f64
    }

    /// Matthews' correlation coefficient (Gorodkin 2004), with `c` right answers of `n` rows, `pₖ` answers and `tₖ` rows of
    /// class `k`: `(c n - Σ pₖ tₖ) / √((n² - Σ pₖ²) (n² - Σ tₖ²))`. 0 where all answers or all labels are one class, as
    /// scikit-learn has it.
    pub(super) fn mcc(&self) -> f64 {
        let (mut right, mut n, mut both, mut answers, mut rows) = (0_i128, 0_i128, 0_i128, 0_i128, 0_i128);
        for &[hits, guesses, support] in &self.classes {
            let (guesses, support) = (i128::from(guesses), i128::from(support));
            right += i128::from(hits);
            n += support;
            both += guesses * support;
            answers += guesses * guesses;
            rows += support * support;
        }
        let (answers, rows) = (n * n - answers, n * n - rows);
        if answers == 0 || rows == 0 {
            return 0.0;
        }
        // One root of the product, so that right answers alone give 1 exactly
        ((right * n - both) as f64 / (answers as f64 * rows as f64).sqrt()).clamp(-1.0, 1.0)
    }
}
