//! Whether a report is true: what was checked, and every value that turned out to be another.
//!
//! Here is all that needs no model: what a check is, how values are compared ([`mod@compare`]) and how closely
//! ([`Precision`]), and what of a report follows from the rest of it ([`mod@own`]). [`run::verify`](crate::engine::run::verify)
//! opens the files and runs the models.

mod compare;
mod own;
mod precision;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

pub use compare::{Comparison, compare};
pub use own::own;
pub use precision::{Basis, Precision, TOLERANCE};

/// Differences of a check that are kept; the rest are counted.
pub const MOST_DIFFERENCES: usize = 50;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything that was compared is as the report says.
    Ok,
    /// Something is not.
    Differs,
    /// Something is not, and nothing in the report depends on it.
    Warning,
    /// It could not be checked, or was not asked for.
    NotChecked,
}

/// Two values where one was expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where, as a JSON pointer into the report.
    pub pointer: String,
    /// What the report says; absent where it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<Value>,
    /// What was found; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Value>,
}

/// One thing that was checked, or was not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The part of the report, as a JSON pointer; empty for the whole.
    pub pointer: String,
    /// In a few words.
    pub what: String,
    /// How it went.
    pub state: State,
    /// Values that were compared.
    pub compared: u64,
    /// Those that differ, the first [`MOST_DIFFERENCES`] of them.
    pub differences: Vec<Difference>,
    /// Differences beyond those.
    pub differences_left_out: u64,
    /// Why it is not `ok`, where differences do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Check {
    /// What a comparison found.
    pub fn compared(pointer: impl Into<String>, what: impl Into<String>, comparison: Comparison) -> Self {
        let state = if comparison.differences.is_empty() { State::Ok } else { State::Differs };
        let Comparison { compared, differences, left_out } = comparison;
        let (pointer, what) = (pointer.into(), what.into());
        Self { pointer, what, state, compared, differences, differences_left_out: left_out, why: None }
    }

    /// Something that is wrong as a whole.
    pub fn differs(pointer: impl Into<String>, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::told(pointer, what, State::Differs, why)
    }

    /// Something that stands in the way of nothing.
    pub fn warning(pointer: impl Into<String>, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::told(pointer, what, State::Warning, why)
    }

    /// Something that was left out.
    pub fn not_checked(pointer: impl Into<String>, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::told(pointer, what, State::NotChecked, why)
    }

    fn told(pointer: impl Into<String>, what: impl Into<String>, state: State, why: impl Into<String>) -> Self {
        let (pointer, what, why) = (pointer.into(), what.into(), Some(why.into()));
        Self { pointer, what, state, compared: 0, differences: Vec::new(), differences_left_out: 0, why }
    }

    /// The same, where a difference is no more than worth knowing, and why.
    #[must_use]
    pub fn as_warning(mut self, why: &str) -> Self {
        if self.state == State::Differs {
            self.state = State::Warning;
            self.why = Some(why.to_owned());
        }
        self
    }
}

/// All checks of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// How closely measured numbers were compared, and why so.
    pub basis: Basis,
    /// In the order of the report.
    pub checks: Vec<Check>,
}

impl Verification {
    /// Checks that went so.
    pub fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }
}
