//! How long a poll takes while hundreds listen and a job runs. `scripts/measure-load` says how to use it.
//!
//! Open loop: polls are due at fixed times, and a poll's time counts from when it was due, so that a server that stalls
//! is charged for every poll that it held up. The client speaks HTTP over plain sockets on one thread: it shares the
//! machine with the server, and must not be what is measured.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)] // a measurement may fail where it stands

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

/// What to do.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// host:port of the server.
    #[arg(long)]
    address: String,
    /// The body of the job that runs in a loop.
    #[arg(long)]
    job: String,
    /// Polls a second.
    #[arg(long, default_value_t = 1000)]
    polls: u32,
    /// Connections that poll.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Event streams, each on the job that runs.
    #[arg(long, default_value_t = 500)]
    listeners: u32,
    /// Seconds before the first run.
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
    /// Runs.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// What was seen, all tasks together.
#[derive(Debug, Default)]
struct Seen {
    polls_ms: RefCell<Vec<f64>>,
    failures: Cell<u64>,
    events: Cell<u64>,
    streams: Cell<u64>,
    refused: Cell<u64>,
    jobs: Cell<u64>,
}

fn more(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, measure(options));
}

async fn measure(options: Options) {
    let seen = Rc::new(Seen::default());
    let (tell, mut job) = watch::channel(String::new());
    spawn_local(run_jobs(options.clone(), Rc::clone(&seen), tell));
    job.wait_for(|id| !id.is_empty()).await.unwrap();
    for _ in 0..options.listeners {
        spawn_local(listen(options.address.clone(), Rc::clone(&seen), job.clone()));
    }
    let started = Instant::now();
    for number in 0..options.connections {
        spawn_local(poll(options.clone(), number, started, Rc::clone(&seen), job.clone()));
    }
    sleep(Duration::from_secs(options.warm_up)).await;
    let mut medians = Vec::new();
    println!("run  polls   failed  p50 ms  p99 ms  max ms  streams  events  refused  jobs");
    for run in 1..=options.runs {
        for counter in [&seen.failures, &seen.events, &seen.refused, &seen.jobs] {
            counter.set(0);
        }
        seen.polls_ms.borrow_mut().clear();
        sleep(Duration::from_secs(options.seconds)).await;
        let mut times = seen.polls_ms.take();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        medians.push(at(0.99));
        println!(
            "{run:<3}  {:<6}  {:<6}  {:<6.2}  {:<6.2}  {:<6.1}  {:<7}  {:<6}  {:<7}  {}",
            times.len(),
            seen.failures.get(),
            at(0.5),
            at(0.99),
            at(1.0),
            seen.streams.get(),
            seen.events.get(),
            seen.refused.get(),
            seen.jobs.get(),
        );
    }
    medians.sort_by(f64::total_cmp);
    println!("median of the p99s: {:.2} ms", medians[medians.len() / 2]);
}

/// Submits one job after the other, and tells which one it is.
async fn run_jobs(options: Options, seen: Rc<Seen>, tell: watch::Sender<String>) {
    let mut connection = Connection::open(&options.address).await.unwrap();
    loop {
        let (status, body) = connection.ask("POST", "/v1/jobs", &[], &options.job).await.unwrap();
        let job: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!(status, 201, "{job}");
        let id = job["id"].as_str().unwrap().to_owned();
        tell.send(id.clone()).unwrap();
        let path = format!("/v1/jobs/{id}");
        let state = loop {
            let (_, body) = connection.ask("GET", &path, &["Prefer: wait=30"], "").await.unwrap();
            let job: Value = serde_json::from_slice(&body).unwrap();
            let state = job["state"].as_str().unwrap().to_owned();
            if !matches!(state.as_str(), "queued" | "running") {
                break state;
            }
        };
        assert_eq!(state, "succeeded", "the job did not run");
        more(&seen.jobs);
    }
}

/// Listens to the job that runs, and then to the next.
async fn listen(address: String, seen: Rc<Seen>, mut job: watch::Receiver<String>) {
    loop {
        let id = job.borrow_and_update().clone();
        if follow(&address, &id, &seen).await.is_err() {
            more(&seen.refused);
            sleep(Duration::from_secs(1)).await;
        } else if job.changed().await.is_err() {
            return;
        }
    }
}

/// One stream to its end.
async fn follow(address: &str, id: &str, seen: &Seen) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /v1/jobs/{id}/events/stream HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).await?;
    if !buffer[..length].starts_with(b"HTTP/1.1 200") {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    seen.streams.set(seen.streams.get() + 1);
    let mut events = 0;
    loop {
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => {
                events += buffer[..length].windows(6).filter(|window| window == b"event:").count() as u64;
            }
            _ => break,
        }
    }
    seen.streams.set(seen.streams.get() - 1);
    seen.events.set(seen.events.get() + events);
    Ok(())
}

/// Polls the job that runs at the times that are this connection's.
async fn poll(options: Options, number: u32, started: Instant, seen: Rc<Seen>, job: watch::Receiver<String>) {
    let mut connection = Connection::open(&options.address).await.unwrap();
    let between = Duration::from_secs(1) * options.connections / options.polls;
    let mut due = started + Duration::from_secs(1) * number / options.polls;
    loop {
        sleep_until(due).await;
        let path = format!("/v1/jobs/{}", job.borrow().as_str());
        match connection.ask("GET", &path, &[], "").await {
            Ok((200, _)) => seen.polls_ms.borrow_mut().push(due.elapsed().as_secs_f64() * 1e3),
            _ => {
                more(&seen.failures);
                connection = Connection::open(&options.address).await.unwrap();
            }
        }
        due += between;
    }
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: address.to_owned(), buffer: Vec::new() })
    }

    /// A request's status and body. Knows just what the server sends here: a length, never chunks.
    async fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok((status, self.buffer[head..].to_vec()))
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
