//! Jobs: submitted, watched, cancelled, retried, deleted, and what they leave.

mod archive;
pub(super) mod frames;
mod plan;
mod read;
mod request;
mod results;
mod retry;
mod shown;
mod stream;
mod submit;

pub(super) use archive::archive;
pub(super) use read::{cancel, delete, events, find, get, list, stop};
pub(super) use request::SUBMITTED;
pub(super) use results::{ARTIFACT, artifacts, find_report, report, report_page};
pub(super) use retry::{again, retry};
pub(super) use stream::stream;
pub(super) use submit::{Checked, check, enqueue, store, submit};

#[cfg(test)]
pub(super) use request::Request;
#[cfg(test)]
pub(super) use shown::Shown;
