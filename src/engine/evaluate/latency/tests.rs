use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candle_core::Device;

use super::*;
use crate::engine::calibrate::Statistics;
use crate::engine::checkpoint::Checkpoint;
use crate::engine::context::{Event, Host, Observer, Stopwatch};

/// A clock that only moves when it is told to.
#[derive(Default)]
struct Hand(AtomicU64);

impl Stopwatch for Hand {
    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn cpu_time(&self) -> Option<Duration> {
        None
    }

    fn peak_memory_bytes(&self) -> Option<u64> {
        None
    }
}

/// Moves the clock by a second whenever it is told something.
struct Slow<'a> {
    clock: &'a Hand,
    stop: AtomicBool,
}

impl Observer for Slow<'_> {
    fn on(&self, _: Event) {
        self.clock.0.fetch_add(1_000_000, Ordering::Relaxed);
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn context<'a>(clock: &'a Hand, observer: &'a Slow<'a>) -> RunContext<'a> {
    RunContext {
        observer,
        stopwatch: clock,
        device: Device::Cpu,
        threads: 1,
        resident_bytes: crate::engine::context::RESIDENT_BYTES,
        scratch: PathBuf::new(),
        host: Host::default(),
        kept: Checkpoint::default(),
        statistics: Statistics::default(),
    }
}

#[test]
fn warm_up_and_observer_are_not_timed() {
    let clock = Hand::default();
    let observer = Slow { clock: &clock, stop: AtomicBool::new(false) };
    let mut calls = 0;
    let mut run = || {
        calls += 1;
        // The five warm-up calls take a second each; then 1, 2, … 40 ms.
        let taken = if calls <= 5 { 1_000_000 } else { (calls - 5) * 1_000 };
        clock.0.fetch_add(taken, Ordering::Relaxed);
        Ok(())
    };
    let latency = measure(&mut run, &context(&clock, &observer), 40, 5).unwrap();
    assert_eq!(calls, 45);
    assert_eq!(latency.n, 40);
    for (found, expected) in [(latency.min_ms, 1.0), (latency.median_ms, 20.5), (latency.p95_ms, 38.05)] {
        assert!((found - expected).abs() < 1e-9, "{found} against {expected}");
    }
}

#[test]
fn too_few_runs_are_made_enough() {
    let clock = Hand::default();
    let observer = Slow { clock: &clock, stop: AtomicBool::new(false) };
    let mut calls = 0;
    let mut run = || {
        calls += 1;
        Ok(())
    };
    assert_eq!(measure(&mut run, &context(&clock, &observer), 1, 0).unwrap().n, 30);
    assert_eq!(calls, 35);
}

#[test]
fn it_stops_when_asked_and_when_a_call_fails() {
    let clock = Hand::default();
    let observer = Slow { clock: &clock, stop: AtomicBool::new(true) };
    let stopped = measure(&mut || Ok(()), &context(&clock, &observer), 30, 5);
    assert!(matches!(stopped, Err(EngineError::Stopped)));
    observer.stop.store(false, Ordering::Relaxed);
    let failed = measure(&mut || Err(EngineError::Internal("no".into())), &context(&clock, &observer), 30, 5);
    assert!(matches!(failed, Err(EngineError::Internal(_))));
}
