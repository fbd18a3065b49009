//! S3 as a provider: `[<prefix>/]<directory>/<file name>` in one bucket.
//!
//! An object gets its name when it is complete: small ones by one PUT that replaces nothing, large
//! ones in parts, each of which the server checks by its SHA-256.

mod bucket;
mod identity;
mod put;
mod requests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig,
};
use reqwest::{Certificate, Client};
use url::Url;

use crate::name::is_file_name;
use crate::object::{Object, Sharing, StorageError};
use bucket::Bucket;
pub use bucket::RemoteError;
pub use identity::{Platform, PlatformError, S3Identity};
use requests::Requests;

const CONNECT: Duration = Duration::from_secs(5);
/// A server that sends nothing for this long is gone.
const QUIET: Duration = Duration::from_secs(20);
/// What a hiccup of the server takes; after that the agent tries again.
const RETRY: Duration = Duration::from_secs(10);
/// An answer that all is well is good for so long: a health check is open to everybody.
const WELL: Duration = Duration::from_secs(3);

/// An upload that takes longer is cut off. At 16 KiB/s, the slowest that an agent puts up with, that
/// is 675 MiB.
const LONGEST: Duration = Duration::from_hours(12);
/// Nobody's, since its vault had time to end it: the last request of an upload takes seconds.
const ORPHAN: Duration = Duration::from_hours(13);

/// Where and how; the bucket may not be there yet.
#[derive(Clone)]
pub struct S3Settings {
    /// Amazon's own for the region if absent.
    pub endpoint: Option<Url>,
    pub region: String,
    pub bucket: String,
    pub prefix: Option<String>,
    pub identity: S3Identity,
    /// PEM of the roots to trust instead of the system's.
    pub roots: Option<Vec<u8>>,
    /// `https://HOST/BUCKET/KEY` instead of `https://BUCKET.HOST/KEY`.
    pub path_style: bool,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint.as_ref().map(Url::as_str))
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl S3Settings {
    fn bucket_url(&self) -> Url {
        let amazon = || format!("https://s3.{}.amazonaws.com", self.region).parse();
        let mut url: Url = self
            .endpoint
            .clone()
            .map_or_else(amazon, Ok)
            .expect("invariant: a region makes a host name");
        let host = url.host_str().unwrap_or_default().to_owned();
        // An address has no names below it.
        let styled = self.path_style || url.domain().is_none();
        if styled
            || url
                .set_host(Some(&format!("{}.{host}", self.bucket)))
                .is_err()
        {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{path}/{}", self.bucket));
        }
        url
    }
}

/// A bucket as object store.
#[derive(Debug)]
pub struct S3Provider {
    store: Arc<AmazonS3>,
    bucket: Arc<Bucket>,
    name: String,
    /// With a `/` at its end, or empty.
    prefix: String,
    /// Keys that are being stored: of two uploads of one name, the second looks at the first.
    taken: Mutex<BTreeSet<String>>,
    freed: tokio::sync::Notify,
    well: Mutex<Option<Instant>>,
}

impl S3Provider {
    /// Asks nobody yet; see [`S3Provider::prepare`].
    pub fn new(settings: &S3Settings) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Remote {
            operation: "set up a client for",
            location: format!("s3://{}", settings.bucket).into(),
            source,
        };
        let client = client(settings).map_err(|source| {
            failed(RemoteError::Unreachable {
                endpoint: settings.bucket_url().to_string(),
                source,
            })
        })?;
        let url = settings.bucket_url();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(3),
                base: 2.,
            },
            max_retries: 6,
            retry_timeout: RETRY,
        };
        let builder = AmazonS3Builder::new()
            .with_region(&settings.region)
            .with_bucket_name(&settings.bucket)
            // Given whole, in either style.
            .with_virtual_hosted_style_request(true)
            .with_endpoint(url.as_str().trim_end_matches('/'))
            .with_allow_http(true)
            .with_checksum_algorithm(Checksum::SHA256)
            // Not every server knows how to delete many at once.
            .with_disable_bulk_delete(true)
            .with_retry(retry)
            .with_http_connector(Requests(client.clone()));
        let store = settings.identity.give_to(builder).build();
        let store = store.map_err(|error| failed(RemoteError::Request(error)))?;
        let prefix = settings.prefix.as_ref().map(|prefix| format!("{prefix}/"));
        Ok(Self {
            bucket: Arc::new(Bucket::new(
                settings,
                client,
                Arc::clone(store.credentials()),
            )),
            store: Arc::new(store),
            name: settings.bucket.clone(),
            prefix: prefix.unwrap_or_default(),
            taken: Mutex::default(),
            freed: tokio::sync::Notify::new(),
            well: Mutex::default(),
        })
    }

    /// Proves that the bucket can be used, and makes it where `create` says so.
    pub async fn prepare(&self, create: bool) -> Result<(), StorageError> {
        match self.bucket.probe(&self.prefix).await {
            Err(RemoteError::NoBucket { .. }) if create => {
                let made = self.bucket.create().await;
                made.map_err(|source| self.failed("make", "", source))?;
                tracing::info!("made bucket `{}`", self.name);
                Ok(())
            }
            probed => probed.map_err(|source| self.failed("use", "", source)),
        }
    }

    /// Gives up uploads in parts that are surely nobody's, and returns how many there were.
    ///
    /// Looked at is what lies below our prefix and is not being stored by this process. Where the
    /// vault is alone, whoever began that is gone. Where others store there too, it is theirs and may
    /// be alive until it is older than [`ORPHAN`]: every vault ends its own uploads before that. The
    /// age is the server's word from begin to end, so that nobody's clock matters. Were one of them
    /// alive all the same, its completion would fail and nothing would be acknowledged.
    pub(crate) async fn give_up(&self, sharing: Sharing) -> Result<usize, StorageError> {
        if self.prefix.is_empty() {
            // Somebody else's uploads may lie beside ours.
            return Ok(0);
        }
        let unfinished = self.bucket.unfinished(&self.prefix).await;
        let unfinished = unfinished.map_err(|source| self.failed("list uploads of", "", source))?;
        let mut given_up = 0;
        for upload in unfinished {
            let old = upload.age.is_some_and(|age| age >= ORPHAN);
            let key = upload.key.strip_prefix(&self.prefix).unwrap_or_default();
            if (sharing == Sharing::Shared && !old) || self.is_taken(key) {
                continue;
            }
            let Ok(path) = Path::parse(&upload.key) else {
                continue;
            };
            match self.store.abort_multipart(&path, &upload.id).await {
                // It ended by itself since it was listed.
                Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    return Err(self.explain("give up the upload of", &path, error).await);
                }
                Ok(()) => given_up += 1,
            }
        }
        Ok(given_up)
    }

    /// Where the object of a key lies.
    pub fn location(&self, key: &str) -> Utf8PathBuf {
        format!("s3://{}/{}{key}", self.name, self.prefix).into()
    }

    /// Name of an object within the bucket.
    fn path(&self, location: &Utf8Path) -> Result<Path, StorageError> {
        let failed = |source| StorageError::Remote {
            operation: "find",
            location: location.to_owned(),
            source,
        };
        let name = location.as_str().strip_prefix("s3://");
        let name = name.and_then(|name| name.strip_prefix(&self.name)?.strip_prefix('/'));
        let name = name.ok_or_else(|| {
            failed(RemoteError::Elsewhere {
                bucket: self.name.clone(),
            })
        })?;
        Path::parse(name).map_err(|error| failed(RemoteError::Name(error)))
    }

    fn failed(&self, operation: &'static str, path: &str, source: RemoteError) -> StorageError {
        StorageError::Remote {
            operation,
            location: format!("s3://{}/{path}", self.name).into(),
            source,
        }
    }

    /// Names the cause of a failure: of the bucket, where that has one.
    async fn explain(&self, operation: &'static str, path: &Path, error: Error) -> StorageError {
        let source = explain(&self.bucket, &self.prefix, error).await;
        self.failed(operation, path.as_ref(), source)
    }

    /// Some bytes of an object.
    pub(crate) fn stream(
        &self,
        location: &Utf8Path,
        start: u64,
        length: u64,
    ) -> BoxStream<'static, Result<Bytes, StorageError>> {
        let path = match self.path(location) {
            Ok(path) => path,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let (store, bucket) = (Arc::clone(&self.store), Arc::clone(&self.bucket));
        let (prefix, location) = (self.prefix.clone(), location.to_owned());
        // Some servers answer a range past every object with the whole of it.
        let range = match start.checked_add(length) {
            Some(end) => GetRange::Bounded(start..end),
            None => GetRange::Offset(start),
        };
        let whole = start == 0 && length == u64::MAX;
        let options = GetOptions {
            range: (!whole).then_some(range),
            ..GetOptions::default()
        };
        let read = stream::once(async move {
            let found = store.get_opts(&path, options).await?;
            Ok::<_, Error>(found.into_stream())
        });
        let read = read.try_flatten().or_else(move |error| {
            let (bucket, prefix) = (Arc::clone(&bucket), prefix.clone());
            let location = location.clone();
            async move {
                let source = explain(&bucket, &prefix, error).await;
                Err(StorageError::Remote {
                    operation: "read",
                    location,
                    source,
                })
            }
        });
        read.boxed()
    }

    pub(crate) async fn size(&self, location: &Utf8Path) -> Result<Option<u64>, StorageError> {
        let path = match self.path(location) {
            Ok(path) => path,
            Err(StorageError::Remote {
                source: RemoteError::Elsewhere { .. },
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.store.head(&path).await {
            Ok(found) => Ok(Some(found.size)),
            Err(error @ Error::NotFound { .. }) => match self.bucket.probe(&self.prefix).await {
                // A missing bucket answers the same, and is no reason to think the object lost.
                Err(source @ RemoteError::NoBucket { .. }) => {
                    Err(self.failed("find", path.as_ref(), source))
                }
                Err(_) => Err(self.failed("find", path.as_ref(), RemoteError::Request(error))),
                Ok(()) => Ok(None),
            },
            Err(error) => Err(self.explain("find", &path, error).await),
        }
    }

    pub(crate) async fn delete(&self, location: &Utf8Path) -> Result<(), StorageError> {
        let path = self.path(location)?;
        match self.store.delete(&path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.explain("remove", &path, error).await),
        }
    }

    pub(crate) async fn probe(&self) -> Result<(), StorageError> {
        let well = || self.well.lock().unwrap_or_else(PoisonError::into_inner);
        if well().is_some_and(|since| since.elapsed() < WELL) {
            return Ok(());
        }
        let probed = self.bucket.probe(&self.prefix).await;
        *well() = probed.is_ok().then(Instant::now);
        probed.map_err(|source| self.failed("use", "", source))
    }

    /// Every object of ours. What lies where we would not have put it is not ours.
    pub(crate) async fn walk(&self, mut found: impl FnMut(Object)) -> Result<(), StorageError> {
        let below = Path::parse(&self.prefix);
        let below = below.map_err(|error| self.failed("list", "", RemoteError::Name(error)))?;
        let mut listed = self.store.list(Some(&below));
        loop {
            let object = match listed.next().await {
                None => return Ok(()),
                Some(Ok(object)) => object,
                Some(Err(error)) => return Err(self.explain("list", &below, error).await),
            };
            let Some(key) = object.location.as_ref().strip_prefix(&self.prefix) else {
                continue;
            };
            let Some((directory, name)) = key.split_once('/') else {
                continue;
            };
            if is_file_name(name) && !directory.starts_with('.') {
                found(Object {
                    key: key.to_owned(),
                    location: self.location(key),
                    bytes: object.size,
                    modified_ms: object.last_modified.timestamp_millis(),
                });
            }
        }
    }
}

async fn explain(bucket: &Bucket, prefix: &str, error: Error) -> RemoteError {
    // `object_store` keeps the answer's code in the text of a source only. Names of MinIO's own.
    let full = [
        "<Code>XMinioStorageFull<",
        "<Code>XMinioAdminBucketQuotaExceeded<",
    ];
    let source = std::error::Error::source(&error).map(ToString::to_string);
    if source.is_some_and(|text| full.iter().any(|code| text.contains(code))) {
        return RemoteError::Full;
    }
    match bucket.probe(prefix).await {
        // It may be listed, and not all else done in it.
        Ok(()) if matches!(error, Error::PermissionDenied { .. }) => {
            bucket.named(403, "AccessDenied")
        }
        Ok(()) => RemoteError::Request(error),
        Err(cause) => cause,
    }
}

fn client(settings: &S3Settings) -> reqwest::Result<Client> {
    let mut client = Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(QUIET)
        .http1_only()
        .no_proxy()
        .user_agent(concat!("stakeout-vault/", env!("CARGO_PKG_VERSION")));
    let plain = settings
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.scheme() == "http");
    match &settings.roots {
        Some(roots) => client = client.tls_certs_only(Certificate::from_pem_bundle(roots)?),
        // A minimal system has no certificates; plain HTTP needs none.
        None if plain => client = client.tls_certs_only([]),
        None => {}
    }
    client.build()
}

#[cfg(test)]
mod tests;
