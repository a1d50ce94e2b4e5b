//! Sends files: what the server has is not sent again, several parts are on their way at once.

use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use reqwest::{Body, Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

use super::client::{Client, PART, Upload, checked};
use super::files::File;
use super::memory::Memory;
use crate::id::UploadId;
use crate::store::Digest;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// How often a part is sent whose request another one stands in the way of.
const TRIES: u32 = 60;

/// What sending needs.
pub(super) struct Sender<'a> {
    client: &'a Client,
    memory: &'a Memory,
    bar: &'a ProgressBar,
    parallel: u32,
    parts: Semaphore,
}

impl<'a> Sender<'a> {
    /// Sends at most `parallel` parts at once.
    pub(super) fn new(client: &'a Client, memory: &'a Memory, bar: &'a ProgressBar, parallel: u32) -> Self {
        Self { client, memory, bar, parallel, parts: Semaphore::new(parallel as usize) }
    }

    /// Sends files; their paths with the uploads that they became, in order.
    pub(super) async fn send_all(&self, files: &[File]) -> anyhow::Result<Vec<(String, UploadId)>> {
        let uploads = files.iter().map(|file| async move {
            let id = self.send(file).await.with_context(|| format!("{} was not uploaded", file.location.display()))?;
            Ok::<_, anyhow::Error>((file.path.clone(), id))
        });
        stream::iter(uploads).buffered(self.parallel as usize).try_collect().await
    }

    async fn send(&self, file: &File) -> anyhow::Result<UploadId> {
        let location = file.location.clone();
        let hashed = tokio::task::spawn_blocking(move || Digest::of_file(&location));
        let upload = match self.earlier(file).await? {
            Some(upload) if upload.state == "completed" => {
                self.bar.inc(file.size_bytes);
                return Ok(upload.id);
            }
            Some(upload) => upload,
            None => self.start(file).await?,
        };
        let (missing, missing_bytes) = upload.missing();
        self.bar.inc(file.size_bytes.saturating_sub(missing_bytes));
        let numbers = missing.into_iter().flat_map(|gap| gap.first..=gap.last);
        stream::iter(numbers.map(Ok::<u32, anyhow::Error>))
            .try_for_each_concurrent(self.parallel as usize, |number| self.part(file, &upload, number))
            .await?;
        let (digest, size_bytes) = hashed.await??;
        ensure!(size_bytes == file.size_bytes, "the file was changed meanwhile");
        let _: Upload =
            self.client.post(&format!("/v1/uploads/{}/complete", upload.id), &json!({ "sha256": digest })).await?;
        Ok(upload.id)
    }

    /// The upload of an earlier run, if it can be gone on with.
    async fn earlier(&self, file: &File) -> anyhow::Result<Option<Upload>> {
        let Some(id) = self.memory.recall(file) else { return Ok(None) };
        let found: Option<Upload> = self.client.find(&format!("/v1/uploads/{id}")).await?;
        let is_alive = |upload: &Upload| matches!(upload.state.as_str(), "pending" | "completing" | "completed");
        Ok(found.filter(|upload| is_alive(upload) && upload.size_bytes == file.size_bytes))
    }

    async fn start(&self, file: &File) -> anyhow::Result<Upload> {
        let filename: String = file.path.chars().rev().take(255).collect::<Vec<_>>().into_iter().rev().collect();
        let body = json!({ "filename": filename, "size_bytes": file.size_bytes });
        let upload: Upload = self.client.post("/v1/uploads", &body).await?;
        self.memory.note(file, upload.id);
        Ok(upload)
    }

    async fn part(&self, file: &File, upload: &Upload, number: u32) -> anyhow::Result<()> {
        // never closed
        let _permit = self.parts.acquire().await?;
        let path = format!("/v1/uploads/{}/parts/{number}", upload.id);
        let (offset_bytes, size_bytes) = upload.part(number).context("the file has no such part")?;
        // What a try sent counts until the next one starts.
        let sent = Arc::new(AtomicU64::new(0));
        for _ in 0..TRIES {
            let answer = self
                .client
                .send(|| {
                    self.bar.dec(sent.swap(0, Ordering::Relaxed));
                    let body = self.body(file, offset_bytes, size_bytes, &sent);
                    Ok(self
                        .client
                        .request(Method::PUT, &path, PART)
                        .header("content-type", "application/octet-stream")
                        .header("content-length", size_bytes)
                        .body(body))
                })
                .await?;
            // The connection broke, and the server has not noticed yet: it still waits for the try before.
            if answer.status() == StatusCode::CONFLICT && is_busy(&answer) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            checked(answer).await?;
            return Ok(());
        }
        anyhow::bail!("part {number} stays busy")
    }

    /// The part's bytes, read as they are sent.
    fn body(&self, file: &File, offset_bytes: u64, size_bytes: u64, sent: &Arc<AtomicU64>) -> Body {
        let (location, bar, sent) = (file.location.clone(), self.bar.clone(), Arc::clone(sent));
        let opened = async move {
            let mut file = tokio::fs::File::open(location).await?;
            file.seek(SeekFrom::Start(offset_bytes)).await?;
            Ok::<_, std::io::Error>(ReaderStream::with_capacity(file.take(size_bytes), READ_BYTES))
        };
        Body::wrap_stream(stream::once(opened).try_flatten().inspect_ok(move |bytes| {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            bar.inc(bytes.len() as u64);
        }))
    }
}

/// Only a busy part comes with a time to try again.
fn is_busy(answer: &reqwest::Response) -> bool {
    answer.headers().contains_key(reqwest::header::RETRY_AFTER)
}
