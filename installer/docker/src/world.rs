//! The engine as the installer's engine sees it: performs actions, answers conditions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_api::{FileRequest, Present};
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    EndpointSettings, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectNetworkOptions, LogsOptions, RenameContainerOptions,
    StopContainerOptions,
};
use camino::{Utf8Path, Utf8PathBuf};
use futures::StreamExt;
use futures::future::join_all;
use installer_engine::{
    EffectError, ErrorKind, Logins, Primitives, Probe, World, certificate, secret,
};
use installer_pki::Pair;
use installer_plan::docker::{
    ContainerSpec, DockerAction, FILES, ImageSource, NetworkSpec, label, object_name,
};
use installer_plan::{Action, Condition, Receipt};
use installer_render::Layout;
use installer_render::docker::{Component, Reach};

use crate::connect::Connection;
use crate::container::body;
use crate::control::{Control, read_control};
use crate::error::{effect, fine, status};
use crate::files::{self, FileSession};
use crate::image;
use crate::swap::Swap;

/// This many ends in a row, and waiting longer does not help.
const RESTARTS_MAX: i64 = 4;

/// More requests that make something would only wait for each other in the engine.
const AT_ONCE: usize = 8;

/// Lines of a failing container's log that are worth showing.
const LAST_WORDS: usize = 3;

/// What a run needs to know of its site.
#[derive(Debug, Clone)]
pub struct SiteOnEngine {
    pub site: String,
    pub data: Utf8PathBuf,
    pub installation: String,
    pub agent_image: AgentImage,
    /// The owner's certificate and key.
    pub own: Option<Pair>,
}

/// The agent's image, through which files are reached.
#[derive(Debug, Clone, Default)]
pub struct AgentImage {
    /// What the engine runs: an ID where that is known.
    pub name: String,
    /// What it is asked for by.
    pub reference: String,
    pub source: Option<ImageSource>,
}

/// One engine, bound to one site.
#[derive(Debug)]
pub struct DockerWorld {
    connection: Connection,
    place: SiteOnEngine,
    layout: Layout,
    logins: Logins,
    primitives: Primitives,
    interrupted: Arc<AtomicBool>,
    files: Option<FileSession>,
    /// Interruptions of services that were replaced, by name.
    gaps: Vec<(String, Duration)>,
}

impl DockerWorld {
    pub fn new(
        connection: Connection,
        place: SiteOnEngine,
        logins: Logins,
        primitives: Primitives,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            connection,
            place,
            layout: Layout::with_control(""),
            logins,
            primitives,
            interrupted,
            files: None,
            gaps: Vec::new(),
        }
    }

    /// Primitives performed so far.
    pub fn effects(&self) -> u64 {
        self.primitives.count()
    }

    /// How long each replaced service was away.
    pub fn gaps(&self) -> &[(String, Duration)] {
        &self.gaps
    }

    /// Lets go of the engine's side of the run.
    pub async fn end(mut self) {
        if let Some(session) = self.files.take() {
            session.end().await;
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Another primitive is done.
    pub(crate) fn count(&mut self) {
        self.primitives.done();
    }

    pub(crate) fn note_gap(&mut self, service: &str, gap: Duration) {
        self.gaps.push((service.to_owned(), gap));
    }

    fn files_name(&self) -> String {
        object_name(&self.place.site, FILES)
    }

    /// Asks for a change of a file, opening the way there first if need be.
    async fn file(&mut self, request: FileRequest) -> Result<(), EffectError> {
        if self.files.is_none() {
            let name = self.files_name();
            let agent = &self.place.agent_image;
            if let Some(source) = &agent.source {
                let found = self.connection.docker.inspect_image(&agent.name).await;
                if found.is_err() {
                    let reference = &agent.reference;
                    image::fetch(&self.connection, Component::Agent, reference, source).await?;
                    self.primitives.done();
                }
            }
            files::create(
                &self.connection,
                &self.place.site,
                &self.place.installation,
                &agent.name,
                &self.place.data,
                &name,
            )
            .await?;
            self.primitives.done();
            self.files = Some(FileSession::start(&self.connection, &name).await?);
            self.primitives.done();
        }
        let session = self.files.as_mut().expect("invariant: opened above");
        session.ask(&request).await?;
        self.primitives.done();
        Ok(())
    }

    async fn perform_now(&mut self, action: &DockerAction) -> Result<(), EffectError> {
        match action {
            DockerAction::FetchImage {
                component,
                reference,
                from,
            } => {
                image::fetch(&self.connection, *component, reference, from).await?;
                self.primitives.done();
                Ok(())
            }
            DockerAction::MakeDirectory { path, mode, owner } => {
                self.file(FileRequest::MakeDirectory {
                    path: path.to_string(),
                    mode: *mode,
                    owner: *owner,
                })
                .await
            }
            DockerAction::MakeSecret {
                name,
                path,
                origin,
                login,
                carried,
                base,
                owner,
            } => {
                if let Some(from) = carried {
                    let copy = FileRequest::Copy {
                        from: from.to_string(),
                        to: path.to_string(),
                        mode: 0o400,
                        owner: *owner,
                    };
                    return self.file(copy).await;
                }
                let base = match base {
                    Some(base) => self.control().await?.texts.remove(base),
                    None => None,
                };
                let login = login.as_deref();
                let contents = secret::make(name, *origin, login, &self.logins, base.as_deref())?;
                self.write(path, 0o400, *owner, contents, Present::Keep)
                    .await
            }
            DockerAction::WriteFile {
                path,
                mode,
                contents,
                owner,
            } => {
                self.write(path, *mode, *owner, contents.clone(), Present::Replace)
                    .await
            }
            DockerAction::MakeAuthority {
                folder,
                trust,
                owner,
            } => {
                let pair = certificate::make_authority(&self.place.site)?;
                let path = trust.join("ca.crt");
                let kept = self.control().await?.texts.remove(&path);
                let bundle = certificate::trust(&pair, kept.as_deref())?;
                // Trusted before anything is issued by it, and the old one for as long as it lives.
                self.write(&path, 0o444, *owner, bundle, Present::Replace)
                    .await?;
                let paths = certificate::authority_paths(folder);
                self.write_pair((&paths.0, &paths.1), &pair, 0).await
            }
            DockerAction::IssueCertificate {
                service,
                certificate,
                key,
                names,
                authority,
                folder,
                owner,
            } => {
                let control = self.control().await?;
                let authority = certificate::authority(&control.texts, authority)?;
                let pair = certificate::issue(&authority, service, names)?;
                let paths = (folder.join(certificate), folder.join(key));
                self.write_pair((&paths.0, &paths.1), &pair, *owner).await
            }
            DockerAction::InstallCertificate {
                fingerprint,
                certificate,
                key,
                folder,
                owner,
            } => {
                let pair = certificate::planned(self.place.own.as_ref(), fingerprint)?;
                let paths = (folder.join(certificate), folder.join(key));
                self.write_pair((&paths.0, &paths.1), &pair, *owner).await
            }
            DockerAction::RemoveFile { path } => {
                self.file(FileRequest::Remove {
                    path: path.to_string(),
                })
                .await
            }
            DockerAction::RemoveDirectory { path, recursive } => {
                self.file(FileRequest::RemoveDirectory {
                    path: path.to_string(),
                    recursive: *recursive,
                })
                .await
            }
            DockerAction::Own { path, owner } => {
                self.file(FileRequest::Own {
                    path: path.to_string(),
                    owner: *owner,
                })
                .await
            }
            other => self.perform_at_engine(other).await,
        }
    }

    async fn write(
        &mut self,
        path: &Utf8Path,
        mode: u32,
        owner: u32,
        contents: String,
        present: Present,
    ) -> Result<(), EffectError> {
        self.file(FileRequest::Write {
            path: path.to_string(),
            mode,
            owner,
            contents,
            present,
        })
        .await
    }

    pub(crate) async fn control(&self) -> Result<Control, EffectError> {
        read_control(&self.connection, &self.files_name())
            .await
            .map_err(|error| {
                let operation = "cannot read the site's control folder";
                EffectError::new(ErrorKind::Environment, operation).because(error)
            })
    }

    async fn write_pair(
        &mut self,
        (certificate, key): (&Utf8Path, &Utf8Path),
        pair: &Pair,
        owner: u32,
    ) -> Result<(), EffectError> {
        let secret = pair.key.expose().to_owned();
        self.write(key, 0o400, owner, secret, Present::Replace)
            .await?;
        self.write(
            certificate,
            0o444,
            owner,
            pair.certificate.clone(),
            Present::Replace,
        )
        .await
    }

    async fn perform_at_engine(&mut self, action: &DockerAction) -> Result<(), EffectError> {
        match action {
            DockerAction::CreateNetwork(spec) => {
                self.create_network(spec).await?;
            }
            DockerAction::RemoveNetwork { name } => self.remove_network(name).await?,
            DockerAction::Connect {
                container,
                network,
                alias,
            } => {
                let request = NetworkConnectRequest {
                    container: container.clone(),
                    endpoint_config: Some(EndpointSettings {
                        aliases: Some(vec![alias.clone()]),
                        ..EndpointSettings::default()
                    }),
                };
                let joined = self
                    .connection
                    .docker
                    .connect_network(network, request)
                    .await;
                // 403: it is in there already.
                fine(joined, &[403])
                    .map_err(|error| effect(format!("join `{container}` to `{network}`"), error))?;
            }
            DockerAction::CreateContainer(spec) => self.create(spec).await?,
            DockerAction::StartContainer { name } => self.start(name).await?,
            DockerAction::RestartContainer { name } => {
                self.stop(name).await?;
                self.start(name).await?;
            }
            DockerAction::SwapContainers {
                service,
                from,
                to,
                digest,
                deadline_seconds,
                records,
                continuous,
            } => {
                let swap = Swap {
                    service,
                    from,
                    to,
                    digest,
                    records: *records,
                    continuous,
                    deadline: Duration::from_secs(*deadline_seconds),
                };
                self.swap(&swap).await?;
            }
            DockerAction::RemoveContainer { name } => {
                if *name == self.files_name() {
                    // It ends by itself when nobody asks any more.
                    if let Some(session) = self.files.take() {
                        session.end().await;
                    }
                } else {
                    self.stop(name).await?;
                }
                files::remove(&self.connection, name).await?;
            }
            DockerAction::RenameContainer { from, to } => {
                let options = RenameContainerOptions { name: to.clone() };
                let renamed = self.connection.docker.rename_container(from, options).await;
                fine(renamed, &[404])
                    .map_err(|error| effect(format!("rename `{from}` to `{to}`"), error))?;
            }
            DockerAction::FetchImage { .. }
            | DockerAction::MakeDirectory { .. }
            | DockerAction::MakeSecret { .. }
            | DockerAction::MakeAuthority { .. }
            | DockerAction::IssueCertificate { .. }
            | DockerAction::InstallCertificate { .. }
            | DockerAction::WriteFile { .. }
            | DockerAction::RemoveFile { .. }
            | DockerAction::RemoveDirectory { .. }
            | DockerAction::Own { .. } => {}
        }
        self.primitives.done();
        Ok(())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EffectError> {
        let request = NetworkCreateRequest {
            name: spec.name.clone(),
            internal: Some(spec.reach == Reach::Internal),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        let docker = &self.connection.docker;
        let failed = |error| effect(format!("make network `{}`", spec.name), error);
        // An engine makes a second one of the same name. One that is there was observed to be ours,
        // or not at all.
        let inspected = docker
            .inspect_network(&spec.name, None::<InspectNetworkOptions>)
            .await;
        match inspected {
            Ok(_) => return Ok(()),
            Err(error) if status(&error) == Some(404) => {}
            Err(error) => return Err(failed(error)),
        }
        let made = docker.create_network(request).await;
        fine(made.map(drop), &[409]).map_err(failed)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), EffectError> {
        let options = CreateContainerOptions {
            name: Some(spec.name.clone()),
            ..CreateContainerOptions::default()
        };
        let made = self
            .connection
            .docker
            .create_container(Some(options), body(spec))
            .await;
        made.map(drop)
            .map_err(|error| effect(format!("make container `{}`", spec.name), error))
    }

    pub(crate) async fn start(&self, name: &str) -> Result<(), EffectError> {
        let docker = &self.connection.docker;
        let state = docker
            .inspect_container(name, None)
            .await
            .map_err(|error| effect(format!("look at container `{name}`"), error))?
            .state;
        if state.and_then(|state| state.paused) == Some(true) {
            return docker
                .unpause_container(name)
                .await
                .map_err(|error| effect(format!("wake container `{name}`"), error));
        }
        // It may run already.
        fine(docker.start_container(name, None).await, &[304])
            .map_err(|error| effect(format!("start container `{name}`"), error))
    }

    /// One that is gone or has stopped is fine. A paused one has to wake up to stop.
    pub(crate) async fn stop(&self, name: &str) -> Result<(), EffectError> {
        let docker = &self.connection.docker;
        let woken = docker.unpause_container(name).await;
        tracing::debug!("{woken:?}");
        let stopped = docker
            .stop_container(name, None::<StopContainerOptions>)
            .await;
        fine(stopped, &[304, 404])
            .map_err(|error| effect(format!("stop container `{name}`"), error))
    }

    async fn remove_network(&self, name: &str) -> Result<(), EffectError> {
        let docker = &self.connection.docker;
        let failed = |error| effect(format!("remove network `{name}`"), error);
        let inspected = docker
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await;
        let network = match inspected {
            Ok(network) => network,
            Err(error) if status(&error) == Some(404) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let members: BTreeMap<_, _> = network.containers.into_iter().flatten().collect();
        for (id, member) in members {
            let ours = member
                .name
                .as_deref()
                .is_some_and(|name| installer_plan::docker::is_of_site(&self.place.site, name));
            if ours {
                let request = NetworkDisconnectRequest {
                    container: id,
                    force: Some(true),
                };
                docker
                    .disconnect_network(name, request)
                    .await
                    .map_err(failed)?;
            }
        }
        fine(docker.remove_network(name).await, &[404]).map_err(failed)
    }

    /// Runs, is the right one, and its own health command is content.
    pub(crate) async fn container_probe(&self, name: &str, digest: &str) -> Probe {
        let docker = &self.connection.docker;
        let found = match docker.inspect_container(name, None).await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => {
                return Probe::Failed("it is gone".to_owned());
            }
            Err(error) => return Probe::Waiting(error.to_string()),
        };
        let config = found.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        if labels.get(label::DIGEST).map(String::as_str) != Some(digest) {
            return Probe::Failed("another container took its name".to_owned());
        }
        let state = found.state.unwrap_or_default();
        if found.restart_count.unwrap_or(0) >= RESTARTS_MAX {
            let said = self.last_words(name).await;
            return Probe::Failed(format!("it ends again and again{said}"));
        }
        if state.running != Some(true) || state.restarting == Some(true) {
            let code = state.exit_code.unwrap_or(0);
            let said = self.last_words(name).await;
            return Probe::Waiting(format!("it does not run (exit code {code}){said}"));
        }
        let test = config
            .healthcheck
            .and_then(|check| check.test)
            .unwrap_or_default();
        match test.split_first() {
            Some((kind, command)) if kind == "CMD" => match self.run(name, command).await {
                Ok((Some(0), _)) => Probe::Met,
                Ok((_, said)) => Probe::Waiting(said),
                Err(error) => Probe::Waiting(error.to_string()),
            },
            _ => Probe::Met,
        }
    }

    /// The worst of many, and whose it is.
    async fn probe_all(&self, all: &[Condition]) -> Probe {
        let probes = all.iter().map(|condition| async move {
            match condition {
                Condition::Container {
                    service,
                    name,
                    digest,
                    ..
                } => match self.container_probe(name, digest).await {
                    Probe::Waiting(reason) => Probe::Waiting(format!("{service}: {reason}")),
                    Probe::Failed(reason) => Probe::Failed(format!("{service}: {reason}")),
                    other => other,
                },
                _ => Probe::Failed("a container engine has no such thing".to_owned()),
            }
        });
        let mut worst = Probe::Met;
        for probe in join_all(probes).await {
            match (&worst, &probe) {
                (_, Probe::Failed(_)) => return probe,
                (Probe::Met, Probe::Waiting(_)) => worst = probe,
                _ => {}
            }
        }
        worst
    }

    /// Runs a command in a container; its exit code and what it said.
    async fn run(
        &self,
        name: &str,
        command: &[String],
    ) -> Result<(Option<i64>, String), bollard::errors::Error> {
        let docker = &self.connection.docker;
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(name, options).await?;
        let mut said = String::new();
        if let StartExecResults::Attached { mut output, .. } =
            docker.start_exec(&exec.id, None).await?
        {
            while let Some(Ok(piece)) = output.next().await {
                said.push_str(&String::from_utf8_lossy(&piece.into_bytes()));
            }
        }
        let code = docker.inspect_exec(&exec.id).await?.exit_code;
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        Ok((
            code,
            last.unwrap_or("it does not say why").trim().to_owned(),
        ))
    }

    /// What a container last said, for the one who has to find out why it fails.
    async fn last_words(&self, name: &str) -> String {
        let lines = read_log(&self.connection, name, LAST_WORDS).await;
        match lines.last() {
            Some(line) => format!("; it last said: {line}"),
            None => String::new(),
        }
    }
}

/// The last lines of a container's log, without secrets.
pub async fn read_log(connection: &Connection, name: &str, count: usize) -> Vec<String> {
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        tail: count.to_string(),
        ..LogsOptions::default()
    };
    let mut logs = std::pin::pin!(connection.docker.logs(name, Some(options)));
    let mut text = String::new();
    while let Some(Ok(piece)) = logs.next().await {
        text.push_str(&String::from_utf8_lossy(&piece.into_bytes()));
    }
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(installer_spec::mask)
        .collect()
}

impl World for DockerWorld {
    async fn read_receipt(&self) -> Result<Option<Receipt>, EffectError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            EffectError::new(ErrorKind::Environment, "cannot read the receipt").because(source)
        };
        let control = self.control().await?;
        match control.texts.get(&self.layout.receipt()) {
            Some(text) => serde_json::from_str(text)
                .map(Some)
                .map_err(|error| failed(error.into())),
            None => Ok(None),
        }
    }

    async fn write_receipt(&mut self, receipt: &Receipt) -> Result<(), EffectError> {
        let mut text =
            serde_json::to_string_pretty(receipt).expect("invariant: plain data serialises");
        text.push('\n');
        self.file(FileRequest::MakeDirectory {
            path: self.layout.control().to_string(),
            mode: 0o711,
            owner: 0,
        })
        .await?;
        let path = self.layout.receipt();
        self.write(&path, 0o600, 0, text, Present::Replace).await
    }

    async fn erase_receipt(&mut self) -> Result<(), EffectError> {
        self.file(FileRequest::RemoveDirectory {
            path: self.layout.control().to_string(),
            recursive: true,
        })
        .await?;
        if let Some(session) = self.files.take() {
            session.end().await;
        }
        files::remove_folder(
            &self.connection,
            &self.place.site,
            &self.place.installation,
            &self.place.agent_image.name,
            &self.place.data,
        )
        .await?;
        self.primitives.done();
        files::remove(&self.connection, &self.files_name()).await?;
        self.primitives.done();
        Ok(())
    }

    async fn perform(&mut self, action: &Action) -> Result<(), EffectError> {
        match action {
            Action::Docker(action) => self.perform_now(action).await,
            Action::Host(_) | Action::Kubernetes(_) => {
                Err(EffectError::foreign("a container engine"))
            }
        }
    }

    async fn ahead(&mut self, next: &[&Action]) -> usize {
        let networks: Vec<_> = next
            .iter()
            .map_while(|action| match action {
                Action::Docker(DockerAction::CreateNetwork(spec)) => Some(spec),
                _ => None,
            })
            .collect();
        let starts: Vec<_> = next
            .iter()
            .map_while(|action| match action {
                Action::Docker(DockerAction::StartContainer { name }) => Some(name),
                _ => None,
            })
            .collect();
        for some in networks.chunks(AT_ONCE) {
            join_all(some.iter().map(|spec| self.create_network(spec))).await;
        }
        for some in starts.chunks(AT_ONCE) {
            join_all(some.iter().map(|name| self.start(name))).await;
        }
        networks.len().max(starts.len())
    }

    async fn probe(&self, condition: &Condition) -> Probe {
        match condition {
            Condition::Container { name, digest, .. } => self.container_probe(name, digest).await,
            Condition::All { of } => self.probe_all(of).await,
            _ => Probe::Failed("a container engine has no such thing".to_owned()),
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
