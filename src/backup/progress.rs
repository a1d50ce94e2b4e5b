//! How far it is, on standard error: a bar for people, lines in the log for everyone else.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines in the log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A count of bytes on its way to a total.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    last_line: Instant,
}

impl Progress {
    /// Begins to count.
    pub fn new(what: &'static str, total_bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:12} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what);
        Self { bar, what, last_line: Instant::now() }
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: u64) {
        self.bar.inc(bytes);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            tracing::info!(what = self.what, done_bytes = done, total_bytes = total, "under way");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
