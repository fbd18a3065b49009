//! The host as the engine sees it: performs actions, answers conditions.

use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::Utf8Path;
use installer_engine::{EffectError, ErrorKind, Logins, Probe, World, certificate, secret};
use installer_pki::Pair;
use installer_plan::{Action, Condition, HostAction, Receipt, ServiceManager};

use installer_render::{Layout, SecretName};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::effects::Effects;
use crate::files::read_digest;
use crate::log::read_log;
use crate::observe::{read_certificates, read_receipt, read_user};
use crate::services::{RunningService, read_services, read_supervisor, read_supervisor_status};

/// This many starts in a row, and waiting longer does not help.
const RESTARTS_MAX: u64 = 4;

/// One host, bound to one site.
#[derive(Debug)]
pub struct HostWorld {
    site: String,
    layout: Layout,
    manager: ServiceManager,
    logins: Logins,
    own: Option<Pair>,
    effects: Effects,
    interrupted: Arc<AtomicBool>,
    /// Starts that each service had when it was last told to start.
    restarts: std::collections::BTreeMap<String, u64>,
}

impl HostWorld {
    pub fn new(
        site: &str,
        data: &Utf8Path,
        manager: ServiceManager,
        logins: Logins,
        effects: Effects,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            site: site.to_owned(),
            layout: Layout::new(data),
            manager,
            logins,
            own: None,
            effects,
            interrupted,
            restarts: std::collections::BTreeMap::new(),
        }
    }

    /// With the owner's certificate and key, where the profile names them.
    #[must_use]
    pub fn with_certificate(self, own: Option<Pair>) -> Self {
        Self { own, ..self }
    }

    /// Primitives performed so far.
    pub fn effects(&self) -> u64 {
        self.effects.count()
    }

    fn owner(owner: Option<&String>) -> Result<Option<u32>, EffectError> {
        let Some(name) = owner else { return Ok(None) };
        match read_user(name) {
            Some(uid) => Ok(Some(uid)),
            None => {
                let operation = format!("cannot find user `{name}`");
                Err(EffectError::new(ErrorKind::Environment, operation))
            }
        }
    }

    fn perform_now(&mut self, action: &HostAction) -> Result<(), EffectError> {
        match action {
            HostAction::CreateUser { name } => self.create_user(name),
            HostAction::RemoveUser { name } => self.effects.run("userdel", &[name]),
            HostAction::MakeDirectory { path, mode, owner } => {
                self.effects
                    .make_directory(path, *mode, Self::owner(owner.as_ref())?)
            }
            HostAction::InstallProgram {
                from, to, digest, ..
            } => self.install_program(from, to, digest),
            HostAction::MakeSecret {
                name,
                path,
                origin,
                login,
                carried,
                owner,
            } => {
                let owner = Self::owner(owner.as_ref())?;
                if path.exists() {
                    return Ok(());
                }
                let value = match carried {
                    Some(from) => self.effects.read(from)?,
                    None => secret::make(name, *origin, login.as_deref(), &self.logins, None)?,
                };
                self.effects
                    .write_file(path, 0o600, owner, value.as_bytes())
            }
            HostAction::Own { path, owner } => match Self::owner(owner.as_ref())? {
                Some(owner) => self.effects.own(path, owner),
                None => Ok(()),
            },
            HostAction::WriteFile {
                path,
                mode,
                contents,
                owner,
            } => {
                let owner = Self::owner(owner.as_ref())?;
                self.effects
                    .write_file(path, *mode, owner, contents.as_bytes())
            }
            HostAction::MakeAuthority { folder, trust } => {
                let pair = certificate::make_authority(&self.site)?;
                let path = trust.join("ca.crt");
                let kept = fs::read_to_string(&path).ok();
                let bundle = certificate::trust(&pair, kept.as_deref())?;
                // Trusted before anything is issued by it, and the old one for as long as it lives.
                self.effects
                    .write_file(&path, 0o444, None, bundle.as_bytes())?;
                let (certificate, key) = certificate::authority_paths(folder);
                self.write_pair(&certificate, &key, &pair, None)
            }
            HostAction::IssueCertificate {
                service,
                names,
                authority,
                certificate,
                key,
                owner,
            } => {
                let texts = read_certificates(&self.layout).map_err(|error| {
                    let operation = "cannot read the site's certificates";
                    EffectError::new(ErrorKind::Environment, operation).because(error)
                })?;
                let authority = certificate::authority(&texts, authority)?;
                let pair = certificate::issue(&authority, service, names)?;
                self.write_pair(certificate, key, &pair, owner.as_ref())
            }
            HostAction::InstallCertificate {
                fingerprint,
                certificate,
                key,
                owner,
            } => {
                let pair = certificate::planned(self.own.as_ref(), fingerprint)?;
                self.write_pair(certificate, key, &pair, owner.as_ref())
            }
            HostAction::RemoveFile { path } => self.effects.remove_file(path),
            HostAction::RemoveDirectory { path, recursive } => {
                self.effects.remove_directory(path, *recursive)
            }
            HostAction::ReloadServices => self.effects.run("systemctl", &["daemon-reload"]),
            HostAction::StartSupervisor { program } => self.start_supervisor(program),
            HostAction::StopSupervisor => match read_supervisor(&self.layout) {
                Some(pid) => self.effects.signal(pid, Signal::TERM),
                None => Ok(()),
            },
            HostAction::EnableService { unit } => {
                self.effects.run("systemctl", &["--quiet", "enable", unit])
            }
            HostAction::DisableService { unit } => {
                self.effects.run("systemctl", &["--quiet", "disable", unit])
            }
            HostAction::StartService { name, unit } => self.start_service(name, unit),
            HostAction::StopService { unit, .. } => match self.manager {
                ServiceManager::Systemd => self.effects.run("systemctl", &["stop", unit]),
                ServiceManager::Supervisor => self.wake_supervisor(),
            },
        }
    }

    fn write_pair(
        &mut self,
        certificate: &Utf8Path,
        key: &Utf8Path,
        pair: &Pair,
        owner: Option<&String>,
    ) -> Result<(), EffectError> {
        let owner = Self::owner(owner)?;
        let (text, secret) = (&pair.certificate, pair.key.expose());
        self.effects
            .write_file(key, 0o400, owner, secret.as_bytes())?;
        self.effects
            .write_file(certificate, 0o444, owner, text.as_bytes())
    }

    fn create_user(&mut self, name: &str) -> Result<(), EffectError> {
        let home = self.layout.data().to_string();
        let arguments = [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            &home,
            "--shell",
            "/usr/sbin/nologin",
            "--comment",
            "stakeout site",
            name,
        ];
        self.effects.run("useradd", &arguments)
    }

    fn install_program(
        &mut self,
        from: &Utf8Path,
        to: &Utf8Path,
        digest: &str,
    ) -> Result<(), EffectError> {
        self.effects.copy_program(from, to)?;
        let found = read_digest(to).map_err(|error| {
            EffectError::new(ErrorKind::Environment, format!("cannot read `{to}`")).because(error)
        })?;
        if found == digest {
            return Ok(());
        }
        let operation = format!("`{from}` changed while it was being installed");
        Err(EffectError::new(ErrorKind::Conflict, operation))
    }

    /// Create-only: a value that is there stays.
    fn start_supervisor(&mut self, program: &Utf8Path) -> Result<(), EffectError> {
        if read_supervisor(&self.layout).is_some() {
            return Ok(());
        }
        let log = self.layout.logs().join("supervisor.log");
        let data = self.layout.data().to_string();
        self.effects
            .start_detached(program, &["supervise", "--data-dir", &data], &log)
    }

    fn start_service(&mut self, name: &str, unit: &str) -> Result<(), EffectError> {
        let restarts = self.running(name).map_or(0, |service| service.restarts);
        self.restarts.insert(name.to_owned(), restarts);
        match self.manager {
            ServiceManager::Systemd => {
                self.effects.run("systemctl", &["daemon-reload"])?;
                // A unit that failed too often is let to start again.
                self.effects
                    .run("systemctl", &["reset-failed", unit])
                    .or_else(|error| {
                        tracing::debug!("{error}");
                        Ok(())
                    })?;
                self.effects
                    .run("systemctl", &["--no-block", "restart", unit])
            }
            ServiceManager::Supervisor => self.wake_supervisor(),
        }
    }

    fn wake_supervisor(&mut self) -> Result<(), EffectError> {
        match read_supervisor(&self.layout) {
            Some(pid) => self.effects.signal(pid, Signal::HUP),
            None => Ok(()),
        }
    }

    fn running(&self, service: &str) -> Option<RunningService> {
        read_services(self.manager, &self.site, &self.layout).remove(service)
    }

    /// The process that is wanted runs.
    fn started(&self, service: &str, digest: &str) -> Probe {
        let Some(running) = self.running(service) else {
            return Probe::Waiting("it has not started".to_owned());
        };
        let before = self.restarts.get(service).copied().unwrap_or(0);
        if running.restarts >= before + RESTARTS_MAX {
            let hint = self.last_words(service);
            return Probe::Failed(format!("it ends again and again{hint}"));
        }
        match running.fact.digest {
            Some(found) if found == digest => Probe::Met,
            Some(_) => Probe::Waiting("the old process is stopping".to_owned()),
            None => Probe::Waiting(format!("it is {}", running.state)),
        }
    }

    /// What a service last said, for the one who has to find out why it fails.
    fn last_words(&self, service: &str) -> String {
        let said = read_log(self.manager, &self.site, &self.layout, service, 5);
        match said.iter().rfind(|line| !line.starts_with("stakeout: ")) {
            Some(line) => format!("; it last said: {line}"),
            None => String::new(),
        }
    }
}

/// A secret of a site, without its last line break.
pub fn read_secret(layout: &Layout, purpose: &str) -> Result<String, EffectError> {
    let folder = layout.secrets();
    let newest = crate::files::read_folder(&folder)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(path, _)| SecretName::parse(path.file_name()?))
        .filter(|name| name.purpose == purpose)
        .max_by_key(|name| name.version);
    let failed = || format!("cannot read secret `{purpose}` in `{folder}`");
    let Some(name) = newest else {
        return Err(EffectError::new(ErrorKind::Environment, failed()));
    };
    match fs::read_to_string(layout.secret(&name)) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(EffectError::new(ErrorKind::Environment, failed()).because(error)),
    }
}

impl World for HostWorld {
    async fn read_receipt(&self) -> Result<Option<Receipt>, EffectError> {
        read_receipt(&self.layout.receipt()).map_err(|error| {
            EffectError::new(ErrorKind::Environment, "cannot read the receipt").because(error)
        })
    }

    async fn write_receipt(&mut self, receipt: &Receipt) -> Result<(), EffectError> {
        self.effects.make_directories(self.layout.data())?;
        let mut text =
            serde_json::to_vec_pretty(receipt).expect("invariant: plain data serialises");
        text.push(b'\n');
        self.effects
            .write_file(&self.layout.receipt(), 0o600, None, &text)
    }

    async fn erase_receipt(&mut self) -> Result<(), EffectError> {
        self.effects.remove_file(&self.layout.receipt())?;
        self.effects.remove_directory(self.layout.data(), false)?;
        // The folder of all sites goes with the last of them.
        match self.layout.data().parent() {
            Some(parent) if parent.file_name() == Some("stakeout") => {
                self.effects.remove_directory(parent, false)
            }
            _ => Ok(()),
        }
    }

    fn perform(&mut self, action: &Action) -> impl Future<Output = Result<(), EffectError>> {
        std::future::ready(match action {
            Action::Host(action) => self.perform_now(action),
            Action::Docker(_) | Action::Kubernetes(_) => Err(EffectError::foreign("a host")),
        })
    }

    async fn probe(&self, condition: &Condition) -> Probe {
        match condition {
            Condition::Healthy {
                service,
                port,
                digest,
                ..
            } => match self.started(service, digest) {
                Probe::Met => read_health(*port).await,
                other => other,
            },
            Condition::Listening {
                service,
                port,
                digest,
                ..
            } => match self.started(service, digest) {
                Probe::Met => match connect(*port).await {
                    Some(_) => Probe::Met,
                    None => Probe::Waiting(format!("nothing answers at port {port}")),
                },
                other => other,
            },
            Condition::Stopped { service, .. } => match self.running(service) {
                Some(running) if running.fact.running => {
                    Probe::Waiting(format!("it is {}", running.state))
                }
                _ => Probe::Met,
            },
            Condition::SupervisorAnswers { .. } => match read_supervisor_status(&self.layout) {
                Some(_) => Probe::Met,
                None => Probe::Waiting("it has not read its services".to_owned()),
            },
            Condition::Container { .. }
            | Condition::Released { .. }
            | Condition::Addon { .. }
            | Condition::RolledOut { .. }
            | Condition::Gone { .. }
            | Condition::Recording { .. }
            | Condition::All { .. } => Probe::Failed("a host has no containers".to_owned()),
            Condition::SupervisorGone { .. } => match read_supervisor(&self.layout) {
                Some(pid) => Probe::Waiting(format!("process {pid} is stopping")),
                None => Probe::Met,
            },
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

async fn connect(port: u16) -> Option<TcpStream> {
    let connecting = TcpStream::connect(("127.0.0.1", port));
    tokio::time::timeout(Duration::from_secs(2), connecting)
        .await
        .ok()?
        .ok()
}

/// Asks `/healthz` by hand: a request of four lines needs no client.
async fn read_health(port: u16) -> Probe {
    let ask = async {
        let mut stream = connect(port).await?;
        let request =
            format!("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(64 << 10).read_to_end(&mut answer).await.ok()?;
        String::from_utf8_lossy(&answer)
            .lines()
            .next()
            .map(str::to_owned)
    };
    match tokio::time::timeout(Duration::from_secs(5), ask).await {
        Ok(Some(line)) if line.starts_with("HTTP/1.1 200") => Probe::Met,
        Ok(Some(line)) => Probe::Waiting(format!("/healthz answers `{line}`")),
        Ok(None) => Probe::Waiting(format!("nothing answers at port {port}")),
        Err(_) => Probe::Waiting("/healthz gives no answer".to_owned()),
    }
}
