//! Object stores: which, and what has to be known of one that somebody else runs.

use url::Url;

use super::{Checker, Fields, join};
use crate::keys::Words;
use crate::profile::{Provider, S3, S3Identity};
use crate::tree::Node;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderWord {
    Filesystem,
    Minio,
    S3,
}

const S3_KEYS: [&str; 6] = [
    "endpoint",
    "region",
    "bucket",
    "prefix",
    "credentials",
    "identity",
];

/// Who may ask without keys.
const IDENTITIES: Words<()> = Words {
    known: &[("platform", ())],
    later: &[],
};

/// What stores that know no regions answer to.
const USUAL_REGION: &str = "us-east-1";

/// Of an object's key, S3 takes 1024 bytes in all.
const MOST_PREFIX: usize = 256;

impl Checker<'_> {
    pub(super) fn provider(
        &mut self,
        fields: &Fields<'_>,
        word: Option<ProviderWord>,
    ) -> Option<Provider> {
        match word? {
            ProviderWord::S3 => self.s3(fields).map(|s3| Provider::S3(Box::new(s3))),
            word => {
                let misplaced = S3_KEYS.into_iter().filter(|key| fields.get(key).is_some());
                for key in misplaced {
                    self.error(
                        fields.key_place(key),
                        &join("storage", key),
                        format!("`{key}` is for `provider: s3`"),
                        "write `provider: s3`, or take it out",
                    );
                }
                Some(match word {
                    ProviderWord::Minio => Provider::Minio,
                    _ => Provider::Filesystem,
                })
            }
        }
    }

    fn s3(&mut self, fields: &Fields<'_>) -> Option<S3> {
        let at = fields.key_place("provider");
        let endpoint = fields.get("endpoint").map(|node| self.endpoint(node));
        let region = fields.get("region").map(|node| self.region(node));
        let bucket = fields.get("bucket").map(|node| self.bucket(node));
        let prefix = fields.get("prefix").map(|node| self.prefix(node));
        let identity = self.identity(fields);
        if !fields.has("bucket") {
            let help = "name the bucket, for example `bucket: footage`";
            self.missing(at, "storage", "bucket", help);
        }
        if !fields.has("region") && !fields.has("endpoint") {
            let help = "write `region: NAME` for Amazon S3, or the store's `endpoint`";
            self.missing(at, "storage", "region", help);
        }
        Some(S3 {
            endpoint: endpoint.map_or(Some(None), |e| e.map(Some))?,
            region: region.unwrap_or_else(|| Some(USUAL_REGION.to_owned()))?,
            bucket: bucket??,
            prefix: prefix.map_or(Some(None), |p| p.map(Some))?,
            identity: identity?,
        })
    }

    fn identity(&mut self, fields: &Fields<'_>) -> Option<S3Identity> {
        const PATH: &str = "storage.identity";
        let credentials = fields
            .get("credentials")
            .map(|node| self.credentials(node, "storage.credentials"));
        let platform = fields
            .get("identity")
            .map(|node| self.word(node, PATH, IDENTITIES));
        match (credentials, platform) {
            (Some(_), Some(_)) => {
                let message = "a bucket is asked with keys or as the platform's identity, not both";
                let help = "take `credentials` or `identity` out";
                self.error(fields.key_place("identity"), PATH, message, help);
                None
            }
            (Some(credentials), None) => credentials.map(S3Identity::Keys),
            (None, Some(word)) => word.map(|()| S3Identity::Platform),
            (None, None) => {
                let help = "write `credentials: { file: PATH }`: the access key in the first line, \
                            the secret key in the second; or `identity: platform` where the \
                            platform says who the vault is, as EKS does";
                self.missing(fields.key_place("provider"), "storage", "credentials", help);
                None
            }
        }
    }

    fn endpoint(&mut self, node: &Node) -> Option<Url> {
        const PATH: &str = "storage.endpoint";
        const HELP: &str = "write `https://HOST` or `https://HOST:PORT`";
        let text = self.text(node, PATH)?;
        let (message, help) = match Url::parse(text) {
            Err(_) => ("this is not a URL", HELP),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                ("an object store answers at an http or https URL", HELP)
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => (
                "the endpoint must not hold a user or password",
                "take `user:password@` out and give the login by `credentials`",
            ),
            Ok(url) if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => (
                "the endpoint holds more than a host",
                "write `https://HOST`; the bucket stands in `bucket`, folders in `prefix`",
            ),
            Ok(url) => {
                if url.scheme() == "http" {
                    self.warn(
                        node.at,
                        PATH,
                        "footage travels to the object store without encryption",
                        "write `https://HOST` if the store speaks TLS",
                    );
                }
                return Some(url);
            }
        };
        self.error(node.at, PATH, message, help);
        None
    }

    fn region(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "storage.region")?;
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.is_empty() && text.len() <= 64 && text.chars().all(fine) {
            return Some(text.to_owned());
        }
        let message = format!("{} is not a region's name", super::shown(node, text));
        let help = "use a-z, 0-9 and dashes, for example eu-central-1";
        self.error(node.at, "storage.region", message, help);
        None
    }

    /// Amazon's rules for new buckets; other stores have the same or wider ones.
    fn bucket(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "storage.bucket")?;
        let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fine = text.chars().all(|c| end(c) || matches!(c, '-' | '.'));
        let ends = text.starts_with(end) && text.ends_with(end);
        if (3..=63).contains(&text.len()) && fine && ends && !text.contains("..") {
            return Some(text.to_owned());
        }
        let message = format!("{} is not a bucket's name", super::shown(node, text));
        let help = "use 3 to 63 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
        self.error(node.at, "storage.bucket", message, help);
        None
    }

    fn prefix(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "storage.prefix")?;
        let part = |part: &str| !part.is_empty() && part != "." && part != "..";
        let fine = text.split('/').all(part) && !text.chars().any(char::is_control);
        if fine && text.len() <= MOST_PREFIX {
            return Some(text.to_owned());
        }
        let help = "write folders with single slashes between them: sites/north";
        self.error(node.at, "storage.prefix", "this is not a prefix", help);
        None
    }
}
