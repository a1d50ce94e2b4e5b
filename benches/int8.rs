//! `y = x Wᵀ + b` with inputs and weights of 8 bits beside the same in f32, in the shapes of a small encoder; one thread,
//! throughput in tokens. What rounding the inputs takes is part of it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::kernels::int8::{self, Packed};
use pare::engine::kernels::linear::linear;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("int8, {}", int8::path()));
    for (tokens, out, r#in) in [(1024usize, 384usize, 384usize), (1024, 1536, 384), (1024, 384, 1536), (1, 1536, 384)] {
        let draw = |rows, columns| Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu).unwrap();
        let (x, w) = (draw(tokens, r#in), draw(out, r#in));
        let b = Tensor::zeros(out, candle_core::DType::F32, &Device::Cpu).unwrap();
        let codes: Vec<i8> = (0..out * r#in).map(|i| ((i * 2_654_435_761) >> 9) as u8 as i8).collect();
        let packed = Arc::new(Packed::new(&codes, &vec![0.01; out], (out, r#in)).unwrap());
        group.throughput(Throughput::Elements(tokens as u64));
        let shape = format!("{tokens}x{in}x{out}", in = r#in);
        group.bench_function(format!("f32 {shape}"), |bencher| bencher.iter(|| linear(&x, &w, Some(&b)).unwrap()));
        group.bench_function(format!("int8 {shape}"), |bencher| {
            bencher.iter(|| int8::linear(&x, &packed, Some(&b), None).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
