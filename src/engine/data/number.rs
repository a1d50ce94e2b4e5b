//! Labels that are numbers.

/// How a label is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Not as a number.
    Name,
    /// As a whole number.
    Whole,
    /// As a number with a fraction or an exponent: `1.0`, `2e3`.
    Fraction,
}

impl Written {
    /// How a text is written that may be a number.
    pub(super) fn of(text: &str) -> Self {
        match number(text) {
            None => Self::Name,
            Some(_) if text.contains(['.', 'e', 'E']) => Self::Fraction,
            Some(_) => Self::Whole,
        }
    }
}

/// Whether a label is a number.
pub fn is_number(text: &str) -> bool {
    number(text).is_some()
}

/// A finite decimal number, white space around it left out. No words such as `inf`, no hexadecimal.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_decimal && number.is_finite())
}
