//! Backward passes beside candle's own through the same definitions put together from its operations.

use candle_core::{D, Device, Result, Tensor, Var};

use super::*;
use crate::engine::model::rope::{Rope, RopeScaling};
use crate::engine::model::spec::Activation;

type Map<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

fn draw(shape: (usize, usize)) -> Tensor {
    Tensor::randn(0.3f32, 1.0, shape, &Device::Cpu).unwrap()
}

fn gradient(f: Map<'_>, x: &Tensor, back: &Tensor) -> Tensor {
    let x = Var::from_tensor(x).unwrap();
    let store = (f(&x).unwrap() * back).unwrap().sum_all().unwrap().backward().unwrap();
    store.get(&x).expect("no gradient").clone()
}

fn agree(what: &str, x: &Tensor, ours: Map<'_>, theirs: Map<'_>) {
    let (y, want) = (ours(x).unwrap(), theirs(x).unwrap());
    let off = |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    // f32 rounding of two orders of the same sums of some dozens of numbers of unit size
    assert!(off(&y, &want) < 1e-5, "{what}");
    let back = draw(y.dims2().unwrap());
    let (found, want) = (gradient(ours, x, &back), gradient(theirs, x, &back));
    let size = want.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(size > 0.0 && off(&found, &want) < 2e-5 * size.max(1.0), "{what}: {:e} of {size}", off(&found, &want));
}

fn lines(x: &Tensor, width: usize, is_centered: bool) -> Result<Tensor> {
    let (shape, x) = (x.shape().clone(), x.reshape(((), width))?);
    let x = if is_centered { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x };
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + 0.02)?.sqrt()?;
    x.broadcast_div(&scale)?.reshape(shape)
}

#[test]
fn norms() {
    let (x, gamma, beta) = (draw((5, 24)), draw((1, 24)).squeeze(0).unwrap(), draw((1, 24)).squeeze(0).unwrap());
    let theirs = |x: &Tensor| lines(x, 24, true)?.broadcast_mul(&gamma)?.broadcast_add(&beta);
    agree("layer norm", &x, &|x| norm::layer_norm(x, &gamma, &beta, 0.02), &theirs);
    agree("rms norm", &x, &|x| norm::rms_norm(x, &gamma, 0.02), &|x| lines(x, 24, false)?.broadcast_mul(&gamma));
    let (head, all) = (gamma.narrow(0, 0, 8).unwrap(), gamma.narrow(0, 0, 8).unwrap().repeat(3).unwrap());
    agree("of heads", &x, &|x| norm::rms_norm(x, &head, 0.02), &|x| lines(x, 8, false)?.broadcast_mul(&all));
}

#[test]
fn activations_and_gates() {
    let theirs = |f: Activation, x: &Tensor| match f {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
    };
    let (x, other) = ((draw((7, 9)) * 2.0).unwrap(), draw((7, 9)));
    for f in [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu, Activation::Tanh] {
        let name = format!("{f:?}");
        agree(&name, &x, &|x| activation::apply(f, x), &|x| theirs(f, x));
        agree(&name, &x, &|x| activation::gated(f, x, &other), &|x| theirs(f, x)? * &other);
        agree(&name, &x, &|x| activation::gated(f, &other, x), &|x| theirs(f, &other)? * x);
    }
}

#[test]
fn linear_maps() {
    let (x, w, b) = (draw((5, 6)), draw((4, 6)), draw((1, 4)).squeeze(0).unwrap());
    agree("without bias", &x, &|x| linear::linear(x, &w, None), &|x| x.matmul(&w.t()?));
    agree("with bias", &x, &|x| linear::linear(x, &w, Some(&b)), &|x| x.matmul(&w.t()?)?.broadcast_add(&b));
}

#[test]
fn rotations() {
    let angles = rope::Angles::new(&Rope { theta: 100.0, scaling: RopeScaling::None }, 4, 9);
    let (x, positions) = (draw((3, 8)), [0u32, 8, 3]);
    // A linear map that is written down number by number
    let cell = |i: usize| {
        let mut one = vec![0f32; 24];
        one[i] = 1.0;
        let turned = rope::rotate(&Tensor::from_vec(one, (3, 8), &Device::Cpu)?, &positions, &angles)?;
        turned.flatten_all()
    };
    let matrix = Tensor::stack(&(0..24).map(cell).collect::<Result<Vec<_>>>().unwrap(), 0).unwrap();
    let theirs = |x: &Tensor| x.reshape((1, 24))?.matmul(&matrix)?.reshape((3, 8));
    agree("rope", &x, &|x| rope::rotate(x, &positions, &angles), &theirs);
}

#[test]
fn what_is_taken_as_given_has_no_gradient_and_says_so() {
    let (x, w) = (Var::from_tensor(&draw((5, 6))).unwrap(), Var::from_tensor(&draw((4, 6))).unwrap());
    let y = linear::linear(&x, &w, None).unwrap();
    assert!(y.sum_all().unwrap().backward().is_err(), "a weight");
    let gamma = Var::from_tensor(&draw((1, 6)).squeeze(0).unwrap()).unwrap();
    assert!(norm::rms_norm(&x, &gamma, 0.1).unwrap().sum_all().unwrap().backward().is_err(), "a scale");
}

#[test]
fn a_product_with_itself_is_that_product_and_symmetric() {
    for (tokens, width) in [(1, 1), (700, 5), (1500, 128), (1100, 300)] {
        let x = draw((tokens, width)).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (mut found, mut want) = (vec![1.0; width * width], vec![1.0; width * width]);
        gram::add_square(&mut found, &x, width).unwrap();
        gram::mirror(&mut found, width);
        gram::add_product(&mut want, &x, &x, (width, width)).unwrap();
        let exact =
            |i: usize, j: usize| 1.0 + x.chunks(width).map(|line| f64::from(line[i]) * f64::from(line[j])).sum::<f64>();
        // f32 sums of 1,024 products of unit size
        let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * tokens as f64;
        for (i, j) in [(0, 0), (width - 1, 0), (0, width - 1), (width / 2, width - 1)] {
            assert!(near(want[i * width + j], exact(i, j)), "({i}, {j}) of {tokens} x {width}");
        }
        assert!(found.iter().zip(&want).all(|(a, b)| near(*a, *b)), "{tokens} x {width}");
        assert!((0..width * width).all(|at| found[at] == found[at % width * width + at / width]));
    }
    assert!(gram::add_square(&mut [0.0; 4], &[1.0; 5], 2).is_err());
    assert!(gram::add_product(&mut [0.0; 4], &[1.0; 4], &[1.0; 2], (2, 2)).is_err());
    let mut sum = [0.0; 2];
    gram::add_product(&mut sum, &[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], (2, 1)).unwrap();
    assert_eq!(sum, [13.0, 24.0]);
}
