//! Serialization of measured numbers: NaN and infinity are errors, never a silent `null`.

use serde::{Serializer, ser::Error};

/// For `#[serde(serialize_with = "…")]` on an `f64`.
///
/// # Errors
///
/// When the number is NaN or infinite: JSON has no such number, and `null` means "not measured".
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        Err(S::Error::custom(format!("{value} can't stand in a report: a number is finite, or null with a reason")))
    }
}

/// For `#[serde(serialize_with = "…")]` on an `Option<f64>`.
///
/// # Errors
///
/// As [`number`].
#[allow(clippy::ref_option)] // serde's signature
pub(crate) fn optional<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => number(value, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    #[derive(Serialize)]
    struct Pair {
        #[serde(serialize_with = "super::number")]
        a: f64,
        #[serde(serialize_with = "super::optional")]
        b: Option<f64>,
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        assert_eq!(serde_json::to_string(&Pair { a: 0.5, b: None }).unwrap(), r#"{"a":0.5,"b":null}"#);
        assert!(serde_json::to_string(&Pair { a: f64::NAN, b: None }).is_err());
        assert!(serde_json::to_string(&Pair { a: 0.0, b: Some(f64::INFINITY) }).is_err());
    }
}
