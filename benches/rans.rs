//! rANS over the codes of a 1536 by 384 matrix, one core for a block and all cores for a tensor; throughput in decoded bytes.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pare::engine::export::coded;
use pare::engine::export::rans::{Decoder, Encoder, Frequencies, decode, encode};
use pare::engine::model::Dtype;

const ROW: usize = 384;

/// Sums of six draws, as codes lie: about seven bits of entropy.
fn codes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 80) as i32 - 40
    };
    (0..count)
        .map(|_| ((0..6).map(|_| draw()).sum::<i32>() / 2).clamp(-127, 127) as i8)
        .map(i8::cast_unsigned)
        .collect()
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("rans");
    let block = codes(1 << 16);
    let mut counts = [0u64; 256];
    for symbol in &block {
        counts[usize::from(*symbol)] += 1;
    }
    let frequencies = Frequencies::of(&counts).unwrap();
    let (encoder, decoder) = ([Encoder::new(&frequencies)], [Decoder::new(&frequencies)]);
    let choice = vec![0; block.len().div_ceil(ROW)];
    let coded_block = encode(&block, ROW, &encoder, &choice).unwrap();
    let mut out = vec![0; block.len()];
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("encode, one core", |bencher| bencher.iter(|| encode(&block, ROW, &encoder, &choice)));
    group.bench_function("decode, one core", |bencher| {
        bencher.iter(|| decode(&coded_block, &mut out, ROW, &decoder, &choice));
    });
    let tensor = codes(1536 * ROW);
    let coded_tensor = coded::encode(&tensor, Dtype::I8, &[1536, ROW]).unwrap();
    group.throughput(Throughput::Bytes(tensor.len() as u64));
    group.bench_function("a tensor, with its tables", |bencher| {
        bencher.iter(|| coded::encode(&tensor, Dtype::I8, &[1536, ROW]));
    });
    group.bench_function("a tensor back", |bencher| bencher.iter(|| coded::decode(&coded_tensor)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
