//! Our HTTP client for `object_store`, which leaves one thing unsaid that S3 can be told: an upload in
//! parts replaces nothing either.

use std::future::Future;
use std::pin::Pin;

use http::{HeaderValue, Method, header};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use reqwest::Client;

#[derive(Debug)]
pub(super) struct Requests(pub(super) Client);

impl HttpConnector for Requests {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Self(self.0.clone())))
    }
}

impl HttpService for Requests {
    // As `async_trait` writes it.
    fn call<'a, 'b>(
        &'a self,
        mut request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        if is_completion(&request) {
            // Unsigned, as `object_store` itself sends it where it knows of it.
            let nothing_there = HeaderValue::from_static("*");
            request
                .headers_mut()
                .insert(header::IF_NONE_MATCH, nothing_there);
        }
        self.0.call(request)
    }
}

/// CompleteMultipartUpload (Amazon S3 API Reference): of two vaults that store the same name at the
/// same time, the second one must not replace what the first has acknowledged.
fn is_completion(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let names_upload = query.split('&').any(|pair| pair.starts_with("uploadId="));
    request.method() == Method::POST && names_upload
}
