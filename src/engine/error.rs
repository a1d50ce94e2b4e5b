//! Why a run of the engine did not end well.

use std::path::PathBuf;

use super::problem::{Code, Problem};

/// The engine's error: what a person gave is wrong, someone asked to stop, or the machine failed us.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What was given is wrong; all of it at once.
    #[error("what was given is invalid: {}", list(.0))]
    Invalid(Vec<Problem>),
    /// The observer asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// A file could not be read or written.
    #[error("{} could not be {doing}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// `read`, `written`, …
        doing: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// A tensor operation failed.
    #[error("{at}: a tensor operation failed")]
    Tensor {
        /// The site or step.
        at: String,
        /// The cause.
        source: candle_core::Error,
    },
    /// Something that we hold to be true is not.
    #[error("{0}")]
    Internal(String),
}

impl EngineError {
    /// One problem.
    pub fn invalid(pointer: impl Into<String>, code: Code, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(pointer, code, detail)])
    }

    /// For `map_err` on file operations.
    pub fn io(path: impl Into<PathBuf>, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, doing, source }
    }

    /// As the problems that a job's failure shows. The machine's own failures tell no cause here; the log has it.
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Invalid(problems) => problems.clone(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => vec![Problem::new(
                "",
                Code::InsufficientStorage,
                "the disk is full: free some space, then retry the job",
            )],
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::FileTooLarge => vec![Problem::new(
                "",
                Code::InsufficientStorage,
                "a file grew beyond what was predicted for the job, and so beyond what it may take of the disk",
            )],
            Self::Io { .. } | Self::Tensor { .. } | Self::Internal(_) | Self::Stopped => {
                vec![Problem::new("", Code::Internal, self.to_string())]
            }
        }
    }
}

/// For `?` on candle results without a site at hand.
impl From<candle_core::Error> for EngineError {
    fn from(source: candle_core::Error) -> Self {
        Self::Tensor { at: "model".into(), source }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The engine's result.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
