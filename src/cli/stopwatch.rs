//! What the engine is told of this process and this machine.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::config::kernel_bytes;
use crate::engine::context::{Host, Stopwatch};

/// Time since it was made, and what the kernel says of this process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessClock(Instant);

impl Default for ProcessClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Stopwatch for ProcessClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn cpu_time(&self) -> Option<Duration> {
        // Of all threads together, those that have ended too.
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }

    fn peak_memory_bytes(&self) -> Option<u64> {
        kernel_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
    }
}

/// The machine that a report names.
pub fn host(binary_sha256: Option<String>) -> Host {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let system = rustix::system::uname();
    let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let os = [part(system.sysname()), part(system.release()), part(system.machine())].join(" ");
    Host { cpu: cpu.unwrap_or("unknown").to_owned(), os, binary_sha256 }
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
        assert!(clock.peak_memory_bytes().unwrap() > 1 << 20);
        assert!(!host(None).os.is_empty());
    }
}
