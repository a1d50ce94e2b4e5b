//! Which `Host` and `Origin` a server without keys answers to.
//!
//! A web page can make its visitor's browser send requests to this machine, and by DNS rebinding even read the
//! answers; it can't make the browser send a loopback name in `Host`.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};

/// Who may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostRule {
    /// Bound to loopback: while there is no key, only requests that name a loopback host; then whoever has a key.
    Loopback,
    /// Bound to an address that other machines reach: whoever has a key.
    Any,
}

impl HostRule {
    /// The name in a request that this rule refuses.
    ///
    /// # Errors
    ///
    /// The header and its value.
    pub(super) fn check(self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        if self == Self::Any {
            return Ok(());
        }
        if let Some(authority) = uri.authority().filter(|authority| !is_loopback(authority.as_str())) {
            return Err(format!("the address '{}'", cut(authority.as_str())));
        }
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next().map(|host| host.to_str()), hosts.next()) {
            (Some(Ok(host)), None) if is_loopback(host) => {}
            (Some(Ok(host)), None) => return Err(format!("Host '{}'", cut(host))),
            (None, _) => return Err("a request without Host".to_owned()),
            _ => return Err("this Host".to_owned()),
        }
        for origin in headers.get_all(ORIGIN) {
            let host = origin
                .to_str()
                .ok()
                .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
            if !host.is_some_and(is_loopback) {
                return Err(format!("Origin '{}'", cut(&String::from_utf8_lossy(origin.as_bytes()))));
            }
        }
        Ok(())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// `host` or `host:port` where host is `localhost`, in 127.0.0.0/8, or `[::1]`.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => {
            let is_ours = v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
            return is_ours && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let is_ours = host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|a| a.is_loopback());
    is_ours && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_nothing_that_only_looks_so() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.1.2.3:1", "[::1]", "[::1]:65535"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "[::1",
            "[::2]",
            "::1",
            "128.0.0.1",
            "0.0.0.0",
            "localhost@example.org",
            "127.1",
            "[::1]x",
            "user@localhost",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn host_and_origin_are_both_asked() {
        let check = |pairs: &[(http::HeaderName, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            HostRule::Loopback.check(&Uri::from_static("/v1/jobs"), &headers).is_ok()
        };
        assert!(check(&[(HOST, "localhost:8080")]));
        assert!(check(&[(HOST, "localhost:8080"), (ORIGIN, "http://127.0.0.1:3000")]));
        assert!(!check(&[]));
        assert!(!check(&[(HOST, "localhost"), (ORIGIN, "null")]));
        assert!(!check(&[(HOST, "localhost"), (ORIGIN, "https://example.org")]));
        assert!(!check(&[(HOST, "attacker.example")]));
        let absolute = Uri::from_static("http://attacker.example/v1/jobs");
        assert!(
            HostRule::Loopback.check(&absolute, &[(HOST, "localhost".parse().unwrap())].into_iter().collect()).is_err()
        );
        assert!(HostRule::Any.check(&absolute, &HeaderMap::new()).is_ok());
    }
}
