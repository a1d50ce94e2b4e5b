use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::engine::method::params;

fn bound(params: &Value) -> std::result::Result<(), Vec<(String, Code)>> {
    let resolved = params::resolve(SPEC.params, params.as_object().unwrap(), "").unwrap();
    let said = |problems: Vec<Problem>| problems.into_iter().map(|p| (p.pointer, p.code)).collect();
    Quantize.bind(&resolved).map(|_| ()).map_err(said)
}

#[test]
fn settings_that_contradict_each_other_are_refused_where_they_stand() {
    let no = |pointer: &str| Err(vec![(pointer.to_owned(), Code::OutOfRange)]);
    for (params, outcome) in [
        (json!({ "strategy": "group" }), no("/group_size")),
        (json!({ "strategy": "tensor", "group_size": 64 }), no("/strategy")),
        (json!({ "strategy": "channel", "group_size": 64 }), no("/strategy")),
        (json!({ "percentile": 99.0 }), no("/percentile")),
        (json!({ "strategy": "group", "group_size": 64 }), Ok(())),
        (json!({ "strategy": "channel", "group_size": -1 }), Ok(())),
        (json!({ "strategy": "tensor", "scale_format": "power_of_two" }), Ok(())),
        (json!({ "observer": "percentile", "percentile": 99.0 }), Ok(())),
    ] {
        assert_eq!(bound(&params), outcome, "{params}");
    }
}

fn round(bits: u32, per_tensor: bool, symmetric: bool, observer: Observer, power_of_two: bool) -> Round {
    Round { bits, group_size: None, per_tensor, symmetric, observer, power_of_two }
}

proptest! {
    #[test]
    fn the_whole_of_a_single_row_is_that_row(
        weights in prop::collection::vec(-2f32..2.0, 1..200), bits in 2u32..=8, symmetric: bool, power_of_two: bool,
        observer in prop::sample::select(vec![Observer::MinMax, Observer::Percentile(95.0), Observer::Mse]),
    ) {
        let of = |per_tensor| {
            let round = round(bits, per_tensor, symmetric, observer, power_of_two);
            round.quantize(&weights, (1, weights.len()), Dtype::F16, None).0
        };
        let (row, whole) = (of(false), of(true));
        prop_assert_eq!(row.decode(), whole.decode());
        prop_assert_eq!((row.scales, row.zeros), (whole.scales, whole.zeros));
    }

    #[test]
    fn one_scale_for_all_rows_is_that_of_the_largest(
        weights in prop::collection::vec(-2f32..2.0, 128), bits in 2u32..=8,
    ) {
        let of = |per_tensor| {
            let round = round(bits, per_tensor, true, Observer::MinMax, false);
            round.quantize(&weights, (4, 32), Dtype::F32, None).0
        };
        let (rows, whole) = (of(false), of(true));
        prop_assert_eq!(rows.scales.iter().copied().fold(0f32, f32::max), whole.scales[0]);
        for (a, b) in whole.decode().iter().zip(&weights) {
            // Half a step is the most that rounding may cost
            prop_assert!((a - b).abs() <= 0.501 * whole.scales[0] + 1e-6);
        }
    }
}
