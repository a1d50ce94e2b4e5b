//! `Prefer: wait=N` (RFC 7240): the client would rather wait than ask again.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header that says what was honoured.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The longest wait that is granted.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// How long the client would wait, at most [`LONGEST`]. As the RFC asks, a preference that can't be read is ignored,
/// and of several the first counts.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let seconds = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("wait") && value.bytes().all(|byte| byte.is_ascii_digit())).then_some(value)
    });
    let mut seconds = seconds.filter(|digits| !digits.is_empty());
    // digits that overflow ask for more than the longest wait
    seconds.next().map(|digits| digits.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST))
}

/// The response header that says which wait was granted.
pub(super) fn applied(wait: Option<Duration>) -> HeaderMap {
    let value = wait.and_then(|wait| http::HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok());
    value.map(|value| (PREFERENCE_APPLIED, value)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<u64> {
        let headers = values.iter().map(|value| (PREFER, value.parse().unwrap())).collect();
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_first_wait_counts_and_the_rest_is_ignored() {
        assert_eq!(of(&["wait=30"]), Some(30));
        assert_eq!(of(&["respond-async, WAIT = \"7\"; x=1"]), Some(7));
        assert_eq!(of(&["wait=x", "wait=2,wait=9"]), Some(2));
        assert_eq!(of(&["wait=999999999999999999999999"]), Some(60));
        assert_eq!(of(&["wait=0"]), Some(0));
        for none in [&[][..], &["wait"], &["wait="], &["wait=-1"], &["wait=1.5"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
