//! Dense linear algebra over faer, in f64. The only place that names faer.

pub mod solve;
pub mod svd;
