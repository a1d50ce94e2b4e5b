//! Settings that are more than a text or a number.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Why a value can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a size.
    #[error("'{0}' is not a size: 1048576, 512MiB and 2GiB are")]
    Size(String),
    /// Not an address.
    #[error("'{0}' is not an address: 127.0.0.1:8080, [::1]:8080, localhost:8080 and :8080 are")]
    Listen(String),
    /// Not a count.
    #[error("'{0}' is not a count: a whole number from 1 is")]
    Count(String),
}

/// A number of bytes, written as `2GiB`, `512MiB`, `1.5GiB`, `2GB` or plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Longest first, so that `B` does not match the end of `GiB`.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::Size(text.chars().take(40).collect());
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, bytes)| Some((lower.strip_suffix(&name.to_ascii_lowercase())?, *bytes)))
            .unwrap_or((&lower, 1));
        let (whole, fraction) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(refused());
        }
        let whole = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(refused)?;
        let part = format!("0{fraction}").parse::<u128>().map_err(|_| refused())? * u128::from(unit)
            / 10_u128.pow(fraction.len() as u32);
        whole.checked_add(part as u64).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().take(4).find(|(_, bytes)| self.0 >= *bytes);
        match unit {
            Some((name, bytes)) if self.0.is_multiple_of(*bytes) => write!(f, "{}{name}", self.0 / bytes),
            Some((name, bytes)) => write!(f, "{:.2}{name}", self.0 as f64 / *bytes as f64),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Where to listen: an address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Default for Listen {
    fn default() -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080))
    }
}

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let port = text.strip_prefix("localhost").unwrap_or(text).strip_prefix(':').and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| ValueError::Listen(text.chars().take(80).collect()))?;
        Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A whole number from 1.
pub(super) fn positive(text: &str) -> Result<usize, ValueError> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| ValueError::Count(text.chars().take(40).collect()))
}
