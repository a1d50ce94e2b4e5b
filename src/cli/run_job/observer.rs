//! Events as JSON lines on standard output; the wish to stop from SIGTERM and standard input.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::context::{Event, Observer};

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Tells a worker.
pub(super) struct LineObserver {
    stop: Arc<AtomicBool>,
    last_progress: Mutex<Option<Instant>>,
}

impl LineObserver {
    /// Listens for the wish to stop: a signal, and on a thread that lasts as long as the process the end of its input.
    pub(super) fn start() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        // Not an async runtime: it would want sockets, and there are none in here.
        signal_hook::flag::register(libc::SIGTERM, stop.clone())?;
        let asked = stop.clone();
        thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut byte = [0];
            while matches!(io::stdin().read(&mut byte), Ok(1)) {}
            asked.store(true, Ordering::Relaxed);
        })?;
        Ok(Self { stop, last_progress: Mutex::new(None) })
    }

    /// Progress is told ten times a second, and when a piece of work is done.
    fn is_due(&self, event: &Event) -> bool {
        let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Progress { done, total, .. } => {
                let due = done >= total || last.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
                if due {
                    *last = Some(Instant::now());
                }
                due
            }
            Event::Phase { .. } => {
                *last = None;
                true
            }
            Event::Note { .. } | Event::Checkpoint { .. } | Event::Resumed { .. } => true,
        }
    }
}

impl Observer for LineObserver {
    fn on(&self, event: Event) {
        if !self.is_due(&event) {
            return;
        }
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            let mut out = io::stdout().lock();
            // Nobody listens any more: the kernel ends us in a moment.
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
