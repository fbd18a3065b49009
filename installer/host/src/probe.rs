//! Asks a camera what it offers, by way of `stakeout-agent probe`.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use agent_api::{ProbeReport, ProbeRequest};
use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("cannot run `{program}`")]
    Run {
        program: Utf8PathBuf,
        source: io::Error,
    },
    #[error("`{program} probe` gave no answer within {seconds} s")]
    TimedOut { program: Utf8PathBuf, seconds: u64 },
    #[error("`{program} probe` gave an answer that nobody understands")]
    Answer {
        program: Utf8PathBuf,
        source: serde_json::Error,
    },
}

/// Connecting, logging in and the first key frame take this much beside the measuring.
const OVERHEAD: Duration = Duration::from_secs(30);

/// Runs the probe of the agent program in `programs`. The login goes through a pipe.
pub async fn probe_camera(
    programs: &Utf8Path,
    request: &ProbeRequest,
) -> Result<ProbeReport, ProbeError> {
    let program = programs.join("stakeout-agent");
    let failed = |source| ProbeError::Run {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(&program)
        .arg("probe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let text = serde_json::to_vec(request).expect("invariant: plain data serialises");
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&text).await.map_err(failed)?;
    }
    let limit = Duration::from_millis(request.measure_ms) + OVERHEAD;
    let output = tokio::time::timeout(limit, child.wait_with_output()).await;
    let Ok(output) = output else {
        return Err(ProbeError::TimedOut {
            program,
            seconds: limit.as_secs(),
        });
    };
    let output = output.map_err(failed)?;
    serde_json::from_slice(&output.stdout).map_err(|source| ProbeError::Answer { program, source })
}
