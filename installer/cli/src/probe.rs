//! Asks a camera what it offers, by the agent's own program.

use std::time::Duration;

use agent_api::{ProbeReport, ProbeRequest};
use camino::Utf8Path;
use installer_host::probe_camera;
use installer_spec::Login;
use url::Url;

use crate::error::{CommandError, Exit};

pub(crate) async fn ask_camera(
    programs: &Utf8Path,
    url: &Url,
    login: Option<&Login>,
    seconds: u64,
) -> Result<ProbeReport, CommandError> {
    let measure = Duration::from_secs(seconds);
    let request = ProbeRequest {
        rtsp: url.to_string(),
        user: login.map(|login| login.user.clone()),
        password: login.map(|login| login.password.clone()),
        measure_ms: u64::try_from(measure.as_millis()).unwrap_or(u64::MAX),
    };
    probe_camera(programs, &request)
        .await
        .map_err(|error| CommandError::from_error(Exit::Internal, &error))
}
