//! API keys as texts: `pare_<id>_<secret>`.
//!
//! The id is the key's own, 32 hex digits; the secret is 256 random bits. Only the text's SHA-256 is kept: a slow hash
//! would add nothing to a secret that nobody can guess, and give strangers a way to keep us busy.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::id::KeyId;

/// What every key begins with, so that scanners for secrets find one that leaked.
const PREFIX: &str = "pare_";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;
/// The same in base64url without padding.
const SECRET_CHARS: usize = 43;

/// A key as it is shown once and sent with every request. Never logged: its `Debug` names the id alone.
#[derive(Clone)]
pub struct Secret {
    id: KeyId,
    text: String,
}

/// Why there is no new key: the system gave no random bits.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

impl Secret {
    /// A new key for `id`.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn new(id: KeyId) -> Result<Self, NoRandomness> {
        let mut random = [0; SECRET_BYTES];
        getrandom::fill(&mut random).map_err(|_| NoRandomness)?;
        Ok(Self { id, text: format!("{PREFIX}{}_{}", id.0.simple(), URL_SAFE_NO_PAD.encode(random)) })
    }

    /// Reads a key. `None` for what can't be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.len() != 32 || secret.len() != SECRET_CHARS || !secret.bytes().all(is_secret) {
            return None;
        }
        let id = Uuid::try_parse(id).ok()?;
        Some(Self { id: KeyId(id), text: text.to_owned() })
    }

    /// Whose it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The whole text. For the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// Whether it is the key of which `sha256` is kept, in a time that says nothing about how much of it is right.
    pub fn is_kept_as(&self, sha256: &[u8]) -> bool {
        self.sha256().as_slice().ct_eq(sha256).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made_and_fits_its_hash_alone() {
        let (one, other) = (Secret::new(KeyId::new()).unwrap(), Secret::new(KeyId::new()).unwrap());
        let read = Secret::parse(one.reveal()).unwrap();
        assert_eq!((read.id(), read.reveal()), (one.id(), one.reveal()));
        assert_eq!(one.reveal().len(), 5 + 32 + 1 + 43);
        assert!(read.is_kept_as(&one.sha256()));
        assert!(!read.is_kept_as(&other.sha256()) && !read.is_kept_as(&[]));
    }

    #[test]
    fn what_is_no_key_is_none() {
        let good = Secret::new(KeyId::new()).unwrap();
        let text = good.reveal();
        for bad in ["", "pare_", "pare__", &text[..text.len() - 1], &format!("{text}x"), &text.replace("pare_", "csk_")]
        {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
        let hyphenated = text.replacen(&good.id().0.simple().to_string(), &good.id().0.to_string(), 1);
        assert!(Secret::parse(&hyphenated).is_none(), "one text a key");
    }

    #[test]
    fn its_debug_output_does_not_tell_it() {
        let secret = Secret::new(KeyId::new()).unwrap();
        let shown = format!("{secret:?}");
        assert!(!shown.contains(&secret.reveal()[38..]), "{shown}");
    }
}
