//! Changing the site's data directory through a container: the agent's image runs `files` there,
//! with the directory and nothing else of the machine.

use std::collections::HashMap;
use std::pin::Pin;

use agent_api::{FileAnswer, FileRequest};
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use camino::Utf8Path;
use futures::{Stream, StreamExt};
use installer_engine::{EffectError, ErrorKind};
use installer_plan::docker::{FILES, labels, object_name};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::connect::Connection;
use crate::error::{effect, fine, status};

/// The data directory inside that container.
pub(crate) const MOUNT: &str = "/site";

/// A running conversation; ends when it is dropped, since its standard input ends then.
pub(crate) struct FileSession {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    received: Vec<u8>,
    said: String,
}

impl std::fmt::Debug for FileSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSession").finish_non_exhaustive()
    }
}

/// The container as the engine is told about it. It is root among files of other users, so it may
/// change owners, and nothing else: it has no network and no other capability.
fn body(site: &str, installation: &str, image: &str, folder: &Utf8Path) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["files".to_owned(), MOUNT.to_owned()]),
        user: Some("0:0".to_owned()),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        // The first process of a container ignores SIGTERM, and an engine that ends would wait ten
        // seconds for it. Each request is whole by itself, so there is nothing to finish.
        stop_signal: Some("SIGKILL".to_owned()),
        labels: Some(labels(site, installation, FILES).into_iter().collect()),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{folder}:{MOUNT}")]),
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(
                ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            memory: Some(64 << 20),
            pids_limit: Some(16),
            log_config: Some(HostConfigLogConfig {
                // Answers hold nothing secret; they are just of no use later.
                typ: Some("none".to_owned()),
                config: Some(HashMap::new()),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Makes the container; it does not run yet.
pub(crate) async fn create(
    connection: &Connection,
    site: &str,
    installation: &str,
    image: &str,
    folder: &Utf8Path,
    name: &str,
) -> Result<(), EffectError> {
    let options = CreateContainerOptions {
        name: Some(name.to_owned()),
        ..CreateContainerOptions::default()
    };
    let made = connection
        .docker
        .create_container(Some(options), body(site, installation, image, folder))
        .await;
    match made {
        Ok(_) => Ok(()),
        Err(error) if status(&error) == Some(409) => Ok(()),
        Err(error) => Err(effect(format!("make container `{name}`"), error)),
    }
}

impl FileSession {
    /// Starts the container and talks to it. Only one run can: a second finds it running.
    pub(crate) async fn start(connection: &Connection, name: &str) -> Result<Self, EffectError> {
        let docker = &connection.docker;
        let running = docker
            .inspect_container(name, None)
            .await
            .map_err(|error| effect(format!("look at container `{name}`"), error))?
            .state
            .and_then(|state| state.running);
        if running == Some(true) {
            let operation = format!("another run is changing this site (`{name}` runs)");
            return Err(EffectError::new(ErrorKind::Conflict, operation));
        }
        let options = AttachContainerOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            stream: true,
            ..AttachContainerOptions::default()
        };
        let AttachContainerResults { output, input } = docker
            .attach_container(name, Some(options))
            .await
            .map_err(|error| effect(format!("attach to container `{name}`"), error))?;
        docker
            .start_container(name, None::<StartContainerOptions>)
            .await
            .map_err(|error| effect(format!("start container `{name}`"), error))?;
        Ok(Self {
            input,
            output,
            received: Vec::new(),
            said: String::new(),
        })
    }

    pub(crate) async fn ask(&mut self, request: &FileRequest) -> Result<FileAnswer, EffectError> {
        let operation = format!("cannot ask for {request:?} at the engine's machine");
        let lost = |said: &str| {
            let reason = if said.is_empty() {
                "the connection ended".to_owned()
            } else {
                said.to_owned()
            };
            EffectError::new(ErrorKind::Transient, operation.clone()).because(reason)
        };
        let mut line = serde_json::to_vec(request).expect("invariant: plain data serialises");
        line.push(b'\n');
        let written = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        if written.await.is_err() {
            return Err(lost(&self.said));
        }
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let answer = serde_json::from_slice(&line).map_err(|_| lost("no answer"))?;
                return match answer {
                    FileAnswer::Failed(reason) => {
                        Err(EffectError::new(ErrorKind::Environment, reason))
                    }
                    answer => Ok(answer),
                };
            }
            match self.output.next().await {
                Some(Ok(LogOutput::StdErr { message })) => {
                    String::from_utf8_lossy(&message)
                        .trim()
                        .clone_into(&mut self.said);
                }
                Some(Ok(output)) => self.received.extend_from_slice(&output.into_bytes()),
                Some(Err(_)) | None => return Err(lost(&self.said)),
            }
        }
    }

    /// Ends the conversation and waits until the container has stopped.
    pub(crate) async fn end(mut self) {
        let closed = self.input.shutdown().await;
        tracing::debug!("{closed:?}");
        while let Some(Ok(_)) = self.output.next().await {}
    }
}

/// Takes the data directory itself away when it is empty: that cannot be done from inside of it.
pub(crate) async fn remove_folder(
    connection: &Connection,
    site: &str,
    installation: &str,
    image: &str,
    folder: &Utf8Path,
) -> Result<(), EffectError> {
    let (Some(parent), Some(last)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    let name = object_name(site, "folder");
    create(connection, site, installation, image, parent, &name).await?;
    let mut session = FileSession::start(connection, &name).await?;
    let asked = session
        .ask(&FileRequest::RemoveDirectory {
            path: last.to_owned(),
            recursive: false,
        })
        .await;
    session.end().await;
    remove(connection, &name).await?;
    asked.map(|_| ())
}

pub(crate) async fn remove(connection: &Connection, name: &str) -> Result<(), EffectError> {
    let options = RemoveContainerOptions {
        force: true,
        // Of images that declare volumes which a container of ours does not use.
        v: true,
        ..RemoveContainerOptions::default()
    };
    let removed = connection
        .docker
        .remove_container(name, Some(options))
        .await;
    fine(removed, &[404]).map_err(|error| effect(format!("remove container `{name}`"), error))
}
