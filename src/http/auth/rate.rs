//! How often a key may ask: a bucket of requests for each, that fills up evenly.
//!
//! It holds a minute's requests, so that a burst is fine and the rate holds over time. Each server counts for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderValue;
use http::header::HeaderName;

use crate::id::KeyId;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Buckets that are kept at the most; those that are full again are let go first.
const MOST: usize = 4096;

/// The buckets. A clone shares them.
#[derive(Debug, Clone)]
pub(in crate::http) struct Limiter {
    per_minute: u32,
    /// Whether those without a key share a bucket too.
    is_for_all: bool,
    buckets: Arc<Mutex<HashMap<Option<KeyId>, Bucket>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    requests: f64,
    at: Instant,
}

/// What a request left in its bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::http) struct Taken {
    per_minute: u32,
    /// Requests that are left; less than none where this one was not taken.
    left: f64,
}

impl Limiter {
    /// `per_minute` for each key; 0 for no limit. `is_for_all` limits those without a key too, together.
    pub(in crate::http) fn new(per_minute: u32, is_for_all: bool) -> Self {
        Self { per_minute, is_for_all, buckets: Arc::default() }
    }

    /// Takes a request from a key's bucket; `None` where there is no limit.
    pub(super) fn take(&self, key: Option<KeyId>, now: Instant) -> Option<Taken> {
        if self.per_minute == 0 || key.is_none() && !self.is_for_all {
            return None;
        }
        let full = f64::from(self.per_minute);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| bucket.filled(full, now) < full);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { requests: full, at: now });
        let left = bucket.filled(full, now) - 1.0;
        // one that is not taken costs nothing, so that patience is always rewarded
        *bucket = Bucket { requests: if left < 0.0 { left + 1.0 } else { left }, at: now };
        Some(Taken { per_minute: self.per_minute, left })
    }
}

impl Bucket {
    fn filled(&self, full: f64, now: Instant) -> f64 {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        (self.requests + seconds * full / 60.0).min(full)
    }
}

impl Taken {
    /// How long to wait where the request was not taken.
    pub(super) fn wait_seconds(&self) -> Option<u64> {
        (self.left < 0.0).then(|| self.seconds_for(-self.left).max(1))
    }

    /// Until the bucket has `requests` more.
    fn seconds_for(&self, requests: f64) -> u64 {
        (requests * 60.0 / f64::from(self.per_minute)).ceil() as u64
    }

    /// `RateLimit-Policy` and `RateLimit` of the IETF's draft: the quota with its window, and what is left of it with the
    /// time after which it is whole again.
    pub(super) fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        let full = f64::from(self.per_minute);
        let (left, whole_in) = (self.left.max(0.0).floor() as u64, self.seconds_for(full - self.left.max(0.0)));
        let value = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        [
            (POLICY, value(format!("\"default\";q={};w=60", self.per_minute))),
            (LIMIT, value(format!("\"default\";r={left};t={whole_in}"))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_evenly() {
        let (limiter, key, start) = (Limiter::new(60, false), Some(KeyId::new()), Instant::now());
        for left in (0..60).rev() {
            let taken = limiter.take(key, start).unwrap();
            assert_eq!((taken.wait_seconds(), taken.left), (None, f64::from(left)));
        }
        let refused = limiter.take(key, start).unwrap();
        assert_eq!(refused.wait_seconds(), Some(1));
        // asking in vain does not make it longer
        assert_eq!(limiter.take(key, start).unwrap().wait_seconds(), Some(1));
        assert_eq!(limiter.take(key, start + Duration::from_secs(1)).unwrap().wait_seconds(), None);
        assert_eq!(limiter.take(key, start + Duration::from_hours(1)).unwrap().left, 59.0);
    }

    #[test]
    fn keys_do_not_share_and_slow_rates_wait_long() {
        let (limiter, start) = (Limiter::new(2, false), Instant::now());
        let (one, other) = (Some(KeyId::new()), Some(KeyId::new()));
        for _ in 0..2 {
            assert_eq!(limiter.take(one, start).unwrap().wait_seconds(), None);
        }
        assert_eq!(limiter.take(one, start).unwrap().wait_seconds(), Some(30));
        assert_eq!(limiter.take(other, start).unwrap().wait_seconds(), None);
    }

    #[test]
    fn who_has_no_key_is_limited_only_where_that_was_asked_for() {
        let start = Instant::now();
        assert_eq!(Limiter::new(1, false).take(None, start), None);
        assert!(Limiter::new(1, true).take(None, start).is_some());
        assert_eq!(Limiter::new(0, true).take(Some(KeyId::new()), start), None);
    }

    #[test]
    fn the_headers_say_what_is_left() {
        let (limiter, start) = (Limiter::new(60, true), Instant::now());
        limiter.take(None, start);
        let [(_, policy), (_, limit)] = limiter.take(None, start).unwrap().headers();
        assert_eq!(
            (policy, limit),
            ("\"default\";q=60;w=60".parse().unwrap(), "\"default\";r=58;t=2".parse().unwrap())
        );
    }
}
