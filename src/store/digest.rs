//! The name of a blob: SHA-256 of its bytes.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes that are read at once where a whole file is hashed.
const BUFFER_BYTES: usize = 1 << 20;

/// SHA-256 of some bytes.
///
/// Text from outside becomes a path only through this type: it is parsed to 32 bytes and encoded anew, so what
/// is joined to a folder is always 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not a SHA-256 digest: 64 hexadecimal digits are")]
pub struct DigestError {
    /// What was given, cut to 80 characters.
    pub given: String,
}

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self(Sha256::digest(data).into())
    }

    /// Ends a running hash.
    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The digest and length of all that `reader` gives. Blocks.
    ///
    /// # Errors
    ///
    /// The reader's own.
    pub fn of_reader(mut reader: impl io::Read) -> io::Result<(Self, u64)> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut size_bytes = 0_u64;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Self::finish(hasher), size_bytes)),
                Ok(n) => {
                    hasher.update(buffer.get(..n).unwrap_or_default());
                    size_bytes = size_bytes.saturating_add(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where a blob lies below the store's root: `ab/cdef…`, so that no folder grows too large.
    pub fn path(&self) -> String {
        let hex = self.to_string();
        let (folder, rest) = hex.split_at(2);
        format!("{folder}/{rest}")
    }

    /// The inverse of [`Digest::path`]; `None` for anything else that lies there.
    pub(super) fn from_path(folder: &str, rest: &str) -> Option<Self> {
        if folder.len() != 2 || rest.len() != 62 {
            return None;
        }
        let digest: Self = format!("{folder}{rest}").parse().ok()?;
        // Upper-case digits are not ours.
        (digest.path() == format!("{folder}/{rest}")).then_some(digest)
    }

    /// The digest and length of a local file. Blocks.
    ///
    /// # Errors
    ///
    /// When the file can't be read.
    pub fn of_file(path: &Path) -> io::Result<(Self, u64)> {
        Self::of_reader(std::fs::File::open(path)?)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError { given: text.chars().take(80).collect() };
        if text.len() != 64 {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return Err(refused()) };
            *byte = nibble(high).zip(nibble(low)).map(|(high, low)| high << 4 | low).ok_or_else(refused)?;
        }
        Ok(Self(bytes))
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of the empty string, FIPS 180-4.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_round_trips_and_case_is_folded() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        assert_eq!(EMPTY.to_uppercase().parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let dots = "../".repeat(21) + "a";
        let wide = "é".repeat(32);
        for text in ["", "ab", &EMPTY[1..], &format!("{EMPTY}0"), &dots, &wide, &EMPTY.replace('e', "g")] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn paths_round_trip_and_foreign_names_are_ignored() {
        let digest = Digest::of(b"x");
        let path = digest.path();
        let (folder, rest) = path.split_once('/').unwrap();
        assert_eq!(Digest::from_path(folder, rest), Some(digest));
        assert_eq!(Digest::from_path(&folder.to_uppercase(), &rest.to_uppercase()), None);
        assert_eq!(Digest::from_path("..", rest), None);
    }

    #[test]
    fn a_reader_and_its_bytes_have_one_digest() {
        let data = vec![7; BUFFER_BYTES + 3];
        assert_eq!(Digest::of_reader(data.as_slice()).unwrap(), (Digest::of(&data), data.len() as u64));
    }
}
