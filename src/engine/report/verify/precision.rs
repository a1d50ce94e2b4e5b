//! How closely numbers that were measured again must be what they were.

use serde::Serialize;
use serde_json::Number;

use crate::engine::report::Provenance;

/// What [`Precision::Near`] allows, in words.
pub const TOLERANCE: &str = "shares of rows may differ by 0.005 and two rows, counts of rows by 3, decibels by 0.1, other \
    measured numbers by 1% or 1e-6; p-values and histograms are left out; bytes, shapes, counts and names may not differ";

/// Shares of rows: accuracy, agreement, and their intervals and changes.
const SHARE: f64 = 0.005;
/// Rows whose answer may fall to the other side.
const ROWS: f64 = 2.0;
/// Discordant rows.
const COUNT: u64 = 3;
/// Signal to noise, in decibels.
const DECIBELS: f64 = 0.1;
/// Of a measured number itself, and at least.
const RELATIVE: f64 = 0.01;
const ABSOLUTE: f64 = 1e-6;
/// The error and the cosine of a map that was summed in parts where it is now summed whole, as large maps are.
const IN_PARTS: f64 = 1e-5;
const IN_PARTS_DECIBELS: f64 = 1e-3;
/// A few roundings of a formula in f64: libraries differ in the last bit of a logarithm.
const ROUNDINGS: f64 = 1e-12;

/// How closely numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// To the last bit; the error of a site's weights to a part in 100,000, for large maps are summed in parts.
    Exact,
    /// But for the rounding of a formula.
    Rounded,
    /// Within [`TOLERANCE`]: sums of f32 numbers were taken in another order.
    Near,
}

/// How closely measured numbers were compared, and why so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Basis {
    /// The precision.
    pub precision: Precision,
    /// In a sentence.
    pub why: String,
}

impl Basis {
    /// What may be asked of numbers that `here` measures and `reported` did: equality to the last bit, where version,
    /// processor, instruction set and threads are the same.
    ///
    /// The processor counts because the matrix product cuts its sums by the size of the caches.
    pub fn between(reported: &Provenance, here: &Provenance) -> Self {
        let pairs = [
            ("the version", reported.pare_version.clone(), here.pare_version.clone()),
            ("the device", reported.device.clone(), here.device.clone()),
            ("the processor", reported.host.cpu.clone(), here.host.cpu.clone()),
            ("the instruction set", reported.host.instruction_set.clone(), here.host.instruction_set.clone()),
            ("the number of threads", reported.threads.to_string(), here.threads.to_string()),
        ];
        let other: Vec<&str> = pairs.iter().filter(|(_, a, b)| a != b).map(|(name, ..)| *name).collect();
        if other.is_empty() {
            let why = "version, device, processor, instruction set and threads are the report's: to the last bit";
            Self { precision: Precision::Exact, why: why.to_owned() }
        } else {
            let verb = if other.len() == 1 { "is" } else { "are" };
            let why = format!("{} {verb} not the report's: {TOLERANCE}", other.join(", "));
            Self { precision: Precision::Near, why }
        }
    }
}

impl Precision {
    /// Whether the number at `pointer` is compared at all.
    pub(super) fn looks_at(self, pointer: &str) -> bool {
        self != Self::Near || last(pointer) != "p_value" && !pointer.starts_with("/result/histograms/")
    }

    /// Whether two numbers at `pointer` are the same. `rows` is how many rows they were measured on, where that is known.
    pub(super) fn same(self, pointer: &str, a: &Number, b: &Number, rows: Option<u64>) -> bool {
        if a == b {
            return true;
        }
        let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) else { return false };
        match self {
            Self::Exact => match last(pointer) {
                "relative_error" | "cosine" => (x - y).abs() <= IN_PARTS * x.abs().max(y.abs()),
                "sqnr_db" => (x - y).abs() <= IN_PARTS_DECIBELS,
                _ => false,
            },
            _ if a.is_u64() && b.is_u64() => {
                let is_count = pointer.contains("/discordant/");
                self == Self::Near
                    && is_count
                    && a.as_u64().zip(b.as_u64()).is_some_and(|(a, b)| a.abs_diff(b) <= COUNT)
            }
            Self::Rounded => (x - y).abs() <= ROUNDINGS * x.abs().max(y.abs()).max(1.0),
            Self::Near => (x - y).abs() <= allowed(pointer, x, y, rows),
        }
    }
}

/// The tolerance of a number at `pointer`.
fn allowed(pointer: &str, x: f64, y: f64, rows: Option<u64>) -> f64 {
    let relative = (RELATIVE * x.abs().max(y.abs())).max(ABSOLUTE);
    let is_share =
        pointer.split('/').any(|part| matches!(part, "quality" | "quality_change" | "top1_agreement" | "worth"));
    if last(pointer) == "sqnr_db" {
        DECIBELS
    } else if is_share && x.abs() <= 1.0 && y.abs() <= 1.0 {
        SHARE + rows.filter(|rows| *rows > 0).map_or(0.0, |rows| ROWS / rows as f64)
    } else {
        relative
    }
}

fn last(pointer: &str) -> &str {
    pointer.rsplit('/').next().unwrap_or(pointer)
}
