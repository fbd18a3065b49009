//! The control folder of a site, read through the engine: one request brings all of it.

use std::collections::BTreeMap;
use std::io::Read;

use bollard::query_parameters::DownloadFromContainerOptions;
use camino::Utf8PathBuf;
use futures::StreamExt;
use installer_plan::PathFact;
use sha2::{Digest as _, Sha256};

use crate::connect::Connection;
use crate::error::{DockerError, status};
use crate::files::MOUNT;

/// Configuration, secrets and a receipt of ten thousand cameras are far smaller.
const LARGEST: usize = 256 << 20;

/// Text files and folders by path relative to the data directory.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) paths: BTreeMap<Utf8PathBuf, PathFact>,
    /// Contents, secrets among them: never shown.
    pub(crate) texts: BTreeMap<Utf8PathBuf, String>,
}

/// Reads the folder; empty where there is none, or no container to read it through.
pub(crate) async fn read_control(
    connection: &Connection,
    files: &str,
) -> Result<Control, DockerError> {
    let options = DownloadFromContainerOptions {
        path: format!("{MOUNT}/control"),
    };
    let mut stream = std::pin::pin!(
        connection
            .docker
            .download_from_container(files, Some(options))
    );
    let mut archive = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => archive.extend_from_slice(&piece),
            Err(error) if status(&error) == Some(404) => return Ok(Control::default()),
            Err(source) => return Err(DockerError::engine("read the site's files", source)),
        }
        if archive.len() > LARGEST {
            return Err(unreadable("it is too large"));
        }
    }
    parse(&archive).map_err(unreadable)
}

fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DockerError {
    DockerError::Read {
        what: "the site's control folder".to_owned(),
        source: source.into(),
    }
}

fn parse(archive: &[u8]) -> std::io::Result<Control> {
    let mut control = Control::default();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Ok(path) = Utf8PathBuf::from_path_buf(path) else {
            continue;
        };
        let path: Utf8PathBuf = path.components().collect();
        let mode = entry.header().mode()? & 0o7777;
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            control.paths.insert(path, PathFact::Directory { mode });
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let is_config = path.starts_with("control/config");
            let is_public = is_config || path.extension() == Some("crt");
            let text = String::from_utf8(bytes.clone()).ok();
            let fact = PathFact::File {
                // A secret's digest would be a secret.
                digest: if is_public {
                    hex::encode(Sha256::digest(&bytes))
                } else {
                    String::new()
                },
                mode,
                text: text.clone().filter(|_| is_config),
            };
            control.paths.insert(path.clone(), fact);
            if let Some(text) = text {
                control.texts.insert(path, text);
            }
        }
    }
    Ok(control)
}
