//! What every provider has to do, asked of each: a folder, and a bucket of a real S3 server.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod conformance;
mod identity;
mod s3;

use std::sync::LazyLock;

use vault_storage::{S3Identity, S3Settings};
use vault_testkit::Minio;

/// One server for all tests; each has a bucket of its own.
static SHARED: LazyLock<Minio> = LazyLock::new(Minio::start);

fn settings(minio: &Minio, bucket: &str, prefix: Option<&str>) -> S3Settings {
    // Another test may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    S3Settings {
        endpoint: Some(minio.part.url.parse().unwrap()),
        region: "us-east-1".to_owned(),
        bucket: bucket.to_owned(),
        prefix: prefix.map(str::to_owned),
        identity: S3Identity::Keys {
            access_key: Minio::USER.to_owned(),
            secret_key: Minio::PASSWORD.to_owned(),
        },
        roots: None,
        path_style: true,
    }
}
