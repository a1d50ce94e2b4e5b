//! Dense linear algebra over faer, in f64. The only place that names faer.

pub mod inverse;
pub mod solve;
pub mod svd;
