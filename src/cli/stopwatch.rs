//! What the engine is told of this process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::config::kernel_bytes;
use crate::engine::context::Stopwatch;

/// Time since it was made, and what the kernel says of this process.
#[derive(Debug, Clone)]
pub struct ProcessClock {
    start: Instant,
    /// `/proc/self/status`, open from the start: a job's process can open nothing of the kind later.
    status: Option<Arc<File>>,
    /// The most memory of its own that any look found.
    peak_bytes: Arc<AtomicU64>,
}

impl Default for ProcessClock {
    fn default() -> Self {
        let status = File::open("/proc/self/status").ok().map(Arc::new);
        Self { start: Instant::now(), status, peak_bytes: Arc::default() }
    }
}

impl Stopwatch for ProcessClock {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn cpu_time(&self) -> Option<Duration> {
        // Of all threads together, those that have ended too.
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }

    // Not the kernel's own peak, `VmHWM`: pages of mapped files count there, and the whole model is one
    fn peak_memory_bytes(&self) -> Option<u64> {
        let mut text = [0; 8 << 10];
        let length = self.status.as_ref()?.read_at(&mut text, 0).ok()?;
        let now = kernel_bytes(&String::from_utf8_lossy(text.get(..length)?), "RssAnon:")?;
        Some(self.peak_bytes.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_time_and_memory() {
        let clock = ProcessClock::default();
        let before = clock.cpu_time().unwrap();
        let mut sum = 0_u64;
        while clock.cpu_time().unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(clock.elapsed() > Duration::ZERO);
        let peak = clock.peak_memory_bytes().unwrap();
        assert!(peak > 1 << 20);
        let taken = std::hint::black_box(vec![1_u8; 64 << 20]);
        let (more, length) = (clock.peak_memory_bytes().unwrap(), taken.len() as u64);
        assert!(more >= peak.max(length), "each look is a new one");
        drop(taken);
        assert!(clock.peak_memory_bytes().unwrap() >= more, "what was found is kept");
    }
}
