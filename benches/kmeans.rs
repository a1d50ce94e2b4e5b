//! Tables of 16 centroids over a 1536 by 384 matrix, all cores; throughput in weights.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::method::share::{Objective, Solver, Tables};
use pare::engine::model::Dtype;

fn bench(c: &mut Criterion) {
    let (out, r#in) = (1536usize, 384usize);
    // Sums of a few uneven numbers, so that most lie in the middle, as f16
    let uneven = |i: usize| ((i * 2_654_435_761) % 1_000_003) as f32 / 1_000_003.0 - 0.5;
    let mut weights: Vec<f32> = (0..out * r#in).map(|i| (0..6).map(|j| uneven(6 * i + j)).sum()).collect();
    Dtype::F16.round(&mut weights);
    let mut group = c.benchmark_group("kmeans");
    group.throughput(Throughput::Elements(weights.len() as u64)).sample_size(20);
    for (name, centroids, group_size, solver) in [
        ("exact, 16 of 1536", 16, Some(1536), Solver::Exact),
        ("lloyd, 16 of 1536", 16, Some(1536), Solver::Lloyd),
        ("exact, 16 of all", 16, None, Solver::Exact),
        ("exact, 256 of 6144", 256, Some(6144), Solver::Exact),
    ] {
        let tables = Tables { centroids, group_size, objective: Objective::Mse, solver, outlier_share: 0.0 };
        group.bench_function(name, |bencher| bencher.iter(|| tables.share(&weights, (out, r#in), Dtype::F16, None)));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
