//! Sums against their definition, number by number, in f64.

use candle_core::Device;

use super::*;

const ALL: WantedGradients = WantedGradients { total: true, squares: Squares::Every, gram: true, gates: false };
/// Three rows, one of them without tokens.
const OFFSETS: [usize; 4] = [0, 4, 4, 9];

fn draw(shape: (usize, usize)) -> Tensor {
    Tensor::randn(0.2f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// Each row's `G_rᵀ X_r`, `[out, in]`.
fn by_row(x: &Tensor, g: &Tensor) -> Vec<Vec<f64>> {
    let (x, g) = (x.to_vec2::<f32>().unwrap(), g.to_vec2::<f32>().unwrap());
    let cell = |row: &[usize], i: usize, j: usize| -> f64 {
        (row[0]..row[1]).map(|t| f64::from(g[t][i]) * f64::from(x[t][j])).sum()
    };
    let places = || (0..g[0].len()).flat_map(|i| (0..x[0].len()).map(move |j| (i, j)));
    OFFSETS.windows(2).map(|row| places().map(|(i, j)| cell(row, i, j)).collect()).collect()
}

fn near(a: &[f64], b: &[f64]) -> bool {
    // f32 sums of at most nine products of unit size, squared
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn squares_are_of_rows_and_not_of_tokens_or_batches() {
    let (x, g) = (draw((9, 3)), draw((9, 2)));
    let found = Gradients::of(&x, &g, &OFFSETS, ALL).unwrap();
    let rows = by_row(&x, &g);
    let over =
        |f: fn(f64) -> f64| -> Vec<f64> { (0..6).map(|cell| rows.iter().map(|row| f(row[cell])).sum()).collect() };
    let squares = over(|g| g * g);
    let weight = found.weight.unwrap();
    assert!(near(found.total.as_ref().unwrap(), &over(|g| g)));
    assert!(near(weight.every.as_ref().unwrap(), &squares));
    assert!(near(&weight.by_output, &[squares[..3].iter().sum(), squares[3..].iter().sum()]));
    assert!(near(&weight.by_input, &(0..3).map(|j| squares[j] + squares[3 + j]).collect::<Vec<_>>()));
    assert_eq!((found.rows, found.tokens), (3, 9));
    let diagonal: Vec<f64> = found.gram.unwrap().iter().step_by(3).copied().collect();
    assert!(near(&found.squares, &diagonal));
    assert!(near(
        &found.sums,
        &g.sum(0).unwrap().to_vec1::<f32>().unwrap().iter().map(|x| f64::from(*x)).collect::<Vec<_>>()
    ));
}

#[test]
fn batches_add_up_and_wide_sites_are_worked_on_in_bands() {
    // Two bands: 600 outputs of 2048 inputs are more than one holds
    let (x, g) = (draw((9, 2048)), draw((9, 600)));
    let whole = Gradients::of(&x, &g, &OFFSETS, ALL).unwrap();
    let part = |x: &Tensor, start, length| x.narrow(0, start, length).unwrap();
    let mut parts = Gradients::default();
    for (start, length) in [(0, 4), (4, 5)] {
        let (x, g) = (part(&x, start, length), part(&g, start, length));
        parts.add(&Gradients::of(&x, &g, &[0, length], ALL).unwrap()).unwrap();
    }
    let total = by_row(&x, &g)
        .iter()
        .skip(1)
        .fold(by_row(&x, &g).swap_remove(0), |sum, row| sum.iter().zip(row).map(|(a, b)| a + b).collect());
    assert!(near(whole.total.as_ref().unwrap(), &total));
    for (a, b) in whole.parts().into_iter().zip(parts.parts()).skip(2) {
        let largest = a.iter().fold(1f64, |m, x| m.max(x.abs()));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6 * largest)); // f32 products in chunks of another shape
    }
    assert_eq!((whole.rows, parts.rows), (3, 2));
    assert!(parts.add(&Gradients::of(&draw((2, 3)), &draw((2, 2)), &[0, 2], ALL).unwrap()).is_err());
}

#[test]
fn a_gate_stands_for_its_inputs_in_a_row() {
    let (x, z) = (draw((9, 4)), draw((9, 4)));
    let along = (&x * &z).unwrap().to_vec2::<f32>().unwrap();
    let row = |row: &[usize], gate: usize| -> f64 {
        along[row[0]..row[1]].iter().flat_map(|token| &token[2 * gate..2 * gate + 2]).map(|x| f64::from(*x)).sum()
    };
    let found = Gates::of(&x, &z, &OFFSETS, 2).unwrap();
    let over = |f: fn(f64) -> f64| -> Vec<f64> {
        (0..2).map(|gate| OFFSETS.windows(2).map(|offsets| f(row(offsets, gate))).sum()).collect()
    };
    assert!(near(&found.sizes, &over(f64::abs)) && near(&found.squares, &over(|g| g * g)));
    assert!(Gates::of(&x, &z, &OFFSETS, 3).is_err());
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    assert!(Gradients::of(&draw((3, 4)), &draw((2, 4)), &[0, 3], ALL).is_err());
    assert!(Gradients::of(&draw((3, 4)), &draw((3, 4)), &[0, 2], ALL).is_err());
}
