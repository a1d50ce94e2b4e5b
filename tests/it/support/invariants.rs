//! What must hold after any fault, read from the rows and the bytes themselves, and counted.
//!
//! A test begins a [`Fault`], breaks something, and ends with [`Fault::held`], which asserts I1 to I7 and writes one line
//! of what it looked at: to the standard output, and to the file that `PARE_FAULTS_LOG` names.
//!
//! - I1: every acknowledged job is there and has ended.
//! - I2: at most one attempt of a job succeeded; the files that are visible are that attempt's, and hash to what is
//!   recorded; a job that did not succeed has none. None that has ended has a checkpoint.
//! - I3: a job's log runs from 1 without a gap.
//! - I4: no job leaves a state in which it ended.
//! - I5: once what nobody names is collected, the bytes that are accounted for are the bytes that are stored.
//! - I6: every acknowledged part is there, and hashes to what was sent.
//! - I7: no tenant ever ran more jobs than it may.

mod bytes;
mod rows;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use pare::db::Pool;
use pare::store::{Digest, Store};

/// Names the file that lines are added to.
const LOG: &str = "PARE_FAULTS_LOG";

/// A part of an upload that the server has acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The upload, as `upl_…`.
    pub(crate) upload: String,
    pub(crate) number: usize,
    /// Where it begins in the file.
    pub(crate) offset_bytes: usize,
    pub(crate) size_bytes: usize,
    pub(crate) sha256: Digest,
}

/// A fault that is being tried.
pub(crate) struct Fault {
    name: &'static str,
    what: &'static str,
    jobs: Vec<String>,
    parts: Vec<Part>,
    counted: Vec<(&'static str, u64)>,
}

impl Fault {
    /// Begins: from now on the database itself watches that no job leaves its end.
    pub(crate) async fn begin(name: &'static str, what: &'static str, pool: &Pool) -> Self {
        rows::watch(pool).await;
        Self::unwatched(name, what)
    }

    /// Begins where there is no database yet: [`Fault::watch`] once there is.
    pub(crate) fn unwatched(name: &'static str, what: &'static str) -> Self {
        Self { name, what, jobs: Vec::new(), parts: Vec::new(), counted: Vec::new() }
    }

    /// Lets the database watch.
    pub(crate) async fn watch(&self, pool: &Pool) {
        rows::watch(pool).await;
    }

    /// A job that a client was told of.
    pub(crate) fn acknowledge(&mut self, job: &impl ToString) {
        self.jobs.push(job.to_string());
    }

    /// A part that a client was told of. Its upload must be completed before the end.
    pub(crate) fn acknowledge_part(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Something that is worth a number.
    pub(crate) fn count(&mut self, what: &'static str, number: u64) {
        self.counted.push((what, number));
    }

    /// Asserts that everything holds. Nothing may be at work any more.
    pub(crate) async fn held(self, pool: &Pool, store: &Store) {
        let name = self.name;
        let (jobs, attempts) = (rows::ended(pool, name, &self.jobs).await, rows::one_success(pool, name).await);
        let events = rows::logs(pool, name).await;
        rows::no_end_was_left(pool, name).await;
        let most = rows::most_running(pool, name).await;
        let files = bytes::visible_files(pool, store, name).await;
        let parts = bytes::parts(pool, store, name, &self.parts).await;
        let (blobs, stored_bytes, collected) = bytes::accounted(pool, store, name).await;
        let mut line = format!("{name}\t{}\t", self.what);
        for (what, number) in &self.counted {
            write!(line, "{number} {what}, ").unwrap();
        }
        let line = line.trim_end_matches(", ");
        let line = format!(
            "{line}\tI1 {jobs} jobs\tI2 {attempts} attempts, {files} files\tI3 {events} events\tI4 {jobs} jobs\t\
             I5 {blobs} blobs, {stored_bytes} bytes, {collected} collected\tI6 {parts} parts\tI7 at most {most} at once"
        );
        tell(&line);
    }
}

/// Says that a fault can't be tried here, and why: `scripts/faults` then fails, unless it is to be short.
pub(crate) fn skipped(name: &str, why: &str) {
    tell(&format!("{name}\tskipped\t{why}"));
}

fn tell(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os(LOG) {
        // in one write, for others write there too
        let mut log = File::options().create(true).append(true).open(path).unwrap();
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
