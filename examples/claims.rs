//! How many jobs a second can be claimed from a long queue. `scripts/measure-load` says how to use it.
//!
//! A private cluster as `pare serve` starts it, with its settings: every claim is on the disk before it counts. Each
//! task claims a job and ends it, as a worker would whose jobs take no time.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)] // a measurement may fail where it stands

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use pare::db::jobs::{Worker, claim, finish_failed};
use pare::db::{self, Pool};
use pare::engine::problem::{Code, Problem};
use pare::postgres::{Cluster, ClusterConfig};
use uuid::Uuid;

/// What to do.
#[derive(Debug, Parser)]
struct Options {
    /// The program that supervises the cluster.
    #[arg(long, default_value = "target/release/pare")]
    pare: PathBuf,
    /// An empty folder for the cluster.
    #[arg(long)]
    state_dir: PathBuf,
    /// Jobs that wait.
    #[arg(long, default_value_t = 100_000)]
    jobs: i32,
    /// Whose they are.
    #[arg(long, default_value_t = 20)]
    tenants: i32,
    /// Tasks that claim at once.
    #[arg(long, default_value_t = 4)]
    tasks: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let helper = std::path::absolute(&options.pare).unwrap();
    let config = ClusterConfig { state_dir: options.state_dir.clone(), bin_dir: None, helper };
    let cluster = Cluster::start(config).await.unwrap();
    let pool = db::connect(&cluster.url("pare"), 2 + options.tasks as u32).await.unwrap();
    db::migrate(&pool).await.unwrap();
    fill(&pool, &options).await;
    for setting in ["fsync", "synchronous_commit"] {
        let value: String =
            sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&pool).await.unwrap();
        println!("{setting} {value}");
    }
    println!("run  claims  claims/s  p50 ms  p99 ms  max ms");
    for run in 1..=options.runs {
        let started = Instant::now();
        let until = started + Duration::from_secs(options.seconds);
        let tasks: Vec<_> = (0..options.tasks).map(|_| tokio::spawn(work(pool.clone(), until))).collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        let seconds = started.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let rate = times.len() as f64 / seconds;
        println!("{run:<3}  {:<6}  {rate:<8.0}  {:<6.2}  {:<6.2}  {:<6.1}", times.len(), at(0.5), at(0.99), at(1.0));
    }
    let left: i64 =
        sqlx::query_scalar("select count(*) from jobs where state = 'queued'").fetch_one(&pool).await.unwrap();
    println!("{left} of {} jobs are still queued", options.jobs);
    pool.close().await;
    cluster.stop().await.unwrap();
}

/// Claims jobs and ends them; how long each claim took, in milliseconds.
async fn work(pool: Pool, until: Instant) -> Vec<f64> {
    let worker = Worker {
        id: Uuid::now_v7(),
        host_id: Uuid::now_v7(),
        memory_bytes: 1 << 40,
        disk_bytes: 1 << 40,
        devices: vec!["cpu".to_owned()],
    };
    let problems = [Problem::new("", Code::Internal, "measured")];
    let mut times = Vec::new();
    while Instant::now() < until {
        let asked = Instant::now();
        // none: another task has just taken what this one saw
        let Some(claimed) = claim(&pool, &worker).await.unwrap() else { continue };
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        let mut tx = pool.begin().await.unwrap();
        assert!(finish_failed(&mut tx, claimed.job.id, claimed.token, &problems).await.unwrap());
        tx.commit().await.unwrap();
    }
    times
}

/// Jobs of many tenants, in no order.
async fn fill(pool: &Pool, options: &Options) {
    let tenants =
        "insert into tenants (id, name) select gen_random_uuid(), 'tenant ' || n from generate_series(1, $1) n";
    sqlx::query(tenants).bind(options.tenants).execute(pool).await.unwrap();
    let models = "insert into models (id, tenant_id, name, size_bytes, state, header)
        select gen_random_uuid(), id, 'model', 1, 'ready', '{}' from tenants where name like 'tenant %'";
    sqlx::query(models).execute(pool).await.unwrap();
    let jobs = "insert into jobs (id, tenant_id, kind, model_id, recipe_name, priority, run_after, deadline_at)
        select gen_random_uuid(), m.tenant_id, 'compress', m.id, 'int8', (random() * 2)::int,
            now() - random() * interval '1 hour', now() + interval '1 day'
        from generate_series(1, $1) n
        join (select *, row_number() over () as number from models where state = 'ready') m on m.number = 1 + n % $2";
    sqlx::query(jobs).bind(options.jobs).bind(options.tenants).execute(pool).await.unwrap();
    sqlx::query("analyze").execute(pool).await.unwrap();
}
