//! Attention of 12 heads of 32 over packed rows; throughput in tokens.

#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::kernels::attention::{Attending, Offsets, attention};

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    for length in [16usize, 64, 128] {
        let tokens = 16 * length;
        let draw = || Tensor::randn(0f32, 1.0, (tokens, 384), &Device::Cpu).unwrap();
        let (q, k, v) = (draw(), draw(), draw());
        let offsets: Vec<usize> = (0..=16).map(|row| row * length).collect();
        let how = Attending { heads: 12, kv_heads: 12, scale: 0.177, is_causal: false, window: None };
        let rows = Offsets { asking: &offsets, seen: &offsets, asks_first: false };
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(format!("16 rows of {length}"), |bencher| {
            bencher.iter(|| attention(&q, &k, &v, how, rows).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
