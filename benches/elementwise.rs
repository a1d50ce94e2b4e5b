//! What stands between the matrix products, over 2,048 tokens on one thread, each beside the same composed of candle's own
//! operations; throughput in elements. (The softmax of attention is part of its blocks: see `attention`.)

#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{D, Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::kernels::rope::{Angles, rotate};
use pare::engine::kernels::{activation, logits, norm, rounding};
use pare::engine::model::rope::{Rope, RopeScaling};
use pare::engine::model::spec::Activation;

const TOKENS: usize = 2048;
const HIDDEN: usize = 384;
const WIDE: usize = 4 * HIDDEN;

fn draw(width: usize) -> Tensor {
    Tensor::randn(0f32, 1.0, (TOKENS, width), &Device::Cpu).unwrap()
}

/// Benches ours and candle's under one name.
fn pair<A, B>(c: &mut Criterion, name: &str, width: usize, ours: impl Fn() -> A, candle: impl Fn() -> B) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements((TOKENS * width) as u64));
    group.bench_function("ours", |bencher| bencher.iter(&ours));
    group.bench_function("candle", |bencher| bencher.iter(&candle));
    group.finish();
}

fn norms(c: &mut Criterion) {
    let (x, gamma, beta) = (draw(HIDDEN), draw(HIDDEN).get(0).unwrap(), draw(HIDDEN).get(1).unwrap());
    let rescaled = |x: &Tensor| {
        let mean_square = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
        x.broadcast_div(&(mean_square + 1e-6).unwrap().sqrt().unwrap()).unwrap().broadcast_mul(&gamma).unwrap()
    };
    let ours = || norm::layer_norm(&x, &gamma, &beta, 1e-6).unwrap();
    pair(c, "layer_norm", HIDDEN, ours, || {
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1).unwrap()).unwrap();
        rescaled(&centered).broadcast_add(&beta).unwrap()
    });
    pair(c, "rms_norm", HIDDEN, || norm::rms_norm(&x, &gamma, 1e-6).unwrap(), || rescaled(&x));
}

fn activations(c: &mut Criterion) {
    let (x, up) = (draw(WIDE), draw(WIDE));
    pair(c, "gelu", WIDE, || activation::apply(Activation::Gelu, &x).unwrap(), || x.gelu_erf().unwrap());
    pair(c, "gelu_tanh", WIDE, || activation::apply(Activation::GeluTanh, &x).unwrap(), || x.gelu().unwrap());
    let ours = || activation::gated(Activation::Silu, &x, &up).unwrap();
    pair(c, "silu, gated", WIDE, ours, || (x.silu().unwrap() * &up).unwrap());
}

fn positions(c: &mut Criterion) {
    let head = 64;
    let x = draw(HIDDEN);
    let angles = Angles::new(&Rope { theta: 10_000.0, scaling: RopeScaling::None }, head, TOKENS);
    let places: Vec<u32> = (0..TOKENS as u32).collect();
    let table = Tensor::randn(0f32, 1.0, (TOKENS, 1, head / 2), &Device::Cpu).unwrap();
    pair(
        c,
        "rope",
        HIDDEN,
        || rotate(&x, &places, &angles).unwrap(),
        || {
            let heads = x.reshape((TOKENS, HIDDEN / head, head)).unwrap();
            let (a, b) = (heads.narrow(2, 0, head / 2).unwrap(), heads.narrow(2, head / 2, head / 2).unwrap());
            let turn =
                |x: &Tensor, y: &Tensor| (x.broadcast_mul(&table).unwrap() - y.broadcast_mul(&table).unwrap()).unwrap();
            Tensor::cat(&[turn(&a, &b), turn(&b, &a)], 2).unwrap()
        },
    );
}

fn softmax(c: &mut Criterion) {
    let x = draw(4096);
    let lines: Vec<Vec<f32>> = x.to_vec2().unwrap();
    let ours = || lines.iter().map(|line| logits::log_sum_exp(line)).sum::<f64>();
    pair(c, "log_sum_exp over 4096 logits", 4096, ours, || x.log_sum_exp(D::Minus1).unwrap());
}

fn rounded(c: &mut Criterion) {
    let weights = draw(HIDDEN).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let steps = rounding::Steps { scale: 0.03, zero: 0.0, low: -127.0, high: 127.0 };
    let mut codes = vec![0i8; weights.len()];
    let mut group = c.benchmark_group("rounding");
    group.throughput(Throughput::Elements(weights.len() as u64));
    group.bench_function("range", |bencher| bencher.iter(|| rounding::range(&weights)));
    group.bench_function("error", |bencher| bencher.iter(|| rounding::error(&weights, None, steps)));
    group.bench_function("codes", |bencher| bencher.iter(|| rounding::codes(&weights, steps, &mut codes)));
    group.finish();
}

criterion_group!(benches, norms, activations, positions, softmax, rounded);
criterion_main!(benches);
