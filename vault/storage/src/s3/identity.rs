//! Who asks: keys that somebody wrote down, or what the platform says that this process is.

use camino::Utf8PathBuf;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use url::Url;

/// Names the session in the logs of whoever lends the identity.
const SESSION: &str = "stakeout-vault";

#[derive(Clone)]
pub enum S3Identity {
    Keys {
        access_key: String,
        secret_key: String,
    },
    Platform(Platform),
}

impl std::fmt::Debug for S3Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys { .. } => f.write_str("Keys"),
            Self::Platform(platform) => platform.fmt(f),
        }
    }
}

/// How a platform lends its identity. Nothing of it is secret: tokens stay in the files that the
/// platform renews, keys made of them stay in memory until shortly before they run out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// A token that STS exchanges for keys of a role: IAM roles for service accounts.
    WebIdentity {
        role: String,
        token_file: Utf8PathBuf,
        /// Amazon's own for the region if absent.
        sts: Option<Url>,
    },
    /// An agent beside the container: EKS Pod Identity.
    Agent { url: Url, token_file: Utf8PathBuf },
    /// The agent of ECS, by its path.
    Task { path: String },
    /// The metadata service of an EC2 instance.
    Instance,
}

/// A variable of the platform says something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {name} is not a URL")]
pub struct PlatformError {
    name: &'static str,
    source: url::ParseError,
}

impl Platform {
    /// Reads what Amazon's platforms put into a process' environment ("AWS SDKs and Tools Reference
    /// Guide", credential providers), in the order in which its own programs look.
    pub fn of_environment(
        value: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, PlatformError> {
        let url = |name| {
            let parsed = value(name).map(|text| text.parse::<Url>());
            parsed
                .transpose()
                .map_err(|source| PlatformError { name, source })
        };
        if let (Some(role), Some(token_file)) =
            (value("AWS_ROLE_ARN"), value("AWS_WEB_IDENTITY_TOKEN_FILE"))
        {
            return Ok(Self::WebIdentity {
                role,
                token_file: token_file.into(),
                sts: url("AWS_ENDPOINT_URL_STS")?,
            });
        }
        if let Some(path) = value("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return Ok(Self::Task { path });
        }
        if let (Some(url), Some(token_file)) = (
            url("AWS_CONTAINER_CREDENTIALS_FULL_URI")?,
            value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        ) {
            return Ok(Self::Agent {
                url,
                token_file: token_file.into(),
            });
        }
        Ok(Self::Instance)
    }
}

impl S3Identity {
    pub(super) fn give_to(&self, builder: AmazonS3Builder) -> AmazonS3Builder {
        use AmazonS3ConfigKey as Key;
        let platform = match self {
            Self::Keys {
                access_key,
                secret_key,
            } => {
                return builder
                    .with_access_key_id(access_key)
                    .with_secret_access_key(secret_key);
            }
            Self::Platform(platform) => platform,
        };
        match platform {
            Platform::WebIdentity {
                role,
                token_file,
                sts,
            } => {
                let builder = builder
                    .with_config(Key::RoleArn, role)
                    .with_config(Key::WebIdentityTokenFile, token_file.as_str())
                    .with_config(Key::RoleSessionName, SESSION);
                match sts {
                    Some(sts) => builder.with_config(Key::StsEndpoint, sts.as_str()),
                    None => builder,
                }
            }
            Platform::Agent { url, token_file } => builder
                .with_config(Key::ContainerCredentialsFullUri, url.as_str())
                .with_config(Key::ContainerAuthorizationTokenFile, token_file.as_str()),
            Platform::Task { path } => {
                builder.with_config(Key::ContainerCredentialsRelativeUri, path)
            }
            // What is left when nothing is said.
            Platform::Instance => builder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(variables: &[(&str, &str)]) -> Result<Platform, PlatformError> {
        Platform::of_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_platform_is_known_by_what_it_sets() {
        let token = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token");
        let role = ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
        let agent = (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        );
        let authorization = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/var/run/agent");
        let web = Platform::WebIdentity {
            role: "arn:aws:iam::1:role/r".to_owned(),
            token_file: "/var/run/token".into(),
            sts: None,
        };
        assert_eq!(platform(&[token, role, agent, authorization]).unwrap(), web);
        assert_eq!(
            platform(&[token, agent, authorization]).unwrap(),
            Platform::Agent {
                url: "http://169.254.170.23/v1/credentials".parse().unwrap(),
                token_file: "/var/run/agent".into(),
            }
        );
        let task = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x");
        let path = "/v2/x".to_owned();
        assert_eq!(platform(&[task]).unwrap(), Platform::Task { path });
        assert_eq!(platform(&[role]).unwrap(), Platform::Instance);
    }

    #[test]
    fn a_variable_that_is_no_url_is_named() {
        let wrong = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "agent");
        let error = platform(&[wrong]).unwrap_err().to_string();
        assert!(
            error.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            "{error}"
        );
    }
}
