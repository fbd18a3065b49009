//! One process that keeps the site's services running where systemd does not.
//!
//! It reads `config/services.json` at start and on SIGHUP, and makes the running processes equal
//! to it; SIGTERM stops them all. What runs is told in `run/status.json`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use installer_render::Layout;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::log::Log;
use crate::services::DIGEST_VARIABLE;

/// A crash is repaired within this time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A service that has run this long is well again.
const WELL_AFTER: Duration = Duration::from_mins(1);
/// The vault finishes its requests within 5 s; twice that, and it hangs.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// `run/status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SupervisorStatus {
    pub(crate) pid: i32,
    pub(crate) services: Vec<ServiceStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceStatus {
    pub(crate) name: String,
    /// `running`, `waiting` before another start, `stopping`.
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    pub(crate) restarts: u64,
    /// How it last ended.
    pub(crate) last_exit: Option<String>,
}

/// One entry of `config/services.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Service {
    name: String,
    command: Vec<String>,
    digest: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    #[error("another supervisor keeps `{data}`")]
    Held { data: Utf8PathBuf },
    #[error("cannot {what} `{path}`")]
    Io {
        what: &'static str,
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("`{path}` does not list services")]
    Services {
        path: Utf8PathBuf,
        source: serde_json::Error,
    },
}

/// Runs until it is told to stop.
pub async fn supervise(data: &Utf8Path) -> Result<(), SuperviseError> {
    let layout = Layout::new(data);
    let failed = |what, path: Utf8PathBuf| move |source| SuperviseError::Io { what, path, source };
    // Leaves the terminal's session; a process that leads one already has none to leave.
    let _leads_already = rustix::process::setsid().is_err();
    let _lock = take_lock(&layout)?;
    let handler = |kind| signal(kind).map_err(failed("handle signals of", data.to_owned()));
    let mut hangup = handler(SignalKind::hangup())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;

    let (told, mut news) = mpsc::unbounded_channel();
    let mut site = Site {
        layout: &layout,
        told,
        keepers: BTreeMap::new(),
        status: BTreeMap::new(),
    };
    site.reconcile(read_services(&layout)?);
    loop {
        site.write_status()
            .map_err(failed("write", layout.supervisor_status()))?;
        tokio::select! {
            _ = hangup.recv() => match read_services(&layout) {
                Ok(wanted) => site.reconcile(wanted),
                Err(error) => tracing::error!("keeps what runs: {error}"),
            },
            Some(change) = news.recv() => {
                site.hear(change);
                while let Ok(change) = news.try_recv() {
                    site.hear(change);
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    site.stop_all().await;
    for path in [layout.supervisor_status(), layout.supervisor_lock()] {
        fs::remove_file(&path).map_err(failed("remove", path))?;
    }
    Ok(())
}

fn take_lock(layout: &Layout) -> Result<File, SuperviseError> {
    let path = layout.supervisor_lock();
    let failed = |source| SuperviseError::Io {
        what: "lock",
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(failed)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(SuperviseError::Held {
            data: layout.data().to_owned(),
        });
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn read_services(layout: &Layout) -> Result<Vec<Service>, SuperviseError> {
    let path = layout.services();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => {
            return Err(SuperviseError::Io {
                what: "read",
                path,
                source,
            });
        }
    };
    serde_json::from_str(&text).map_err(|source| SuperviseError::Services { path, source })
}

/// A service's task, as the supervisor holds it.
struct Keeper {
    digest: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// What takes its place when it has stopped: one name never runs twice at once.
    next: Option<Service>,
}

/// What a service's task tells.
enum News {
    Status(ServiceStatus),
    Ended(String),
}

/// All services of the supervisor.
struct Site<'a> {
    layout: &'a Layout,
    told: mpsc::UnboundedSender<News>,
    keepers: BTreeMap<String, Keeper>,
    status: BTreeMap<String, ServiceStatus>,
}

impl Site<'_> {
    /// Makes what runs equal to what is wanted; stopping goes on in the background.
    fn reconcile(&mut self, wanted: Vec<Service>) {
        let mut wanted: BTreeMap<_, _> = wanted.into_iter().map(|s| (s.name.clone(), s)).collect();
        for (name, keeper) in &mut self.keepers {
            let service = wanted.remove(name);
            let stopping = *keeper.stop.borrow();
            let same = service
                .as_ref()
                .is_some_and(|service| service.digest == keeper.digest);
            if same && !stopping {
                continue;
            }
            keeper.next = service;
            // Its task may just have ended; then the news of it are on their way.
            keeper.stop.send_replace(true);
        }
        for service in wanted.into_values() {
            self.start(service);
        }
    }

    fn start(&mut self, service: Service) {
        let (stop, stopped) = watch::channel(false);
        let (name, digest) = (service.name.clone(), service.digest.clone());
        let log = Log::new(self.layout.logs().join(format!("{name}.log")));
        let task = tokio::spawn(keep(service, log, stopped, self.told.clone()));
        self.keepers.insert(
            name,
            Keeper {
                digest,
                stop,
                task,
                next: None,
            },
        );
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Status(status) => {
                self.status.insert(status.name.clone(), status);
            }
            News::Ended(name) => {
                self.status.remove(&name);
                if let Some(next) = self.keepers.remove(&name).and_then(|keeper| keeper.next) {
                    self.start(next);
                }
            }
        }
    }

    fn write_status(&self) -> io::Result<()> {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let status = SupervisorStatus {
            pid,
            services: self.status.values().cloned().collect(),
        };
        let path = self.layout.supervisor_status();
        let new = path.with_extension("json.new");
        let text = serde_json::to_vec(&status).expect("invariant: plain data serialises");
        fs::write(&new, text)?;
        fs::rename(&new, &path)
    }

    /// Agents first, so that the vault still takes what they finish.
    async fn stop_all(self) {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (name, keeper) in self.keepers {
            if name == "vault" {
                last.push(keeper);
            } else {
                first.push(keeper);
            }
        }
        for group in [first, last] {
            for keeper in &group {
                keeper.stop.send_replace(true);
            }
            for keeper in group {
                if let Err(error) = keeper.task.await {
                    tracing::error!("a service's task did not end well: {error}");
                }
            }
        }
    }
}

/// Keeps one service running until it is told to stop.
async fn keep(
    service: Service,
    log: Log,
    mut stop: watch::Receiver<bool>,
    told: mpsc::UnboundedSender<News>,
) {
    let mut status = ServiceStatus {
        name: service.name.clone(),
        state: "running".to_owned(),
        pid: None,
        restarts: 0,
        last_exit: None,
    };
    // The receiver lives as long as the process.
    let tell = |status: &ServiceStatus| told.send(News::Status(status.clone())).is_ok();
    let mut pause = FIRST_PAUSE;
    while !*stop.borrow() {
        let begun = Instant::now();
        match spawn(&service) {
            Ok(mut child) => {
                status.pid = child.id().and_then(|pid| i32::try_from(pid).ok());
                "running".clone_into(&mut status.state);
                tell(&status);
                let lines = log.follow(&mut child);
                let exit = tokio::select! {
                    exit = child.wait() => Some(exit),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                if let Some(exit) = exit {
                    status.last_exit = Some(describe(exit));
                } else {
                    "stopping".clone_into(&mut status.state);
                    tell(&status);
                    end(&mut child).await;
                }
                for task in lines {
                    // A grandchild may hold the pipe; its lines are not worth waiting for.
                    task.abort();
                }
            }
            Err(error) => status.last_exit = Some(format!("cannot be started: {error}")),
        }
        status.pid = None;
        if *stop.borrow() {
            break;
        }
        if begun.elapsed() >= WELL_AFTER {
            pause = FIRST_PAUSE;
        }
        status.restarts += 1;
        "waiting".clone_into(&mut status.state);
        tell(&status);
        let why = status.last_exit.as_deref().unwrap_or_default();
        log.write(&format!(
            "stakeout: {} ended ({why}), starts again",
            service.name
        ));
        let told_to_stop = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
        if told_to_stop.is_ok() {
            break;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if told.send(News::Ended(service.name.clone())).is_err() {
        tracing::debug!("{} ended after its supervisor", service.name);
    }
}

fn spawn(service: &Service) -> io::Result<Child> {
    let (program, arguments) = service
        .command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no command"))?;
    Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env(DIGEST_VARIABLE, &service.digest)
        .env("STAKEOUT_SUPERVISED", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

async fn end(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid
        && rustix::process::kill_process(pid, Signal::TERM).is_err()
    {
        tracing::debug!("process {pid} had ended already");
    }
    if tokio::time::timeout(STOP_PATIENCE, child.wait())
        .await
        .is_err()
        && let Err(error) = child.kill().await
    {
        tracing::error!("cannot kill a process that does not stop: {error}");
    }
}

fn describe(exit: io::Result<ExitStatus>) -> String {
    exit.map_or_else(|error| error.to_string(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_fails_is_started_again_and_stops_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("s.log")).unwrap();
        let service = Service {
            name: "s".into(),
            command: vec!["/bin/sh".into(), "-c".into(), "echo hello; exit 3".into()],
            digest: "d".into(),
        };
        let (told, mut news) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(keep(service, Log::new(path.clone()), stopped, told));
        let mut status = None;
        while let Some(News::Status(now)) = news.recv().await {
            let again = now.restarts >= 2;
            status = Some(now);
            if again {
                break;
            }
        }
        let status = status.unwrap();
        assert!(status.last_exit.unwrap().contains('3'));
        stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
        assert!(fs::read_to_string(path).unwrap().contains("hello"));
    }
}
