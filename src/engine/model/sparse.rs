//! The forms that choose from few values: centroids, or zero and what is kept.

use super::layout::{Dtype, Layout};

/// `w_ij = table_g[index_ij]`, one table for the whole tensor or one per `group_size` weights in row order, but for a few
/// outliers that are kept as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    /// Rows.
    pub out: usize,
    /// Columns.
    pub r#in: usize,
    /// `[out, in]`, row by row.
    pub indices: Vec<u8>,
    /// `[tables, centroids]`.
    pub tables: Vec<f32>,
    /// Entries of a table.
    pub centroids: usize,
    /// Weights that share a table; `None`: all.
    pub group_size: Option<usize>,
    /// What is in no table.
    pub outliers: Outliers,
    /// What centroids and outliers are stored as.
    pub dtype: Dtype,
}

/// Weights that stand for themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outliers {
    /// Where they stand in row order, ascending.
    pub positions: Vec<u32>,
    /// As many values.
    pub values: Vec<f32>,
}

impl Codebook {
    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.out, self.r#in)
    }

    /// The weights, `[out, in]`, row by row.
    pub fn decode(&self) -> Vec<f32> {
        let size = self.group_size.unwrap_or(self.indices.len()).max(1);
        let entry = |(at, index): (usize, &u8)| {
            self.tables.get(at / size * self.centroids + usize::from(*index)).copied().unwrap_or(0.0)
        };
        let mut weights: Vec<f32> = self.indices.iter().enumerate().map(entry).collect();
        for (at, value) in self.outliers.positions.iter().zip(&self.outliers.values) {
            if let Some(weight) = weights.get_mut(*at as usize) {
                *weight = *value;
            }
        }
        weights
    }

    /// Tables that so many weights have.
    pub fn tables(weights: usize, group_size: Option<usize>) -> usize {
        group_size.map_or(1, |size| weights.div_ceil(size.max(1)))
    }

    /// The form and shape.
    pub fn layout(&self) -> Layout {
        Layout::Codebook {
            out: self.out,
            r#in: self.r#in,
            centroids: self.centroids,
            group_size: self.group_size,
            outliers: self.outliers.positions.len(),
            dtype: self.dtype,
        }
    }
}

/// Kept values in row order, and a mask that says where they stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Masked {
    /// Rows.
    pub out: usize,
    /// Columns.
    pub r#in: usize,
    /// `[out, in]`, row by row: true where a value is kept.
    pub mask: Vec<bool>,
    /// The kept values.
    pub values: Vec<f32>,
    /// What values are stored as.
    pub dtype: Dtype,
}

impl Masked {
    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.out, self.r#in)
    }

    /// The weights, `[out, in]`, row by row.
    pub fn decode(&self) -> Vec<f32> {
        let mut values = self.values.iter().copied();
        self.mask.iter().map(|kept| if *kept { values.next().unwrap_or(0.0) } else { 0.0 }).collect()
    }

    /// The form and shape.
    pub fn layout(&self) -> Layout {
        Layout::Masked { out: self.out, r#in: self.r#in, kept: self.values.len(), dtype: self.dtype }
    }
}
