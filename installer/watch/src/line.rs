//! What is told while a site is watched, one JSON object a line.

use installer_engine::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line, with its time where whoever wrote it knew it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Unix milliseconds.
    pub at_ms: Option<u64>,
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// What a run does, as `--output jsonl` tells of it.
    Run(Event),
    /// What is seen of the site.
    Seen(Sight),
}

/// What is seen of a site at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Sight {
    Site(SiteSight),
    Camera(CameraSight),
    Service(ServiceSight),
    Vault(VaultSight),
    Disk(DiskSight),
    /// All that the doctor has found.
    Doctor {
        findings: Vec<Finding>,
    },
    /// The last lines of a service's log.
    Log {
        service: String,
        lines: Vec<String>,
    },
    /// The site could not be asked.
    Blind {
        error: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSight {
    pub name: String,
    /// The machine, engine or cluster.
    pub place: String,
    pub installed: bool,
    /// An install or uninstall that began and did not end.
    pub unfinished: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraSight {
    pub name: String,
    /// The service that records it.
    pub service: String,
    /// Frames arrive.
    pub receiving: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Codec and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// All that came from it since its agent began.
    #[serde(default)]
    pub bytes: u64,
    /// Milliseconds since the last frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_frame_ms: Option<u64>,
    /// File of its newest recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Unix milliseconds of its newest footage on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footage_ms: Option<u64>,
    /// Recordings that wait for the vault.
    #[serde(default)]
    pub waiting: u64,
    #[serde(default)]
    pub reconnects: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSight {
    pub name: String,
    pub well: bool,
    /// In the words of whoever runs it.
    pub state: String,
    /// Where it is not well: why, from the outside in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultSight {
    pub recordings: u64,
    pub bytes: u64,
    /// Events that an integration has not taken yet.
    pub undelivered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSight {
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Info,
    Warning,
    Fail,
}

/// One thing that the doctor looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub id: String,
    pub outcome: Outcome,
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

#[derive(Debug, thiserror::Error)]
#[error("a line that is no JSON object: `{line}`")]
pub struct LineError {
    line: String,
    source: serde_json::Error,
}

/// A line as it is written, with its time before what it tells.
#[derive(Serialize)]
struct Written<'a, T> {
    at_ms: u64,
    #[serde(flatten)]
    told: &'a T,
}

impl Line {
    pub fn seen(at_ms: u64, sight: Sight) -> Self {
        let told = Told::Seen(sight);
        let at_ms = Some(at_ms);
        Self { at_ms, told }
    }

    /// Reads a line; nothing where it tells something that is not watched, such as a run's result.
    pub fn parse(line: &str) -> Result<Option<Self>, LineError> {
        let value: Value = serde_json::from_str(line).map_err(|source| LineError {
            line: line.chars().take(80).collect(),
            source,
        })?;
        let at_ms = value.get("at_ms").and_then(Value::as_u64);
        let told = Event::deserialize(&value)
            .map(Told::Run)
            .or_else(|_| Sight::deserialize(&value).map(Told::Seen));
        Ok(told.ok().map(|told| Self { at_ms, told }))
    }

    /// What [`Line::parse`] reads.
    pub fn text(&self, now_ms: u64) -> String {
        let at_ms = self.at_ms.unwrap_or(now_ms);
        let text = match &self.told {
            Told::Run(told) => serde_json::to_string(&Written { at_ms, told }),
            Told::Seen(told) => serde_json::to_string(&Written { at_ms, told }),
        };
        text.expect("invariant: plain data serialises")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let camera = CameraSight {
            name: "gate".to_owned(),
            receiving: true,
            ..CameraSight::default()
        };
        let line = Line::seen(7, Sight::Camera(camera));
        let text = line.text(0);
        assert!(
            text.starts_with(r#"{"at_ms":7,"event":"camera","name":"gate""#),
            "{text}"
        );
        assert_eq!(Line::parse(&text).unwrap(), Some(line));
        let told = Told::Run(Event::Applied { changed: 3, ms: 9 });
        let line = Line {
            at_ms: Some(8),
            told,
        };
        assert_eq!(Line::parse(&line.text(0)).unwrap(), Some(line));
    }

    #[test]
    fn what_nobody_watches_is_passed_over_and_nonsense_is_named() {
        assert_eq!(Line::parse(r#"{"result":"installed"}"#).unwrap(), None);
        assert_eq!(Line::parse(r#"{"event":"tomorrow"}"#).unwrap(), None);
        let error = Line::parse("done  service vault").unwrap_err().to_string();
        assert!(error.contains("`done  service vault`"), "{error}");
    }
}
