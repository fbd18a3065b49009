//! A camera and a recorder of ours on this machine, for benches and campaigns.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_config::{AgentConfig, CameraConfig, HttpConfig, RecordPolicy, Retention, When};
use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

use crate::process::{Running, wait_until};
use crate::repository::list;

/// A program that listens does so at once; a loaded machine gets some grace.
const START: Duration = Duration::from_secs(20);

pub(crate) const CAMERA: &str = "camera";

/// `stakeout-agent test-camera`.
#[derive(Debug)]
pub(crate) struct TestCamera {
    pub(crate) process: Running,
    pub(crate) url: String,
}

impl TestCamera {
    /// Serves `source` (a file, or `scene`); its log goes to `folder`.
    pub(crate) fn start(
        program: &Utf8Path,
        source: &str,
        folder: &Utf8Path,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args([
            "test-camera",
            "--source",
            source,
            "--port",
            &port.to_string(),
        ]);
        let mut process = Running::start(quiet(&mut command, &folder.join("camera.log"))?)?;
        wait_until(START, "the test camera listens", || {
            process.ensure_alive()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })?;
        Ok(Self {
            process,
            url: format!("rtsp://127.0.0.1:{port}/main"),
        })
    }
}

/// What one recording process needs, on disk.
#[derive(Debug)]
pub(crate) struct Recorder {
    program: Utf8PathBuf,
    folder: Utf8PathBuf,
    config: Utf8PathBuf,
}

impl Recorder {
    /// Writes a configuration that records `url` always, in files of `longest`.
    pub(crate) fn prepare(
        program: &Utf8Path,
        url: &str,
        folder: &Utf8Path,
        longest: Duration,
    ) -> anyhow::Result<Self> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make `{data}`"))?;
        let token_file = folder.join("token");
        write(&token_file, "a token that nobody uses\n")?;
        let config = AgentConfig {
            version: 1,
            site: "xtask".to_owned(),
            data,
            http: HttpConfig {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
                token_file,
                tls: None,
            },
            cameras: vec![CameraConfig {
                name: CAMERA.to_owned(),
                rtsp: url.parse().with_context(|| format!("`{url}` is no URL"))?,
                sub: None,
                credentials_file: None,
                record: RecordPolicy {
                    when: When::Continuous,
                    pre_ms: 0,
                    post_ms: 0,
                    longest_ms: u64::try_from(longest.as_millis()).context("a short time")?,
                },
            }],
            retention: Retention::default(),
            upload: None,
        };
        let path = folder.join("agent.json");
        let text = serde_json::to_string_pretty(&config).context("cannot print configuration")?;
        write(&path, &text)?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            config: path,
        })
    }

    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(&self.config);
        Running::start(quiet(&mut command, &self.folder.join("agent.log"))?)
    }

    /// Files of the camera's folder: finished recordings, or those still written (`.part`).
    pub(crate) fn files(&self, extension: &str) -> anyhow::Result<Vec<Utf8PathBuf>> {
        let folder = self.folder.join("data").join(CAMERA);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut files = list(&folder)?;
        files.retain(|path| path.extension() == Some(extension));
        Ok(files)
    }

    /// Bytes of footage so far, open files included.
    pub(crate) fn bytes(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for path in self.files("mp4")?.into_iter().chain(self.files("part")?) {
            // One that got its final name just now counts the next time.
            sum += std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        }
        Ok(sum)
    }
}

/// Output into a log, one start after the other; no input.
pub(crate) fn quiet<'a>(
    command: &'a mut Command,
    log: &Utf8Path,
) -> anyhow::Result<&'a mut Command> {
    let open = || {
        File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open `{log}`"))
    };
    Ok(command.stdin(Stdio::null()).stdout(open()?).stderr(open()?))
}

fn write(path: &Utf8Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{path}`"))
}

fn free_port() -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("127.0.0.1 has no free port")?;
    Ok(listener
        .local_addr()
        .context("cannot ask for the port")?
        .port())
}
