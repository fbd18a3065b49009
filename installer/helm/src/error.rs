use std::io;

use camino::Utf8PathBuf;

/// Why Helm did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    #[error("there is no `{program}` here")]
    Missing {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} is {version}, and {least} is the oldest that will do")]
    TooOld {
        program: String,
        version: String,
        least: &'static str,
    },
    #[error("cannot run `{program}`")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("Helm had not ended after {seconds} s: cannot {doing}")]
    Slow { doing: String, seconds: u64 },
    /// `said` is Helm's own last words, with passwords masked.
    #[error("Helm cannot {doing}: {said}")]
    Failed { doing: String, said: String },
    #[error("cannot understand what Helm answered when asked to {doing}")]
    Answer {
        doing: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read chart `{path}`")]
    Chart {
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
}

impl HelmError {
    /// What a person can do about it, where that is known.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } | Self::TooOld { .. } => {
                Some("install Helm 3.13 or newer, or name the program by STAKEOUT_HELM")
            }
            _ => None,
        }
    }

    /// Whether the machine or the cluster may be in a better mood later.
    pub fn is_passing(&self) -> bool {
        let words = [
            "connection refused",
            "timed out",
            "timeout",
            "EOF",
            "Too Many Requests",
        ];
        match self {
            Self::Slow { .. } => true,
            Self::Failed { said, .. } => words.iter().any(|word| said.contains(word)),
            _ => false,
        }
    }
}
