//! The server, as a client sees it: requests that are tried again while that may help, and refusals as they were told.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::db::uploads::{self, PartRange};
use crate::http::{Detail, Document};
use crate::id::UploadId;

/// How often a request is tried. With the waits between, it gives a server that starts again a minute and a half.
const TRIES: u32 = 9;
/// The first wait; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a document may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a change may take: completing a file hashes what the server has not hashed yet, or moves it.
const CHANGE: Duration = Duration::from_secs(3600);
/// How long a part may take: the server's own limit, and a bit.
pub(super) const PART: Duration = Duration::from_secs(660);

/// What the server does not take, in its own words.
#[derive(Debug)]
pub(in crate::cli) struct Refused {
    detail: String,
    errors: Vec<Detail>,
}

impl Refused {
    /// A model or dataset that turned out invalid.
    pub(super) fn invalid(id: &str, document: &Value) -> Self {
        let errors = document.get("errors").cloned().unwrap_or_default();
        let errors = serde_json::from_value(errors).unwrap_or_default();
        Self { detail: format!("{id} is invalid"), errors }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        self.errors.iter().try_for_each(|one| write!(f, "\n  {}: {} ({})", one.pointer, one.detail, one.code))
    }
}

impl std::error::Error for Refused {}

/// An upload, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub struct Upload {
    pub(super) id: UploadId,
    pub(super) state: String,
    pub(super) size_bytes: u64,
    pub(super) part_size_bytes: u64,
    received_parts: Vec<Received>,
}

/// Parts that the server has, first and last.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Received {
    first: u32,
    last: u32,
}

impl Upload {
    /// The parts that the server has not, and their bytes.
    pub fn missing(&self) -> (Vec<PartRange>, u64) {
        let count = uploads::part_count(self.size_bytes, self.part_size_bytes);
        let missing = uploads::missing(count, &self.received());
        let start = |number| self.part(number).map_or(self.size_bytes, |(offset_bytes, _)| offset_bytes);
        let bytes = |gap: &PartRange| start(gap.last.saturating_add(1)).saturating_sub(start(gap.first));
        let missing_bytes = missing.iter().map(bytes).sum();
        (missing, missing_bytes)
    }

    /// Offset and length of a part; `None` if the file has no such part.
    pub fn part(&self, number: u32) -> Option<(u64, u64)> {
        uploads::part(self.size_bytes, self.part_size_bytes, number)
    }

    /// The parts that the server has.
    pub fn received(&self) -> Vec<PartRange> {
        self.received_parts.iter().map(|&Received { first, last }| PartRange { first, last }).collect()
    }

    /// The length of every part but the last.
    pub fn part_size_bytes(&self) -> u64 {
        self.part_size_bytes
    }

    /// The file's length.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// A server.
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    key: Option<String>,
}

impl Client {
    /// Asks nothing yet.
    pub(super) fn new(server: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(ANSWER).tcp_keepalive(ANSWER).build()?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned(), key: key.map(str::to_owned) })
    }

    /// A request to a path, which may take so long.
    pub(super) fn request(&self, method: Method, path: &str, limit: Duration) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server)).timeout(limit);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Reads a document; `None` if there is none.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let answer = self.send(|| Ok(self.request(Method::GET, path, ANSWER))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        read(checked(answer).await?).await.map(Some)
    }

    /// Reads a document that may be worth waiting for.
    pub(super) async fn get_waiting(&self, path: &str, wait: Duration) -> anyhow::Result<Value> {
        let prefer = format!("wait={}", wait.as_secs());
        let limit = wait.saturating_add(ANSWER);
        let answer = self.send(|| Ok(self.request(Method::GET, path, limit).header("prefer", &prefer))).await?;
        read(checked(answer).await?).await
    }

    /// Sends a document.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let text = body.to_string();
        let answer = self
            .send(|| {
                let request = self.request(Method::POST, path, CHANGE);
                Ok(request.header("content-type", "application/json").body(text.clone()))
            })
            .await?;
        read(checked(answer).await?).await
    }

    /// Sends a request, made anew each time, until there is an answer that another try would not change.
    pub(super) async fn send(&self, make: impl Fn() -> anyhow::Result<RequestBuilder>) -> anyhow::Result<Response> {
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            let asked = match make()?.send().await {
                Ok(answer) if !may_pass(answer.status()) || attempt >= TRIES => return Ok(answer),
                Ok(answer) => retry_after(&answer),
                Err(error) if attempt >= TRIES => {
                    return Err(anyhow::Error::new(error).context(format!("{} does not answer", self.server)));
                }
                Err(error) => {
                    tracing::debug!(%error, attempt, "trying again");
                    None
                }
            };
            tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
        bail!("{} does not answer", self.server)
    }
}

/// Whether the same request may fare better later.
fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn retry_after(answer: &Response) -> Option<Duration> {
    answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

async fn read<T: DeserializeOwned>(answer: Response) -> anyhow::Result<T> {
    let body = answer.bytes().await.context("the server's answer broke off")?;
    serde_json::from_slice(&body).context("the server's answer can't be read")
}

/// The answer, unless it is a refusal or a failure.
pub(super) async fn checked(answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.bytes().await.unwrap_or_default();
    let document: Option<Document> = serde_json::from_slice(&body).ok();
    match document {
        Some(document) if status.is_client_error() => {
            let detail = format!("the server refuses it: {} ({})", document.detail, document.code);
            Err(Refused { detail, errors: document.errors }.into())
        }
        Some(document) => {
            bail!("the server failed: {} ({}, request {})", document.detail, document.code, document.request_id)
        }
        None => bail!("the server answered {status}"),
    }
}
