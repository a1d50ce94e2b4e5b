//! `y = x Wᵀ + b` in the shapes of a small encoder; throughput in multiply-adds.

#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::kernels::linear::linear;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    for (tokens, out, r#in) in [(1024usize, 384usize, 384usize), (1024, 1536, 384), (1024, 384, 1536), (1, 1536, 384)] {
        let draw = |rows, columns| Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu).unwrap();
        let (x, w) = (draw(tokens, r#in), draw(out, r#in));
        let b = Tensor::zeros(out, candle_core::DType::F32, &Device::Cpu).unwrap();
        group.throughput(Throughput::Elements((tokens * out * r#in) as u64));
        group.bench_function(format!("{tokens}x{in}x{out}", in = r#in), |bencher| {
            bencher.iter(|| linear(&x, &w, Some(&b)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
