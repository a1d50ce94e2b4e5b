//! The queue, and the public job resource.
//!
//! A job is claimed with a lease: a token, and a time by the database's clock until which nobody else takes it. The
//! worker renews the lease; each of its writes names the token and matches no row once the job was taken away. A
//! lease that ran out is taken back by [`reap()`].
//!
//! ```text
//! queued ──claim──► running ──cancel──► cancelling
//!   ▲ │                │ │                  │
//!   │ └─cancel, reap───┼─┼──────────────────┤
//!   └──crash, release, ┘ ▼                  ▼
//!      lost lease    succeeded, failed, cancelled, expired
//! ```
//!
//! Source: the claim, heartbeat and fencing follow the designs of River, underway and pg-boss.

mod cancel;
mod change;
mod checkpoint;
mod claim;
mod count;
mod earlier;
mod enqueue;
mod finish;
mod giveback;
mod lease;
mod measured;
mod origin;
mod outcome;
mod read;
mod reap;
mod retention;
mod state;
mod types;
mod watch;

pub use cancel::{cancel, delete};
pub use checkpoint::{Checkpoint, NewCheckpoint, checkpoint, keep_checkpoint};
pub use claim::{Claimed, Worker, claim};
pub use count::{Counts, count};
pub use earlier::earlier_report;
pub use enqueue::{NewJob, enqueue};
pub use finish::{NewJobFile, finish_cancelled, finish_expired, finish_failed, finish_succeeded};
pub use giveback::{Crash, crashed, release, release_all_of};
pub use lease::{Heartbeat, append_event, heartbeat};
pub use measured::{Measured, measured};
pub use origin::{Origin, note_origin, origin};
pub use outcome::{Outcome, outcomes, verdicts};
pub use read::{Attempt, JobEvent, JobFile, JobFilter, attempts, events, file, files, find, list, report};
pub(in crate::db) use reap::fail_invalid_inputs;
pub use reap::reap;
pub use retention::delete_ended;
pub use state::{JobKind, JobState};
pub use types::Job;
pub use watch::{Glance, glance, lines_between, validation_of_dataset, validation_of_model};
