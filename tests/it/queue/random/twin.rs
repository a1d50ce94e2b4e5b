//! The queue as it should be, beside the one that is.

use pare::db::jobs::{self, Crash, Heartbeat, JobState, Worker};
use pare::db::{DEFAULT_TENANT, Pool};
use pare::id::{JobId, ModelId};
use serde_json::json;
use uuid::Uuid;

use super::super::{compress, enqueue, let_backoff_pass, let_deadline_pass, let_lease_run_out, succeed, worker};
use super::{MAX_RUNNING, Op, WORKERS, all};

/// What the model knows of a job.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: JobId,
    pub(super) state: JobState,
    token: Option<Uuid>,
    owner: usize,
    crashes: u32,
    ran_out: bool,
    late: bool,
    revision: i64,
}

impl Known {
    fn end(&mut self, state: JobState) {
        (self.state, self.token) = (state, None);
    }

    /// Where a job goes whose lease was taken.
    fn come_back(&mut self) {
        let state = match (self.state, self.late) {
            (JobState::Cancelling, _) => JobState::Cancelled,
            (_, true) => JobState::Expired,
            (_, false) => JobState::Queued,
        };
        self.end(state);
    }
}

/// The queue as it should be, beside the one that is.
pub(super) struct Twin<'a> {
    pool: &'a Pool,
    model: ModelId,
    workers: Vec<Worker>,
    /// What each worker believes to hold.
    held: Vec<Option<(usize, Uuid)>>,
    pub(super) jobs: Vec<Known>,
}

impl<'a> Twin<'a> {
    pub(super) fn new(pool: &'a Pool, model: ModelId) -> Self {
        let workers = (0..WORKERS).map(|_| worker()).collect();
        Self { pool, model, workers, held: vec![None; WORKERS], jobs: Vec::new() }
    }

    fn chosen(&mut self, job: usize) -> Option<&mut Known> {
        let count = self.jobs.len().max(1);
        self.jobs.get_mut(job % count)
    }

    pub(super) async fn run(&mut self, op: Op) {
        match op {
            Op::Enqueue => self.enqueue().await,
            Op::Claim(worker) => self.claim(worker).await,
            Op::Beat(worker)
            | Op::Note(worker)
            | Op::Succeed(worker)
            | Op::Fail(worker)
            | Op::Crash(worker)
            | Op::Release(worker) => {
                if let Some((job, token)) = self.held[worker] {
                    self.write(op, job, token).await;
                }
            }
            Op::Restart(worker) => self.restart(worker).await,
            Op::Cancel(job) => self.cancel(job).await,
            Op::RunOut(job) => {
                let pool = self.pool;
                if let Some(job) = self.chosen(job) {
                    job.ran_out = job.token.is_some();
                    let_lease_run_out(pool, job.id).await;
                }
            }
            Op::Late(job) => {
                let pool = self.pool;
                if let Some(job) = self.chosen(job).filter(|job| !job.state.is_terminal()) {
                    job.late = true;
                    let_deadline_pass(pool, job.id).await;
                }
            }
            Op::Reap => self.reap().await,
        }
        self.compare().await;
    }

    async fn enqueue(&mut self) {
        let id = enqueue(self.pool, &compress(self.model)).await;
        let (state, token) = (JobState::Queued, None);
        self.jobs.push(Known { id, state, token, owner: 0, crashes: 0, ran_out: false, late: false, revision: 0 });
    }

    async fn claim(&mut self, worker: usize) {
        let_backoff_pass(self.pool).await;
        let running = self.jobs.iter().filter(|job| job.token.is_some()).count();
        let waiting = self.jobs.iter().filter(|job| job.state == JobState::Queued && !job.late).count();
        match jobs::claim(self.pool, &self.workers[worker]).await.unwrap() {
            None => assert!(waiting == 0 || running >= MAX_RUNNING, "a job was left lying"),
            Some(claimed) => {
                assert!(running < MAX_RUNNING, "beyond the tenant's limit");
                let job = self.jobs.iter().position(|job| job.id == claimed.job.id).unwrap();
                let known = &mut self.jobs[job];
                assert!(known.state == JobState::Queued && !known.late, "claimed as {:?}", known.state);
                (known.state, known.token, known.owner, known.ran_out) =
                    (JobState::Running, Some(claimed.token), worker, false);
                self.held[worker] = Some((job, claimed.token));
            }
        }
    }

    /// A worker's write arrives exactly if its token is the job's.
    async fn write(&mut self, op: Op, job: usize, token: Uuid) {
        let (pool, known) = (self.pool, &mut self.jobs[job]);
        let mine = known.token == Some(token);
        match op {
            Op::Beat(_) => {
                let beat = jobs::heartbeat(pool, known.id, token, Some("loading"), None).await.unwrap();
                let cancel_requested = known.state == JobState::Cancelling;
                let expected = Heartbeat::Held { cancel_requested, deadline_passed: known.late };
                assert_eq!(beat, if mine { expected } else { Heartbeat::Lost });
                known.ran_out &= !mine;
            }
            Op::Note(_) => {
                let arrived = jobs::append_event(pool, known.id, token, "note", &json!({})).await.unwrap();
                assert_eq!(arrived, mine);
            }
            Op::Succeed(_) => {
                assert_eq!(succeed(pool, known.id, token).await, mine);
                if mine {
                    known.end(JobState::Succeeded);
                }
            }
            Op::Fail(_) => {
                let mut tx = pool.begin().await.unwrap();
                assert_eq!(jobs::finish_failed(&mut tx, known.id, token, &[]).await.unwrap(), mine);
                tx.commit().await.unwrap();
                if mine {
                    known.end(JobState::Failed);
                }
            }
            Op::Crash(_) => {
                let crash = jobs::crashed(pool, known.id, token).await.unwrap();
                assert_eq!(crash == Crash::Lost, !mine);
                known.crashes += u32::from(mine);
                match known.crashes {
                    2 if mine => known.end(JobState::Failed),
                    _ if mine => known.come_back(),
                    _ => {}
                }
            }
            _ => {
                assert_eq!(jobs::release(pool, known.id, token).await.unwrap(), mine);
                if mine {
                    known.come_back();
                }
            }
        }
    }

    async fn restart(&mut self, worker: usize) {
        let back = jobs::release_all_of(self.pool, self.workers[worker].host_id).await.unwrap();
        let mine = self.jobs.iter_mut().filter(|job| job.token.is_some() && job.owner == worker);
        assert_eq!(back, mine.map(Known::come_back).count() as u64);
    }

    async fn cancel(&mut self, job: usize) {
        let pool = self.pool;
        let Some(job) = self.chosen(job) else { return };
        match job.state {
            JobState::Queued => job.end(JobState::Cancelled),
            JobState::Running => job.state = JobState::Cancelling,
            _ => {}
        }
        let seen = jobs::cancel(pool, DEFAULT_TENANT, job.id).await.unwrap().unwrap();
        assert_eq!(seen.state, job.state);
    }

    async fn reap(&mut self) {
        jobs::reap(self.pool).await.unwrap();
        for job in &mut self.jobs {
            if job.token.is_some() && job.ran_out {
                job.come_back();
            } else if job.state == JobState::Queued && job.late {
                job.end(JobState::Expired);
            }
        }
    }

    async fn compare(&mut self) {
        let rows = all(self.pool).await;
        assert_eq!(rows.len(), self.jobs.len());
        for known in &mut self.jobs {
            let row = &rows[&known.id];
            assert_eq!((row.state, row.crashes), (known.state, known.crashes));
            assert!(row.revision >= known.revision);
            known.revision = row.revision;
        }
    }
}
