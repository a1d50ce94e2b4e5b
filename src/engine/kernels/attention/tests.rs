//! Attention against its definition in candle's own operations.

use candle_core::{D, DType, Device};

use super::*;

fn both(offsets: &[usize]) -> Offsets<'_> {
    Offsets { asking: offsets, seen: offsets }
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
    let hidden = |i: usize, j: usize| how.is_causal && (j > i || how.window.is_some_and(|window| j + window <= i));
    let mask = (0..length).flat_map(|i| (0..length).map(move |j| if hidden(i, j) { f32::NEG_INFINITY } else { 0.0 }));
    let mask = Tensor::from_vec(mask.collect::<Vec<_>>(), (1, length, length), &Device::Cpu)?;
    let scores = (split(q, how.heads)?.matmul(&shared(k)?.transpose(1, 2)?)? * f64::from(how.scale))?;
    let scores = scores.broadcast_add(&mask)?;
    let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
    p.matmul(&shared(v)?)?.transpose(0, 1)?.reshape((length, width))
}

#[test]
fn packed_rows_see_themselves_alone() -> Result<()> {
    let cases = [
        (plain(3, 0.5), vec![1usize, 5, 2]),
        (plain(2, 0.5), vec![530, 3]), // more than a block
        (Attending { is_causal: true, ..plain(3, 0.4) }, vec![1, 5, 64, 65, 150]),
        (Attending { kv_heads: 2, is_causal: true, ..plain(6, 0.4) }, vec![7, 70]),
        (Attending { kv_heads: 1, ..plain(4, 0.4) }, vec![9]),
        (Attending { is_causal: true, window: Some(4), ..plain(2, 0.4) }, vec![3, 17, 140]),
        (Attending { is_causal: true, window: Some(1), ..plain(2, 0.4) }, vec![70]),
    ];
    for (how, lengths) in cases {
        let head_dim = 4;
        let tokens = lengths.iter().sum();
        let q = draw((tokens, how.heads * head_dim))?;
        let (k, v) = (draw((tokens, how.kv_heads * head_dim))?, draw((tokens, how.kv_heads * head_dim))?);
        let mut offsets = vec![0];
        for length in &lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
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
    for (how, asking) in [(plain(3, 0.5), [0u32, 4]), (causal, [3, 6])] {
        let whole = attention(&q, &k, &v, how, both(&[0, 4, 7]))?;
        let one = Tensor::new(&asking, &Device::Cpu)?;
        let rows = Offsets { asking: &[0, 1, 2], seen: &[0, 4, 7] };
        let few = attention(&q.index_select(&one, 0)?, &k, &v, how, rows)?;
        let off = off(&few, &whole.index_select(&one, 0)?)?;
        assert!(off < 1e-6, "{how:?}: {off:e}"); // the same sums in blocks of another shape
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
