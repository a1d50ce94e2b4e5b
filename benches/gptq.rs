//! What GPTQ does to a 1536 by 384 matrix and to its transpose, all cores: sums over 2,048 tokens, the factor of their inverse, and the
//! sweep over the columns in 4 bits with a scale for 64 of them. Throughput in tokens, in entries of the factor, in weights.

#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::calibrate::{Moments, Wanted};
use pare::engine::method::feedback::Feedback;

const TOKENS: usize = 2048;

fn bench(c: &mut Criterion) {
    for (out, r#in) in [(1536usize, 384usize), (384, 1536)] {
        let inputs = Tensor::randn(0f32, 1.0, (TOKENS, r#in), &Device::Cpu).unwrap();
        let weights = Tensor::randn(0f32, 0.05, out * r#in, &Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
        let wanted = Wanted { gram: true, ..Wanted::default() };
        let sums = || Moments::of(&inputs, None, wanted).unwrap();
        let gram = sums().gram.unwrap();
        let factor = || Feedback::new(&gram, r#in, 0.01, true).unwrap();
        let feedback = factor();
        // A grid as wide as the weights: which one it is does not change the work
        let rule = |_: usize, _: usize, weight: f32| (weight / 0.02).round_ties_even().clamp(-8.0, 7.0) * 0.02;
        let mut group = c.benchmark_group(format!("gptq {out}x{in}", in = r#in));
        group.sample_size(20).throughput(Throughput::Elements(TOKENS as u64));
        group.bench_function("sums", |bencher| bencher.iter(sums));
        group.throughput(Throughput::Elements((r#in * r#in) as u64));
        group.bench_function("factor", |bencher| bencher.iter(factor));
        group.throughput(Throughput::Elements(weights.len() as u64));
        group.bench_function("sweep", |bencher| bencher.iter(|| feedback.round(&weights, rule)));
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
