//! Logits of a real classifier for tests, where the fixtures are at hand.

use std::path::Path;

use safetensors::SafeTensors;

use super::Scores;

/// Logits and labels of the first 512 test rows of `minilm-sections`, and how many classes it has. `None`, saying so,
/// where the fixtures are absent.
pub(super) fn minilm() -> Option<(Scores, Vec<usize>, usize)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/minilm-sections/expected_logits.safetensors");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: {} is absent", path.display());
        return None;
    };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = file.tensor("logits").unwrap().data().chunks_exact(4);
    let values = floats.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let longs = file.tensor("labels").unwrap().data().chunks_exact(8);
    let labels = longs.map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as usize).collect();
    Some((Scores { width: 20, values }, labels, 20))
}

/// The scores rounded to multiples of `step`, half to even: a crude compression.
pub(super) fn rounded(scores: &Scores, step: f32) -> Scores {
    let values = scores.values.iter().map(|value| (value / step).round_ties_even() * step).collect();
    Scores { width: scores.width, values }
}
