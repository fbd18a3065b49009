//! One `POST /storage` to a vault.

use std::io;
use std::path::Path;
use std::time::Duration;

use agent_api::Recording;
use agent_config::UploadConfig;
use camino::Utf8PathBuf;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_util::io::ReaderStream;
use vault_api::{Problem, header};

use crate::client::{ClientError, Clients};

/// A hand-over is a rename; a vault that copies across disks still does 4 GiB in this time.
const HAND_OVER: Duration = Duration::from_mins(2);
/// The slowest link that is waited for, in bytes per second, on top of a fixed minute.
const SLOWEST: u64 = 16 * 1024;
/// The vault's word for "send me the body instead".
const HANDOFF_REFUSED: &str = "handoff_refused";
const CHUNK: usize = 64 * 1024;

/// Why a recording was not taken.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the vault at `{url}` cannot be spoken to")]
    Client { url: String, source: ClientError },
    #[error("cannot read account key `{path}`")]
    Key {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("account key `{path}` is empty or holds characters that a header cannot")]
    KeyShape { path: Utf8PathBuf },
    #[error("recording `{file}` cannot be read")]
    Read { file: String, source: io::Error },
    #[error("recording `{file}` cannot be named in a header")]
    Name { file: String },
    #[error("the vault at `{url}` cannot be reached")]
    Reach { url: String, source: reqwest::Error },
    #[error("the vault at `{url}` answered {status}: {word}: {message}")]
    Status {
        url: String,
        status: StatusCode,
        word: String,
        message: String,
    },
}

/// What a failure says about the next recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is this recording's fault.
    File,
    /// No recording would have been taken: network, keys, vault.
    Everything,
}

impl VaultError {
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Read { .. } | Self::Name { .. } => Refusal::File,
            Self::Status { word, .. } if word == HANDOFF_REFUSED => Refusal::File,
            // Account, directory, provider: the next recording would fare the same.
            Self::Status { word, .. } if word.starts_with("storage_") => Refusal::Everything,
            Self::Status { status, .. } if judges_the_file(*status) => Refusal::File,
            _ => Refusal::Everything,
        }
    }
}

/// Definitive answers about the recording, not about the account, the path or the moment.
fn judges_the_file(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status.as_u16(),
            401 | 402 | 403 | 404 | 405 | 407 | 408 | 421 | 425 | 429
        )
}

#[derive(Debug)]
pub(crate) struct Vault {
    config: UploadConfig,
    clients: Clients,
    /// `{config.url}/storage`.
    url: String,
}

impl Vault {
    /// What is wrong with the trust bundle may be put right while the agent runs, so that is told
    /// by each attempt and not here.
    pub(crate) fn new(config: UploadConfig) -> Self {
        Self {
            url: format!("{}/storage", config.url.as_str().trim_end_matches('/')),
            clients: Clients::new(&config),
            config,
        }
    }

    fn post(&self) -> Result<reqwest::RequestBuilder, VaultError> {
        match self.clients.current() {
            Ok(client) => Ok(client.post(&self.url)),
            Err(source) => Err(VaultError::Client {
                url: self.url.clone(),
                source,
            }),
        }
    }

    /// Returns when the vault holds the recording durably.
    pub(crate) async fn send(&self, recording: &Recording, path: &Path) -> Result<(), VaultError> {
        if self.config.handoff {
            match self.hand_over(recording, path).await {
                Err(VaultError::Status { word, .. }) if word == HANDOFF_REFUSED => {
                    tracing::debug!(recording = %recording.file, "hand-over refused, sending");
                }
                other => return other,
            }
        }
        self.send_body(recording, path).await
    }

    /// Offers the file by its path. A vault that has it already says so.
    pub(crate) async fn hand_over(
        &self,
        recording: &Recording,
        path: &Path,
    ) -> Result<(), VaultError> {
        let mut headers = self.headers(recording)?;
        // Without symbolic links, as the vault compares it with the directories it allows. The
        // file itself may have been taken already, so its directory is resolved.
        let resolved = path.parent().and_then(|d| d.canonicalize().ok());
        let absolute = match (resolved, path.file_name()) {
            (Some(directory), Some(name)) => directory.join(name),
            _ => path.to_owned(),
        };
        let value =
            HeaderValue::from_bytes(absolute.as_os_str().as_encoded_bytes()).map_err(|_| {
                VaultError::Name {
                    file: recording.file.clone(),
                }
            })?;
        headers.insert(header::HANDOFF, value);
        let request = self.post()?.headers(headers).timeout(HAND_OVER);
        self.judge(request.send().await).await
    }

    async fn send_body(&self, recording: &Recording, path: &Path) -> Result<(), VaultError> {
        let mut headers = self.headers(recording)?;
        let unreadable = |source| VaultError::Read {
            file: recording.file.clone(),
            source,
        };
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("video/mp4"),
        );
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, CHUNK));
        let limit = Duration::from_secs(60 + length / SLOWEST);
        let request = self.post()?.headers(headers).body(body).timeout(limit);
        self.judge(request.send().await).await
    }

    fn headers(&self, recording: &Recording) -> Result<HeaderMap, VaultError> {
        let mut headers = HeaderMap::new();
        // Read anew each time: keys can be rotated under a running agent.
        for (name, path) in [
            (header::ACCESS_KEY, &self.config.access_key_file),
            (header::SECRET_KEY, &self.config.secret_key_file),
        ] {
            let key = std::fs::read_to_string(path).map_err(|source| VaultError::Key {
                path: path.clone(),
                source,
            })?;
            let mut value = HeaderValue::from_str(key.trim())
                .ok()
                .filter(|v| !v.is_empty())
                .ok_or_else(|| VaultError::KeyShape { path: path.clone() })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        let duration = recording.duration_ms.to_string();
        let start = recording.start_ms.to_string();
        for (name, text) in [
            (header::FILE_NAME, recording.file.as_str()),
            (header::DEVICE, recording.camera.as_str()),
            (header::CAMERA, recording.camera.as_str()),
            (header::CAPTURE, "IPCamera"),
            (header::DIRECTORY, self.config.directory.as_str()),
            (header::DURATION, duration.as_str()),
            (header::TIMESTAMP, start.as_str()),
        ] {
            let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| VaultError::Name {
                file: recording.file.clone(),
            })?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }

    async fn judge(
        &self,
        answer: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<(), VaultError> {
        let url = self.url.clone();
        let response = match answer {
            Ok(response) => response,
            Err(source) => {
                return Err(VaultError::Reach {
                    url,
                    source: source.without_url(),
                });
            }
        };
        let status = response.status();
        // 200 and nothing else is upstream's rule, and every vault's that its agents work with.
        if status == StatusCode::OK {
            return Ok(());
        }
        let problem = response
            .json::<Problem>()
            .await
            .unwrap_or_else(|_| Problem {
                status: "unknown".to_owned(),
                message: "the body is not a problem report".to_owned(),
            });
        Err(VaultError::Status {
            url,
            status,
            word: problem.status,
            message: problem.message,
        })
    }
}
