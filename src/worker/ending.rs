//! How an attempt can end.

use std::fmt::Display;
use std::io;

use super::lease::Stop;
use crate::db;
use crate::engine::problem::{Code, Problem};
use crate::store;

/// How an attempt ended, before anyone was told of anything but results.
#[derive(Debug)]
pub(super) enum Ending {
    /// The results are told already.
    Done,
    /// The job can't be done.
    Failed(Vec<Problem>),
    /// The process died.
    Crashed,
    /// It was stopped.
    Stopped(Stop),
    /// This worker ends, and gives the job back.
    Released,
}

impl Ending {
    /// For the log.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Crashed => "crashed",
            Self::Stopped(Stop::Cancel) => "cancelled",
            Self::Stopped(Stop::Expire) => "expired",
            Self::Stopped(Stop::Lost) => "lost",
            Self::Released => "released",
        }
    }
}

/// A step that is not tried again.
impl From<Refusal> for Ending {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Problems(problems) => Self::Failed(problems),
            Refusal::NotNow(_) => Self::Released,
        }
    }
}

/// Why a step could not be done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It never will: what the job's owner is told.
    Problems(Vec<Problem>),
    /// It may in a moment.
    NotNow(String),
}

impl Refusal {
    pub(super) fn problem(code: Code, detail: impl Into<String>) -> Self {
        Self::Problems(vec![Problem::new("", code, detail)])
    }

    /// Something that we hold to be true is not. The cause is for the log alone.
    pub(super) fn internal(cause: impl Display) -> Self {
        tracing::error!(%cause, "a job could not be handled");
        Self::problem(Code::Internal, "the service made a mistake: its log says which")
    }

    /// The scratch folder's disk.
    pub(super) fn disk(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::full(),
            _ => Self::internal(error),
        }
    }

    fn full() -> Self {
        Self::problem(Code::InsufficientStorage, "the disk is full: free some space, then retry the job")
    }
}

impl From<db::Error> for Refusal {
    fn from(error: db::Error) -> Self {
        if error.is_unavailable() { Self::NotNow(error.to_string()) } else { Self::internal(chain(&error)) }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        db::Error::from(error).into()
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) => Self::NotNow(chain(&error)),
            store::Error::Full(_) => Self::full(),
            store::Error::Corrupt { .. } | store::Error::NotFound(_) => {
                tracing::error!(error = %chain(&error), "the store is damaged");
                let what = "upload the same file again, or restore it from a backup; then retry the job";
                Self::problem(Code::StorageDamaged, format!("{error}: {what}"))
            }
            _ => Self::internal(chain(&error)),
        }
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
