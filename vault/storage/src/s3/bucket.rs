//! The bucket itself: whether it answers, making it, and uploads that nobody will finish.
//!
//! These requests are ours because `object_store` knows objects only, and keeps to itself what a
//! server said when it refused.

use std::time::Duration;

use http::{Method, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::Client;
use url::Url;

use super::S3Settings;

/// An answer that says whether the bucket is well; whoever asks waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The region for which S3 wants no mention when a bucket is made.
const FIRST_REGION: &str = "us-east-1";

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot reach {endpoint}")]
    Unreachable {
        endpoint: String,
        source: reqwest::Error,
    },
    #[error("bucket `{bucket}` is missing")]
    NoBucket { bucket: String },
    #[error("the access key or the secret key of bucket `{bucket}` is wrong ({code})")]
    Keys { bucket: String, code: String },
    #[error("the platform does not lend its identity")]
    Identity(#[source] object_store::Error),
    #[error("who asks bucket `{bucket}` is not allowed to ({code})")]
    Denied { bucket: String, code: String },
    #[error("the server has no room left")]
    Full,
    #[error("the server answered {status} ({code})")]
    Answer { status: u16, code: String },
    #[error("it is no object of bucket `{bucket}`")]
    Elsewhere { bucket: String },
    #[error("the server keeps {found} bytes of {sent}")]
    Short { sent: u64, found: u64 },
    #[error("the request failed")]
    Request(#[source] object_store::Error),
    #[error("the object has a name that S3 does not take")]
    Name(#[source] object_store::path::Error),
}

/// An upload in parts that was begun and not ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) key: String,
    pub(super) id: String,
    /// By the server's own clock; absent where it does not say.
    pub(super) age: Option<Duration>,
}

/// What a server said when it agreed.
struct Answer {
    text: String,
    /// When, by its clock.
    at: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Bucket {
    client: Client,
    url: Url,
    name: String,
    region: String,
    credentials: AwsCredentialProvider,
}

impl Bucket {
    pub(super) fn new(
        settings: &S3Settings,
        client: Client,
        credentials: AwsCredentialProvider,
    ) -> Self {
        Self {
            client,
            url: settings.bucket_url(),
            name: settings.bucket.clone(),
            region: settings.region.clone(),
            credentials,
        }
    }

    /// Fails when objects below `prefix` cannot be listed.
    pub(super) async fn probe(&self, prefix: &str) -> Result<(), RemoteError> {
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)];
        self.ask(Method::GET, &query, String::new()).await.map(drop)
    }

    /// Makes the bucket; one that is ours already is fine.
    pub(super) async fn create(&self) -> Result<(), RemoteError> {
        let body = if self.region == FIRST_REGION {
            String::new()
        } else {
            let region = &self.region;
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
        };
        match self.ask(Method::PUT, &[], body).await {
            Err(RemoteError::Answer { code, .. }) if code == "BucketAlreadyOwnedByYou" => Ok(()),
            made => made.map(drop),
        }
    }

    /// Uploads in parts below `prefix` that were begun and not ended, as far as one answer lists
    /// them.
    pub(super) async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, RemoteError> {
        // MinIO takes a prefix for the whole name of an object here.
        let query = [("uploads", "")];
        let answer = self.ask(Method::GET, &query, String::new()).await?;
        let mut found = parse_unfinished(&answer.text, answer.at);
        found.retain(|upload| upload.key.starts_with(prefix));
        Ok(found)
    }

    async fn ask(
        &self,
        method: Method,
        query: &[(&str, &str)],
        body: String,
    ) -> Result<Answer, RemoteError> {
        let mut url = self.url.clone();
        // With a path of its own, `HOST/BUCKET/` and `HOST/BUCKET` are signed differently.
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url
            .as_str()
            .parse()
            .expect("invariant: a URL is an address for HTTP");
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(RemoteError::Identity)?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(RemoteError::Request)?;
        let unreachable = |source: reqwest::Error| RemoteError::Unreachable {
            endpoint: self.url.origin().ascii_serialization(),
            source: source.without_url(),
        };
        let sent = self
            .client
            .request(method, url)
            .headers(request.headers().clone())
            .body(body)
            .timeout(PATIENCE)
            .send();
        let answer = sent.await.map_err(unreachable)?;
        let status = answer.status();
        let date = answer.headers().get(header::DATE);
        let date = date.and_then(|date| rfc2822::parse(date.to_str().ok()?).ok());
        let text = answer.text().await.map_err(unreachable)?;
        if status.is_success() {
            let at = date.map(|date| date.timestamp());
            return Ok(Answer { text, at });
        }
        let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
        Err(self.named(status.as_u16(), code))
    }

    /// Gives an answer of S3 its name (Amazon S3 API Reference, "Error Responses").
    pub(super) fn named(&self, status: u16, code: &str) -> RemoteError {
        let (bucket, code) = (self.name.clone(), code.to_owned());
        match code.as_str() {
            "NoSuchBucket" => RemoteError::NoBucket { bucket },
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" => RemoteError::Keys { bucket, code },
            _ if status == 401 || status == 403 => RemoteError::Denied { bucket, code },
            _ => RemoteError::Answer { status, code },
        }
    }
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}

/// Keys of ours need no escaping in XML; what does is not ours.
fn parse_unfinished(text: &str, now: Option<Timestamp>) -> Vec<Unfinished> {
    let uploads = text.split("<Upload>").skip(1);
    let found = uploads.filter_map(|upload| {
        let key = between(upload, "<Key>", "</Key>").filter(|key| !key.contains('&'))?;
        let id = between(upload, "<UploadId>", "</UploadId>")?;
        let begun = between(upload, "<Initiated>", "</Initiated>");
        let begun = begun.and_then(|begun| begun.parse::<Timestamp>().ok());
        let age = now.zip(begun).map(|(now, begun)| now.duration_since(begun));
        Some(Unfinished {
            key: key.to_owned(),
            id: id.to_owned(),
            age: age.and_then(|age| Duration::try_from(age).ok()),
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_unfinished_uploads_is_read() {
        let text = "<ListMultipartUploadsResult><Bucket>b</Bucket><KeyMarker></KeyMarker>\
            <Upload><Key>p/a/1.mp4</Key><UploadId>one</UploadId>\
            <Initiated>2026-11-22T05:00:00.000Z</Initiated></Upload>\
            <Upload><UploadId>two</UploadId><Key>p/a&amp;b.mp4</Key></Upload>\
            <Upload><UploadId>three</UploadId><Key>p/a/3.mp4</Key></Upload></ListMultipartUploadsResult>";
        let now = rfc2822::parse("Sun, 22 Nov 2026 06:00:00 GMT").unwrap();
        let found = parse_unfinished(text, Some(now.timestamp()));
        let upload = |key: &str, id: &str, age| Unfinished {
            key: key.to_owned(),
            id: id.to_owned(),
            age,
        };
        let hour = Some(Duration::from_hours(1));
        let wanted = [
            upload("p/a/1.mp4", "one", hour),
            upload("p/a/3.mp4", "three", None),
        ];
        assert_eq!(found, wanted);
        assert_eq!(parse_unfinished(text, None)[0].age, None);
    }
}
