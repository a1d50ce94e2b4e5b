//! Attention against its definition in candle's own operations.

use candle_core::{D, DType, Device, Var};

use super::*;

fn both(offsets: &[usize]) -> Offsets<'_> {
    Offsets { asking: offsets, seen: offsets, asks_first: false }
}

fn plain(heads: usize, scale: f32) -> Attending {
    Attending { heads, kv_heads: heads, scale, is_causal: false, window: None }
}

fn draw(shape: (usize, usize)) -> Result<Tensor> {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu)
}

fn off(a: &Tensor, b: &Tensor) -> Result<f32> {
    (a - b)?.abs()?.max_all()?.to_scalar::<f32>()
}

/// One row by the definition, with a mask of minus infinity.
fn by_definition(q: &Tensor, k: &Tensor, v: &Tensor, how: Attending) -> Result<Tensor> {
    let (length, width) = q.dims2()?;
    let head_dim = width / how.heads;
    let split = |x: &Tensor, heads: usize| x.reshape((length, heads, head_dim))?.transpose(0, 1)?.contiguous();
    let shared = |x: &Tensor| {
        let served: Vec<u32> = (0..how.heads).map(|h| (h / (how.heads / how.kv_heads)) as u32).collect();
        split(x, how.kv_heads)?.index_select(&Tensor::new(served, &Device::Cpu)?, 0)
    };
    let hidden = |i: usize, j: usize| {
        let is_far = how.window.is_some_and(|window| i.abs_diff(j) >= window);
        is_far || how.is_causal && j > i
    };
    let mask = (0..length).flat_map(|i| (0..length).map(move |j| if hidden(i, j) { f32::NEG_INFINITY } else { 0.0 }));
    let mask = Tensor::from_vec(mask.collect::<Vec<_>>(), (1, length, length), &Device::Cpu)?;
    let scores = (split(q, how.heads)?.matmul(&shared(k)?.transpose(1, 2)?)? * f64::from(how.scale))?;
    let scores = scores.broadcast_add(&mask)?;
    let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
    p.matmul(&shared(v)?)?.transpose(0, 1)?.reshape((length, width))
}

fn cases() -> Vec<(Attending, Vec<usize>)> {
    vec![
        (plain(3, 0.5), vec![1usize, 5, 2]),
        (plain(2, 0.5), vec![530, 3]), // more than a block
        (Attending { is_causal: true, ..plain(3, 0.4) }, vec![1, 5, 64, 65, 150]),
        (Attending { kv_heads: 2, is_causal: true, ..plain(6, 0.4) }, vec![7, 70]),
        (Attending { kv_heads: 1, ..plain(4, 0.4) }, vec![9]),
        (Attending { is_causal: true, window: Some(4), ..plain(2, 0.4) }, vec![3, 17, 140]),
        (Attending { is_causal: true, window: Some(1), ..plain(2, 0.4) }, vec![70]),
        (Attending { window: Some(16), ..plain(2, 0.4) }, vec![3, 17, 64, 200]),
        (Attending { window: Some(1), ..plain(2, 0.4) }, vec![70]),
    ]
}

/// Queries, keys and values of rows of these lengths, and their offsets.
fn drawn(how: Attending, lengths: &[usize]) -> Result<([Tensor; 3], Vec<usize>)> {
    let (head_dim, tokens) = (4, lengths.iter().sum());
    let keys = || draw((tokens, how.kv_heads * head_dim));
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    Ok(([draw((tokens, how.heads * head_dim))?, keys()?, keys()?], offsets))
}

#[test]
fn gradients_of_queries_keys_and_values_are_those_of_the_definition() -> Result<()> {
    for (how, lengths) in cases() {
        let (given, offsets) = drawn(how, &lengths)?;
        let given = given.map(|x| Var::from_tensor(&x).unwrap());
        let [q, k, v] = &given;
        let back = draw(q.dims2()?)?;
        let ours = (attention(q, k, v, how, both(&offsets))? * &back)?.sum_all()?.backward()?;
        let by_row = offsets.windows(2).map(|row| {
            let part = |x: &Tensor| x.narrow(0, row[0], row[1] - row[0]);
            by_definition(&part(q)?, &part(k)?, &part(v)?, how)
        });
        let whole = Tensor::cat(&by_row.collect::<Result<Vec<_>>>()?, 0)?;
        let theirs = (whole * &back)?.sum_all()?.backward()?;
        for (x, what) in given.iter().zip(["queries", "keys", "values"]) {
            let off = off(ours.get(x).unwrap(), theirs.get(x).unwrap())?;
            assert!(off < 3e-5, "{how:?}, rows {lengths:?}, {what}: {off:e}"); // f32 sums over a row of up to 530 tokens
        }
    }
    Ok(())
}

#[test]
fn attention_received_is_the_sum_over_what_asks_and_the_mean_over_heads() -> Result<()> {
    for (how, lengths) in cases() {
        let ([q, k, _], offsets) = drawn(how, &lengths)?;
        let found = received(&q, &k, how, both(&offsets))?;
        // Values of 1 in one token's place and 0 elsewhere: what comes out is the weight of that token
        let row = offsets[offsets.len() - 2];
        let length = offsets[offsets.len() - 1] - row;
        for token in [0, length / 2, length - 1] {
            let one = (0..length).map(|t| if t == token { 1f32 } else { 0.0 });
            let v = one.flat_map(|x| std::iter::repeat_n(x, how.kv_heads * 4)).collect::<Vec<_>>();
            let v = Tensor::from_vec(v, (length, how.kv_heads * 4), &Device::Cpu)?;
            let part = |x: &Tensor| x.narrow(0, row, length);
            let mixed = by_definition(&part(&q)?, &part(&k)?, &v, how)?;
            let want = mixed.sum_all()?.to_scalar::<f32>()? / (4 * how.heads) as f32;
            assert!((found[row + token] - want).abs() < 1e-3 * want.max(1.0), "{how:?} {token}"); // f32 sums of 530
        }
        for row in offsets.windows(2) {
            let (sum, tokens) = (found[row[0]..row[1]].iter().sum::<f32>(), (row[1] - row[0]) as f32);
            assert!((sum - tokens).abs() < 1e-4 * tokens, "{how:?}: each token gives 1 in all");
        }
    }
    Ok(())
}

#[test]
fn packed_rows_see_themselves_alone() -> Result<()> {
    for (how, lengths) in cases() {
        let ([q, k, v], offsets) = drawn(how, &lengths)?;
        let got = attention(&q, &k, &v, how, both(&offsets))?;
        for row in offsets.windows(2) {
            let part = |x: &Tensor| x.narrow(0, row[0], row[1] - row[0]);
            let want = by_definition(&part(&q)?, &part(&k)?, &part(&v)?, how)?;
            let off = off(&want, &part(&got)?)?;
            assert!(off < 1e-5, "{how:?}, rows {lengths:?}, {row:?}: {off:e}");
        }
    }
    Ok(())
}

#[test]
fn a_row_may_ask_with_one_token_alone() -> Result<()> {
    let (q, k, v) = (draw((7, 6))?, draw((7, 6))?, draw((7, 6))?);
    let causal = Attending { is_causal: true, ..plain(3, 0.5) };
    let near = Attending { window: Some(2), ..plain(3, 0.5) };
    let cases = [
        (plain(3, 0.5), true, [0u32, 4]),
        (causal, false, [3, 6]),
        (causal, true, [0, 4]),
        (near, true, [0, 4]),
        (near, false, [3, 6]),
    ];
    for (how, asks_first, asking) in cases {
        let whole = attention(&q, &k, &v, how, both(&[0, 4, 7]))?;
        let one = Tensor::new(&asking, &Device::Cpu)?;
        let rows = Offsets { asking: &[0, 1, 2], seen: &[0, 4, 7], asks_first };
        let few = attention(&q.index_select(&one, 0)?, &k, &v, how, rows)?;
        let off = off(&few, &whole.index_select(&one, 0)?)?;
        assert!(off < 1e-6, "{how:?}, first {asks_first}: {off:e}"); // the same sums in blocks of another shape
    }
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_errors() -> Result<()> {
    let x = Tensor::zeros((4, 6), DType::F32, &Device::Cpu)?;
    assert!(attention(&x, &x, &x, plain(4, 1.0), both(&[0, 4])).is_err(), "4 heads in 6");
    assert!(
        attention(&x, &x, &x, Attending { kv_heads: 2, ..plain(3, 1.0) }, both(&[0, 4])).is_err(),
        "3 heads over 2"
    );
    assert!(attention(&x, &x, &x, plain(3, 1.0), both(&[0, 5])).is_err(), "a row past the end");
    assert!(attention(&x, &x, &x, plain(3, 1.0), both(&[0, 3, 2, 4])).is_err(), "a row that runs backwards");
    Ok(())
}
