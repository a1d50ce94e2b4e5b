//! Jobs: submitted, watched, cancelled, and what they leave.

mod plan;
mod read;
mod request;
mod results;
mod shown;
mod submit;

pub(super) use read::{cancel, events, find, list};
pub(super) use results::{artifacts, report, report_page};
pub(super) use submit::submit;

#[cfg(test)]
pub(super) use request::Request;
#[cfg(test)]
pub(super) use shown::Shown;
