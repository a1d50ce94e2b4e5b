//! A real S3 server, where `PARE_TEST_S3` names one: `scripts/test-s3` starts it. Each test has a bucket of its own.

use std::sync::Once;

use pare::store::{Store, StoreConfig};
use uuid::Uuid;

/// Names the server: `http://127.0.0.1:5000`. It must take any credentials.
const VARIABLE: &str = "PARE_TEST_S3";

static SAID: Once = Once::new();

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct S3 {
    /// `http://127.0.0.1:5000`
    pub(crate) endpoint: String,
}

impl S3 {
    /// `None`, said aloud once, where there is none.
    pub(crate) fn find() -> Option<Self> {
        let endpoint = std::env::var_os(VARIABLE).and_then(|url| url.into_string().ok());
        let endpoint = endpoint.map(|url| url.trim_end_matches('/').to_owned());
        if endpoint.is_none() {
            SAID.call_once(|| println!("skipped: {VARIABLE} names no S3 server (scripts/test-s3 starts one)"));
        }
        endpoint.map(|endpoint| Self { endpoint })
    }

    /// `127.0.0.1:5000`
    pub(crate) fn address(&self) -> &str {
        self.endpoint.strip_prefix("http://").expect("http://ADDRESS")
    }

    /// A new bucket's name.
    pub(crate) async fn bucket(&self) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = format!("pare-{}", Uuid::now_v7());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let made = client.put(format!("{}/{name}", self.endpoint)).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        name
    }

    /// The standard variables, for a client of `endpoint`: the server itself, or what stands between.
    pub(crate) fn variables(endpoint: &str) -> Vec<(String, String)> {
        let all = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// A store in a bucket of its own.
    pub(crate) async fn store(&self, prefix: &str) -> Store {
        let url = format!("s3://{}/{prefix}", self.bucket().await);
        Self::store_at(&url, &self.endpoint).await
    }

    pub(crate) async fn store_at(url: &str, endpoint: &str) -> Store {
        Store::open(&StoreConfig::parse(url, Self::variables(endpoint)).unwrap()).await.unwrap()
    }
}
