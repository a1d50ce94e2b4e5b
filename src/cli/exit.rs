//! What a command's exit code says.

use std::process::ExitCode;

use crate::engine::error::EngineError;
use crate::engine::problem::Problem;

/// The exit codes, as `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed; standard error says why.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was given is invalid; the problems are listed.
    Invalid = 3,
    /// Someone asked to stop.
    Interrupted = 4,
}

/// What was given is invalid: every problem.
#[derive(Debug, thiserror::Error)]
#[error("what was given is invalid")]
pub struct Invalid(pub Vec<Problem>);

/// Someone asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Exit {
    /// The code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        let engine = error.downcast_ref::<EngineError>();
        let is_refused = error.is::<super::upload::Refused>();
        if is_refused || error.is::<Invalid>() || matches!(engine, Some(EngineError::Invalid(_))) {
            Self::Invalid
        } else if error.is::<Interrupted>() || matches!(engine, Some(EngineError::Stopped)) {
            Self::Interrupted
        } else if error.is::<crate::config::SettingError>() {
            Self::Usage
        } else {
            Self::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_codes_also_below_a_context() {
        let wrapped = anyhow::Error::new(Invalid(vec![])).context("reading a model");
        assert_eq!(Exit::of(&wrapped), Exit::Invalid);
        assert_eq!(Exit::of(&EngineError::Stopped.into()), Exit::Interrupted);
        assert_eq!(Exit::of(&anyhow::anyhow!("else")), Exit::Failed);
    }
}
