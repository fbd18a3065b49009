//! A bucket of Amazon's asked without keys, as moto plays it with rights that count.

use bytes::Bytes;
use futures::stream;
use reqwest::Client;
use vault_storage::{
    Platform, Provider, RemoteError, S3Identity, S3Provider, S3Settings, StorageError,
};
use vault_testkit::{Files, Part};

use crate::conformance::conforms;

const BUCKET: &str = "footage";
const ROLE: &str = "vault";

/// What the vault calls, and nothing else.
const ON_BUCKET: [&str; 2] = ["s3:ListBucket", "s3:ListBucketMultipartUploads"];
const ON_OBJECTS: [&str; 4] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
];

/// An account with one bucket, and a role that may do what it has to below `sites/one`.
struct Account {
    part: Part,
    files: Files,
    token: String,
}

impl Account {
    async fn start() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let part = Part::start("moto", &[]);
        let files = Files::default();
        let token = files.write("token", "a token that moto does not look at");
        let account = Self { part, files, token };
        account.send("s3", "PUT", BUCKET, String::new()).await;
        account
            .iam("CreateRole", "AssumeRolePolicyDocument", "{}")
            .await;
        let arn = format!("arn:aws:s3:::{BUCKET}");
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": ON_BUCKET, "Resource": arn },
            { "Effect": "Allow", "Action": ON_OBJECTS, "Resource": format!("{arn}/sites/one/*") },
        ] });
        account
            .iam(
                "PutRolePolicy&PolicyName=p",
                "PolicyDocument",
                &policy.to_string(),
            )
            .await;
        let enforce = format!("{}/moto-api/reset-auth", account.part.url);
        let enforced = Client::new().post(enforce).body("0").send().await.unwrap();
        assert!(enforced.status().is_success());
        account
    }

    /// As whoever owns the account; what it is signed with is not looked at yet.
    async fn send(&self, service: &str, method: &str, path: &str, body: String) {
        let scope = format!("nobody/20260101/us-east-1/{service}/aws4_request");
        let answer = Client::new()
            .request(method.parse().unwrap(), format!("{}/{path}", self.part.url))
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status} {text}");
    }

    async fn iam(&self, action: &str, name: &str, document: &str) {
        let words = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("RoleName", ROLE)
            .append_pair("Version", "2010-05-08")
            .append_pair(name, document)
            .finish();
        self.send("iam", "POST", "", format!("Action={action}&{words}"))
            .await;
    }

    fn settings(&self, prefix: &str) -> S3Settings {
        let url = self.part.url.parse::<url::Url>().unwrap();
        S3Settings {
            endpoint: Some(url.clone()),
            region: "us-east-1".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: Some(prefix.to_owned()),
            identity: S3Identity::Platform(Platform::WebIdentity {
                role: format!("arn:aws:iam::123456789012:role/{ROLE}"),
                token_file: self.token.clone().into(),
                sts: Some(url),
            }),
            roots: None,
            path_style: true,
        }
    }
}

/// Why an upload fails.
async fn refused(settings: &S3Settings) -> RemoteError {
    let provider = Provider::from(S3Provider::new(settings).unwrap());
    let film = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"film"))]);
    match provider.put("a/x.mp4", film, None).await {
        Err(StorageError::Remote { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_role_that_the_platform_lends_is_enough_and_ends_at_its_prefix() {
    let account = Account::start().await;
    let settings = account.settings("sites/one");
    let provider = S3Provider::new(&settings).unwrap();
    provider.prepare(false).await.unwrap();
    conforms(provider.into()).await;

    let elsewhere = refused(&account.settings("sites/two")).await;
    assert!(
        matches!(elsewhere, RemoteError::Denied { .. }),
        "{elsewhere:?}"
    );
    std::fs::remove_file(account.files.path("token")).unwrap();
    let nobody = refused(&settings).await;
    assert!(matches!(nobody, RemoteError::Identity(_)), "{nobody:?}");
}
