//! Where the blobs lie, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::path::Path as Key;
use object_store::{ObjectStore, RetryConfig};

use super::error::{Error, Result};

/// Where the blobs lie.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In a folder of this machine, or one that all machines mount.
    Local(PathBuf),
    /// In an S3 bucket, or anything that speaks its language.
    S3 {
        /// `s3://bucket/prefix`.
        url: String,
        /// The standard settings by name: `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ….
        settings: Vec<(String, String)>,
    },
}

impl StoreConfig {
    /// Reads `s3://bucket/prefix` or `file:///folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Address`].
    pub fn parse(url: &str, settings: Vec<(String, String)>) -> Result<Self> {
        if let Some(path) = url.strip_prefix("file://") {
            if path.starts_with('/') {
                return Ok(Self::Local(path.into()));
            }
            return Err(address(url, "give an absolute path: file:///var/lib/pare"));
        }
        bucket_and_prefix(url)?;
        Ok(Self::S3 { url: url.to_owned(), settings })
    }
}

/// Settings may hold secrets: only their names are shown.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(root) => f.debug_tuple("Local").field(root).finish(),
            Self::S3 { url, settings } => {
                let names: Vec<_> = settings.iter().map(|(name, _)| name).collect();
                f.debug_struct("S3").field("url", url).field("settings", &names).finish()
            }
        }
    }
}

/// A client for the bucket, and the prefix in it.
pub(super) fn s3(url: &str, settings: &[(String, String)]) -> Result<(Arc<dyn ObjectStore>, Key)> {
    let (bucket, prefix) = bucket_and_prefix(url)?;
    // The store checks every part against this before it acknowledges it.
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_checksum_algorithm(Checksum::SHA256);
    // Whoever waits is told within half a minute; jobs try again on their own.
    builder = builder.with_retry(RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(30),
        ..RetryConfig::default()
    });
    for (name, value) in settings {
        // Names that mean nothing to the client (AWS_PROFILE, AWS_EXECUTION_ENV, …) are other programs'.
        if let Ok(key) = AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
            builder = builder.with_config(key, value);
        }
    }
    let store = builder.build().map_err(|error| address(url, &error.to_string()))?;
    Ok((Arc::new(store), prefix))
}

fn bucket_and_prefix(url: &str) -> Result<(&str, Key)> {
    let rest = url.strip_prefix("s3://").ok_or_else(|| address(url, "s3://bucket/prefix and file:///folder are"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(address(url, "it names no bucket: s3://bucket/prefix"));
    }
    let prefix = Key::parse(prefix.trim_end_matches('/')).map_err(|error| address(url, &error.to_string()))?;
    Ok((bucket, prefix))
}

fn address(given: &str, why: &str) -> Error {
    Error::Address { given: given.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_nonsense_is_refused() {
        let s3 = |url: &str| StoreConfig::S3 { url: url.into(), settings: vec![] };
        assert_eq!(StoreConfig::parse("s3://b/p/q/", vec![]).unwrap(), s3("s3://b/p/q/"));
        assert_eq!(bucket_and_prefix("s3://b/p/q/").unwrap(), ("b", Key::from("p/q")));
        assert_eq!(bucket_and_prefix("s3://b").unwrap(), ("b", Key::from("")));
        assert_eq!(StoreConfig::parse("file:///a/b", vec![]).unwrap(), StoreConfig::Local("/a/b".into()));
        for url in ["", "s3://", "s3:///p", "gs://b", "file://a", "/a/b", "s3://b/../c"] {
            assert!(StoreConfig::parse(url, vec![]).is_err(), "{url}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "canary".to_owned())];
        let shown = format!("{:?}", StoreConfig::parse("s3://b", settings).unwrap());
        assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("canary"), "{shown}");
    }
}
