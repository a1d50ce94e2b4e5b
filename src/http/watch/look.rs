//! The task that looks at all watched jobs together.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::{Line, Seen, TAIL_LINES, View, Watch};
use crate::db::jobs::{Glance, JobEvent, glance, lines_between};
use crate::db::{self, Pool};
use crate::http::jobs::frames;

/// How often all jobs are looked at that have not ended: the log's lines and progress come without a hint.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take: a database that does not answer must not end the watching for good.
const PATIENCE: Duration = Duration::from_secs(10);

impl Watch {
    /// Looks for all that watch. Never ends: once the pool is closed there is nothing more to see.
    pub(in crate::http) async fn keep(self, pool: Pool) {
        let mut hints = pin!(db::listen(pool.clone()));
        let mut next = Instant::now();
        loop {
            let mut hinted = HashSet::new();
            tokio::select! {
                hint = hints.next() => match hint {
                    Some(id) => drop(hinted.insert(id)),
                    None => return std::future::pending().await,
                },
                () = self.0.fresh.notified() => {}
                () = sleep_until(next), if !self.topics().is_empty() => {}
            }
            // those that came together are looked at together
            while let Some(Some(id)) = hints.next().now_or_never() {
                hinted.insert(id);
            }
            let is_time = Instant::now() >= next;
            if is_time {
                next = Instant::now() + LOOK;
            }
            let due = self.due(is_time, &hinted);
            if due.is_empty() {
                continue;
            }
            match timeout(PATIENCE, self.look(&pool, due)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the watched jobs can't be read; trying again"),
                Err(_) => tracing::debug!("the database does not answer; looking again"),
            }
        }
    }

    /// The jobs that are to be looked at now, each with the last line that is known. Forgets those that nobody watches.
    fn due(&self, is_time: bool, hinted: &HashSet<Uuid>) -> HashMap<Uuid, i64> {
        let mut topics = self.topics();
        if is_time {
            topics.retain(|_, topic| topic.receiver_count() > 0);
        }
        let due = topics.iter().filter_map(|(id, topic)| {
            let view = topic.borrow();
            let (is_new, known) = match &view.seen {
                None => (true, 0),
                // it has ended, or was deleted
                Some(_) if view.is_over_after(i64::MAX) => return None,
                Some(_) => (false, view.job().map_or(0, |job| job.last_seq)),
            };
            (is_new || is_time || hinted.contains(id)).then_some((*id, known))
        });
        due.collect()
    }

    /// Looks at jobs, and tells those who watch them what is new.
    async fn look(&self, pool: &Pool, due: HashMap<Uuid, i64>) -> db::Result<()> {
        let ids: Vec<Uuid> = due.keys().copied().collect();
        let jobs = glance(pool, &ids).await?;
        let wanted: Vec<(Uuid, i64, i64)> = jobs
            .iter()
            .filter_map(|job| {
                let known = due.get(&job.id.0).copied().unwrap_or(0);
                let after = known.max(job.last_seq - TAIL_LINES as i64);
                (job.last_seq > known).then_some((job.id.0, after, job.last_seq))
            })
            .collect();
        let mut lines: HashMap<Uuid, Vec<JobEvent>> = HashMap::new();
        if !wanted.is_empty() {
            for (id, line) in lines_between(pool, &wanted).await? {
                lines.entry(id).or_default().push(line);
            }
        }
        let mut jobs: HashMap<Uuid, Glance> = jobs.into_iter().map(|job| (job.id.0, job)).collect();
        let topics = self.topics();
        for id in ids {
            let Some(topic) = topics.get(&id) else { continue };
            let seen = jobs.remove(&id).map_or(Seen::Nothing, Seen::Job);
            let lines = lines.remove(&id).unwrap_or_default();
            topic.send_if_modified(|view| view.update(seen, lines));
        }
        Ok(())
    }
}

impl View {
    /// Takes in what a look saw; false if that is nothing new.
    fn update(&mut self, seen: Seen, lines: Vec<JobEvent>) -> bool {
        if self.seen.as_ref() == Some(&seen) {
            return false;
        }
        if let Seen::Job(job) = &seen {
            self.progress = progress(job);
        }
        self.seen = Some(seen);
        // some were left out: what was kept before them does not connect
        let last = self.lines.back().map(|line| line.seq);
        if let (Some(last), Some(first)) = (last, lines.first())
            && first.seq != last + 1
        {
            self.lines.clear();
            self.lines_bytes = 0;
        }
        for line in lines {
            let seq = line.seq;
            self.push(Line { seq, frame: frames::line(line) });
        }
        true
    }
}

fn progress(job: &Glance) -> Option<(i64, Bytes)> {
    job.progress.as_ref().map(|progress| (job.revision, frames::progress(job.phase.as_deref(), progress)))
}
