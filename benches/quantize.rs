//! Round-to-nearest over a 1536 by 384 matrix, all cores; throughput in bytes of f32 weights.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::method::quantize::Round;
use pare::engine::method::range::Observer;
use pare::engine::model::Dtype;

fn bench(c: &mut Criterion) {
    let (out, r#in) = (1536usize, 384usize);
    // A repeating, uneven pattern: what it costs does not depend on the numbers
    let weights: Vec<f32> =
        (0..out * r#in).map(|i| ((i * 2_654_435_761) % 1_000_003) as f32 / 500_001.5 - 1.0).collect();
    let mut group = c.benchmark_group("quantize");
    group.throughput(Throughput::Bytes((weights.len() * 4) as u64));
    for (name, bits, group_size, observer) in [
        ("int8 minmax", 8, None, Observer::MinMax),
        ("int4 g64 minmax", 4, Some(64), Observer::MinMax),
        ("int4 g64 mse", 4, Some(64), Observer::Mse),
    ] {
        let (per_tensor, power_of_two) = (false, false);
        let round = Round { bits, group_size, per_tensor, symmetric: bits == 8, observer, power_of_two };
        group.bench_function(name, |bencher| bencher.iter(|| round.quantize(&weights, (out, r#in), Dtype::F16, None)));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
