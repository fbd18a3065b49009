//! Why a container is not well: its state, what its health command says, what it last said.

use serde::Serialize;

use crate::connect::Connection;
use crate::world::read_log;

/// Enough to see what happened, and little enough to read.
const LINES: usize = 5;

/// One container's causes, from the outside in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `running`, `exited (137), out of memory`.
    pub state: String,
    pub restarts: i64,
    /// The newest word of the health command, where it is not content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// The last lines of its log, without secrets.
    pub log: Vec<String>,
}

/// Asks the engine about a container; nothing where it is not there.
pub async fn explain(connection: &Connection, container: &str) -> Option<Explanation> {
    let found = connection
        .docker
        .inspect_container(container, None)
        .await
        .ok()?;
    let state = found.state.unwrap_or_default();
    let word = state.status.map(|status| status.to_string());
    let mut said = word.unwrap_or_else(|| "unknown".to_owned());
    if state.running != Some(true) {
        said = format!("{said} ({})", state.exit_code.unwrap_or(0));
    }
    if state.oom_killed == Some(true) {
        said.push_str(", out of memory");
    }
    if let Some(error) = state.error.filter(|error| !error.is_empty()) {
        said = format!("{said}: {}", installer_spec::mask(&error));
    }
    let health = state.health.and_then(|health| {
        let newest = health.log?.pop()?;
        (newest.exit_code != Some(0)).then(|| newest.output.unwrap_or_default())
    });
    Some(Explanation {
        state: said,
        restarts: found.restart_count.unwrap_or(0),
        health: health.map(|text| installer_spec::mask(text.trim())),
        log: read_log(connection, container, LINES).await,
    })
}
