//! Sharing that looks at a layer's outputs: tables are fitted to the anchored target ([`crate::engine::calibrate::anchored`]),
//! weights take their entries column by column, the columns that are left making up for what was lost ([`Feedback`]), and then
//! tables and indices take turns ([`super::refit`]). What comes of it is judged by outputs on rows that were not fitted to,
//! against plain tables.

use rayon::prelude::*;

use super::refit::{Band, Metric};
use super::{Nearest, Tables, relative};
use crate::engine::error::{EngineError, Result};
use crate::engine::method::feedback::Feedback;
use crate::engine::method::judged::{Best, Judges};
use crate::engine::method::{Fallback, Fed};
use crate::engine::model::SiteSpec;
use crate::engine::model::linear::{Dense, LinearMap};
use crate::engine::model::sparse::Codebook;

/// What is added to the inputs' squares, as a share of their mean.
const DAMPING: f64 = 0.01;

/// Shares a site's weights; also gives how many tables are not the optimum, and what was not done as asked.
pub(super) fn share(
    tables: &Tables,
    site: &SiteSpec,
    dense: &Dense,
    fed: &Fed<'_>,
) -> Result<(Codebook, usize, Vec<Fallback>)> {
    let shape = dense.weight.dims2()?;
    let current = LinearMap::Dense(dense.clone());
    let original = fed.original.unwrap_or(&current).to_vec()?;
    let importance = relative(&fed.fit.mean_squares());
    let share = |weights: &[f32]| tables.share(weights, shape, dense.dtype, importance.as_deref());
    let (plain, given_up) = share(&current.to_vec()?);
    let weights = plain.decode();
    let mut best = Best::new(Judges::new(&original, fed, site.is_centered)?, plain, &weights);
    let say = |what: &str, why: &str| Fallback { site: site.site.clone(), what: what.to_owned(), why: why.to_owned() };
    let mut fallbacks = Vec::new();
    let gram =
        fed.fit.gram.as_ref().ok_or_else(|| EngineError::Internal("outputs need the inputs' products".into()))?;
    let Some(feedback) = Feedback::new(gram, shape.1, DAMPING, true) else {
        fallbacks.push(say("weights take the nearest entries", "no damping gives the inputs' products a factor"));
        return Ok((best.found, given_up, fallbacks));
    };
    if feedback.damp_percent > DAMPING {
        let why = "with less the inputs' products have no factor: too few tokens, or inputs that repeat each other";
        fallbacks.push(say(&format!("damped by {}", feedback.damp_percent), why));
    }
    let is_anchored = fed.fit.cross.is_some();
    let target = if is_anchored { best.judges.target(&feedback) } else { current.to_vec()? };
    let mut offer = |codebook: &Codebook| best.offer(codebook.clone(), &codebook.decode());
    let (mut codebook, _) = share(&target);
    pass_on(&mut codebook, &target, &feedback);
    let mut is_better = offer(&codebook);
    settle(&mut codebook, &target, &Metric::new(gram, shape.1, feedback.damp_percent))?;
    is_better |= offer(&codebook);
    if !is_better {
        let why = "rows that were not fitted to lose less by it than by passing errors on";
        fallbacks.push(say("weights take the nearest entries", why));
    }
    Ok((best.found, given_up, fallbacks))
}

/// Takes entries column by column, with feedback.
fn pass_on(codebook: &mut Codebook, target: &[f32], feedback: &Feedback) {
    let (size, columns) = (codebook.group_size.unwrap_or(target.len()).max(1), codebook.r#in);
    let nearest: Vec<Nearest> = codebook.tables.chunks(codebook.centroids).map(Nearest::new).collect();
    let (tables, centroids, dtype) = (&codebook.tables, codebook.centroids, codebook.dtype);
    let positions = &codebook.outliers.positions;
    let rounded = feedback.round(target, |row, column, weight| {
        let at = row * columns + column;
        if positions.binary_search(&(at as u32)).is_ok() {
            return dtype.rounded(weight);
        }
        let group = at / size;
        nearest.get(group).map_or(0.0, |table| tables[group * centroids + usize::from(table.index(weight))])
    });
    let indices = codebook.indices.iter_mut().zip(&rounded).enumerate();
    indices.for_each(|(at, (index, w))| *index = nearest.get(at / size).map_or(0, |table| table.index(*w)));
    let values = codebook.outliers.values.iter_mut().zip(positions);
    values.for_each(|(value, at)| *value = rounded.get(*at as usize).copied().unwrap_or(*value));
}

/// Lets tables and indices take turns, in as many rows at a time as no table reaches out of.
fn settle(codebook: &mut Codebook, target: &[f32], metric: &Metric) -> Result<()> {
    let size = codebook.group_size.unwrap_or(target.len()).max(1);
    let whole = band(size, codebook.r#in, target.len());
    let (centroids, dtype) = (codebook.centroids, codebook.dtype);
    let places =
        codebook.outliers.positions.iter().map(|at| *at as usize).zip(codebook.outliers.values.iter().copied());
    let places: Vec<(usize, f32)> = places.collect();
    let tables = codebook.tables.par_chunks_mut(whole.div_ceil(size) * centroids);
    let bands = codebook.indices.par_chunks_mut(whole).zip(tables).zip(target.par_chunks(whole)).enumerate();
    bands.try_for_each(|(number, ((indices, tables), target))| {
        let start = number * whole;
        let inside = places.iter().filter(|(at, _)| (start..start + target.len()).contains(at));
        let outliers = inside.map(|(at, value)| (at - start, *value)).collect();
        Band { target, indices, tables, centroids, size, outliers, dtype }.settle(metric)
    })
}

/// The fewest weights that are whole rows and whole tables, at most all of them.
fn band(size: usize, columns: usize, weights: usize) -> usize {
    let (mut a, mut b) = (size, columns.max(1));
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (size / a.max(1)).saturating_mul(columns.max(1)).clamp(1, weights.max(1))
}

#[cfg(test)]
mod tests;
