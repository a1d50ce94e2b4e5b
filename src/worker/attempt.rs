//! One attempt at one job, from the claim to the last word.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Context;
use super::checkpoint::Publisher;
use super::child::{Child, Ears, Exit, Launch};
use super::ending::{Ending, Refusal, chain};
use super::hints::Interest;
use super::journal;
use super::lease::{Lease, Stop};
use super::memory::Watch;
use super::prepare::{Prepared, prepare};
use super::publish::{out_of_memory, publish, read_output};
use super::scratch::Scratch;
use super::trace;
use crate::db::jobs::{self, Claimed, Job};
use crate::engine::checkpoint::Given;
use crate::engine::job::{Output, WORK};
use crate::telemetry::metrics;

/// Between two tries of a step, at first and at the most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long the last lines of a job's log may take.
const LAST_LINES: Duration = Duration::from_secs(5);
/// How long the last checkpoint of an attempt may take that another one follows.
const LAST_CHECKPOINT: Duration = Duration::from_secs(10);

/// An attempt under way.
struct Attempt<'a> {
    context: &'a Context,
    job: &'a Job,
    lease: Arc<Lease>,
    shutdown: &'a CancellationToken,
}

/// Runs a claimed job, and says how it ended.
pub(super) async fn run(
    context: &Context,
    claimed: &Claimed,
    asked_at: Instant,
    interest: Interest,
    shutdown: &CancellationToken,
) {
    let Claimed { job, token, attempt } = claimed;
    let held = (job.id, *token);
    let lease = Lease::hold(context.pool.clone(), held, asked_at, interest, context.config.timing);
    trace::add_origin(&context.pool, job.id).await;
    tracing::info!(attempt, "a job begins");
    let attempt = Attempt { context, job, lease: Arc::new(lease), shutdown };
    let ending = match Scratch::create(&context.config.scratch) {
        Ok(scratch) => attempt.work(scratch.path()).await,
        Err(error) => Ending::from(Refusal::disk(error)),
    };
    tracing::info!(ending = %ending.name(), "a job's attempt ended");
    metrics::attempt_ended(job.kind.as_str(), ending.name(), asked_at.elapsed());
    attempt.settle(&ending).await;
}

impl Attempt<'_> {
    async fn work(&self, folder: &Path) -> Ending {
        let prepared = tokio::select! {
            biased;
            ending = self.stopped() => return ending,
            prepared = self.persist(|| prepare(self.context, self.job, folder)) => prepared,
        };
        let Prepared { checkpoint, statistics } = match prepared {
            Ok(prepared) => prepared,
            Err(ending) => return ending,
        };
        for message in checkpoint.note.into_iter().chain(statistics.note) {
            journal::write(&self.context.pool, &self.lease, "note", &json!({ "message": message })).await;
        }
        let output = match self.process(folder, checkpoint.given.as_ref()).await {
            Ok(output) => output,
            Err(ending) => return ending,
        };
        let work = folder.join(WORK);
        let key = statistics.asked.as_ref().map(|asked| asked.key.as_str());
        // A worker that ends still publishes what is done.
        tokio::select! {
            biased;
            stop = self.lease.stopped() => Ending::Stopped(stop),
            told = self.persist(|| publish(self.context, self.job, &self.lease, &output, (&work, key))) => match told {
                Ok(true) => Ending::Done,
                Ok(false) => Ending::Stopped(Stop::Lost),
                Err(ending) => ending,
            },
        }
    }

    /// Resolves when the attempt must end before its time.
    async fn stopped(&self) -> Ending {
        tokio::select! {
            biased;
            stop = self.lease.stopped() => Ending::Stopped(stop),
            () = self.shutdown.cancelled() => Ending::Released,
        }
    }

    /// Repeats a step for as long as store or database are away. Whoever calls this ends it when the lease is lost.
    async fn persist<T, F>(&self, step: impl Fn() -> F) -> Result<T, Ending>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let (mut pause, most) = RETRY;
        loop {
            match step().await {
                Ok(done) => return Ok(done),
                Err(Refusal::Problems(problems)) => return Err(Ending::Failed(problems)),
                Err(Refusal::NotNow(cause)) => {
                    tracing::warn!(job = %self.job.id, %cause, "trying again in {} ms", pause.as_millis());
                    sleep(pause).await;
                    pause = (pause * 2).min(most);
                }
            }
        }
    }

    /// Runs the job's process to its end.
    async fn process(&self, folder: &Path, given: Option<&Given>) -> Result<Output, Ending> {
        let (events, heard) = mpsc::channel(journal::BACKLOG);
        let (checkpoints, told) = watch::channel(None);
        let config = &self.context.config;
        let launch = Launch {
            program: config.program.clone(),
            binary_sha256: self.context.binary_sha256.clone(),
            folder: folder.to_owned(),
            threads: config.threads,
            disk_bytes: self.job.disk_bytes,
            require_sandbox: config.require_sandbox,
        };
        let broken = |error: io::Error| {
            tracing::error!(job = %self.job.id, error = %chain(&error), "the job's process could not be run");
            Ending::Crashed
        };
        let mut child = Child::spawn(launch, Ears { events, checkpoints }).await.map_err(broken)?;
        let watch = Watch::start(child.group(), config.memory_bytes).map_err(broken)?;
        let journal = journal::keep(self.context.pool.clone(), self.lease.clone(), heard, config.timing.stall);
        let journal = AbortOnDropHandle::new(tokio::spawn(journal.in_current_span()));
        let publisher = Publisher::new(self.context.clone(), self.job, self.lease.clone(), folder, given);
        let publisher = AbortOnDropHandle::new(tokio::spawn(publisher.run(told).in_current_span()));
        let (exit, stopped) = tokio::select! {
            biased;
            exit = child.wait() => (exit, None),
            ending = self.stopped() => (self.end(&mut child, &ending).await, Some(ending)),
        };
        let exit = exit.map_err(broken)?;
        if timeout(LAST_LINES, journal).await.is_err() {
            tracing::warn!(job = %self.job.id, "the last lines of the job's log were lost");
        }
        let ended = match stopped {
            Some(ending) => Err(ending),
            None => self.result(&exit, &watch, folder).await,
        };
        if matches!(ended, Err(Ending::Crashed | Ending::Released)) {
            self.await_last(publisher).await;
        }
        ended
    }

    /// Waits for the last checkpoint, which the next attempt goes on from.
    async fn await_last(&self, publisher: AbortOnDropHandle<()>) {
        tokio::select! {
            () = self.lease.lost() => {}
            done = timeout(LAST_CHECKPOINT, publisher) => if done.is_err() {
                tracing::warn!(job = %self.job.id, "the job's last checkpoint took too long, and is lost");
            }
        }
    }

    /// Asks a process to end; one that does not, or whose job is not ours any more, is killed.
    async fn end(&self, child: &mut Child, ending: &Ending) -> io::Result<Exit> {
        if !matches!(ending, Ending::Stopped(Stop::Lost)) {
            child.group().signal(Signal::TERM);
            tokio::select! {
                exit = child.wait() => return exit,
                () = self.lease.lost() => {}
                () = sleep(self.context.config.timing.grace) => {}
            }
        }
        child.group().signal(Signal::KILL);
        child.wait().await
    }

    /// What a process that ended by itself left.
    async fn result(&self, exit: &Exit, watch: &Watch, folder: &Path) -> Result<Output, Ending> {
        if let Some(needed) = watch.needed_bytes(exit) {
            return Err(Ending::Failed(out_of_memory(self.job, needed, self.context.config.memory_bytes)));
        }
        let output = if exit.status.success() { read_output(&folder.join(WORK))? } else { None };
        if output.is_none() || matches!(output, Some(Output::Failed { .. })) {
            tracing::warn!(job = %self.job.id, status = %exit.status, stderr = exit.stderr, "the job's process did not succeed");
        }
        if let Some(output) = output {
            return Ok(output);
        }
        let body = json!({ "status": exit.status.to_string(), "stderr": exit.stderr.replace('\0', "") });
        journal::write(&self.context.pool, &self.lease, "crash", &body).await;
        Err(Ending::Crashed)
    }

    /// Tells how the attempt ended, for as long as the lease is ours.
    async fn settle(&self, ending: &Ending) {
        let told = self.persist(|| self.lease.last_word(self.tell(ending)));
        tokio::select! {
            () = self.lease.lost() => tracing::warn!(job = %self.job.id, "the job's end could not be told in time"),
            told = told => match told {
                Ok(true) => {}
                Ok(false) => tracing::warn!(job = %self.job.id, "the job was taken away: its end is not told"),
                Err(_) => tracing::error!(job = %self.job.id, "the job's end could not be told"),
            },
        }
    }

    async fn tell(&self, ending: &Ending) -> Result<bool, Refusal> {
        let (pool, id, token) = (&self.context.pool, self.job.id, self.lease.token);
        match ending {
            Ending::Done | Ending::Stopped(Stop::Lost) => return Ok(true),
            Ending::Crashed => return Ok(jobs::crashed(pool, id, token).await? != jobs::Crash::Lost),
            Ending::Released => return Ok(jobs::release(pool, id, token).await?),
            Ending::Failed(_) | Ending::Stopped(_) => {}
        }
        let mut tx = pool.begin().await?;
        let told = match ending {
            Ending::Failed(problems) => jobs::finish_failed(&mut tx, id, token, problems).await?,
            Ending::Stopped(Stop::Cancel) => jobs::finish_cancelled(&mut tx, id, token).await?,
            _ => jobs::finish_expired(&mut tx, id, token).await?,
        };
        tx.commit().await?;
        Ok(told)
    }
}
