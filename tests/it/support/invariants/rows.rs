//! What the rows must say.

use pare::db::Pool;
use sqlx::{AssertSqlSafe, Row};

/// Notes every job that leaves a state in which it ended.
const WATCH: &str = "
    create table if not exists observed (job uuid, was text, becomes text);
    create or replace function observe() returns trigger language plpgsql as $$
        begin
            insert into observed values (old.id, old.state, new.state);
            return new;
        end $$;
    create or replace trigger observe after update on jobs for each row
        when (old.state in ('succeeded', 'failed', 'cancelled', 'expired') and new.state <> old.state)
        execute function observe();";

const TERMINAL: &str = "('succeeded', 'failed', 'cancelled', 'expired')";

pub(super) async fn watch(pool: &Pool) {
    sqlx::raw_sql(WATCH).execute(pool).await.unwrap();
}

/// Asks for rows that should not be; each is shown as text.
async fn none(pool: &Pool, what: &str, query: &str) {
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(pool).await.unwrap();
    assert!(rows.is_empty(), "{what}:\n{}", rows.join("\n"));
}

async fn count(pool: &Pool, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(pool).await.unwrap()
}

/// I1. How many jobs there are.
pub(super) async fn ended(pool: &Pool, fault: &str, acknowledged: &[String]) -> i64 {
    for id in acknowledged {
        let uuid: uuid::Uuid = id.strip_prefix("job_").unwrap_or(id).parse().unwrap();
        let found = sqlx::query("select id from jobs where id = $1").bind(uuid).fetch_optional(pool).await.unwrap();
        assert!(found.is_some(), "{fault} I1: {id} was acknowledged and is gone");
    }
    let live = format!("select id || ' is ' || state from jobs where state not in {TERMINAL}");
    none(pool, &format!("{fault} I1: jobs that have not ended"), &live).await;
    none(pool, &format!("{fault} I1: leases without a job that runs"), "select job_id::text from job_leases").await;
    count(pool, "select count(*) from jobs").await
}

/// I2, as far as the rows say it. How many attempts there were.
pub(super) async fn one_success(pool: &Pool, fault: &str) -> i64 {
    let twice = "select job_id || ' succeeded ' || count(*) || ' times' from job_attempts where outcome = 'succeeded'
        group by job_id having count(*) > 1";
    none(pool, &format!("{fault} I2"), twice).await;
    let without = "select id || ' succeeded in no attempt' from jobs j where state = 'succeeded'
        and not exists (select from job_attempts a where a.job_id = j.id and a.number = j.attempt
            and a.outcome = 'succeeded')";
    none(pool, &format!("{fault} I2"), without).await;
    let foreign = "select f.job_id || ' is ' || j.state || ', attempt ' || j.attempt || ', and shows ' || f.path
            || ' of attempt ' || f.attempt
        from job_files f join jobs j on j.id = f.job_id where j.state <> 'succeeded' or f.attempt <> j.attempt";
    none(pool, &format!("{fault} I2"), foreign).await;
    let kept = "select job_id || ' has ended, and its checkpoint of step ' || step || ' is there' from job_checkpoints
        union all select job_id || ' has ended, and ' || path || ' of its checkpoint is there' from job_files
            where role = 'checkpoint'";
    none(pool, &format!("{fault} I2"), kept).await;
    count(pool, "select count(*) from job_attempts").await
}

/// I3. How many lines there are.
pub(super) async fn logs(pool: &Pool, fault: &str) -> i64 {
    let gaps = "select j.id || ': ' || count(e.seq) || ' lines from ' || coalesce(min(e.seq), 0) || ' to '
            || coalesce(max(e.seq), 0) || ', ' || j.last_event_seq || ' by the job'
        from jobs j left join job_events e on e.job_id = j.id group by j.id
        having count(e.seq) <> j.last_event_seq or coalesce(max(e.seq), 0) <> j.last_event_seq
            or coalesce(min(e.seq), 1) <> 1";
    none(pool, &format!("{fault} I3"), gaps).await;
    count(pool, "select count(*) from job_events").await
}

/// I4, by the log and by what the database watched.
pub(super) async fn no_end_was_left(pool: &Pool, fault: &str) {
    let seen = "select job || ' went from ' || was || ' to ' || becomes from observed";
    none(pool, &format!("{fault} I4"), seen).await;
    let after = format!(
        "select e.job_id || ' says ' || e.kind || ' after its end' from job_events e join (select job_id, min(seq) as seq
            from job_events where kind = 'state' and body->>'state' in {TERMINAL} group by job_id) ends using (job_id)
        where e.seq > ends.seq"
    );
    none(pool, &format!("{fault} I4"), &after).await;
    let other = format!(
        "select j.id || ' is ' || j.state || ' and its log ends otherwise' from jobs j where not exists
            (select from job_events e where e.job_id = j.id and e.seq = j.last_event_seq and e.body->>'state' = j.state)
        and j.state in {TERMINAL}"
    );
    none(pool, &format!("{fault} I4"), &other).await;
}

/// I7, by the log: a job ran from the line that says so to the next change of its state. The most that ran at once.
///
/// A job's line is written before its transaction commits, and a claim counts what was committed before it writes its
/// own: so what overlaps here did overlap.
pub(super) async fn most_running(pool: &Pool, fault: &str) -> i64 {
    let query = "
        with moves as (
            select j.tenant_id, e.job_id, e.at, e.body->>'state' as state,
                lead(e.at) over (partition by e.job_id order by e.seq) as until
            from job_events e join jobs j on j.id = e.job_id
            where e.kind = 'state' and e.body->>'state' <> 'cancelling'),
        steps as (
            select tenant_id, at, 1 as step from moves where state = 'running'
            union all select tenant_id, until, -1 from moves where state = 'running' and until is not null),
        sums as (
            select tenant_id, sum(step) over (partition by tenant_id order by at, step rows unbounded preceding) as running
            from steps)
        select t.max_running::bigint as allowed, coalesce(max(s.running), 0)::bigint as most
        from tenants t left join sums s on s.tenant_id = t.id group by t.id";
    let mut most = 0;
    for row in sqlx::query(query).fetch_all(pool).await.unwrap() {
        let (allowed, ran): (i64, i64) = (row.get("allowed"), row.get("most"));
        assert!(ran <= allowed, "{fault} I7: {ran} jobs at once, where {allowed} may run");
        most = most.max(ran);
    }
    most
}
