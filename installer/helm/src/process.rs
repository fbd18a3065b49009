//! One run of the program.

use std::env;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::HelmError;

/// Names the program, where it is not `helm` on the path.
pub const PROGRAM_VARIABLE: &str = "STAKEOUT_HELM";

/// The first that takes away what is not there without complaint.
const LEAST: &str = "3.13";

/// A question that is answered here.
const ASK: Duration = Duration::from_mins(1);

/// Of what Helm says when it fails, its last lines say why.
const LINES_SAID: usize = 3;

/// The cluster, as Helm is told of it; what is absent it finds as `kubectl` does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterAccess {
    pub kubeconfig: Option<Utf8PathBuf>,
    pub context: Option<String>,
}

/// A Helm that is new enough.
#[derive(Debug, Clone)]
pub struct Helm {
    program: String,
    /// `v3.18.4`
    pub version: String,
    access: ClusterAccess,
}

impl Helm {
    /// Looks for the program and asks it for its version.
    pub async fn find(access: ClusterAccess) -> Result<Self, HelmError> {
        let program = env::var(PROGRAM_VARIABLE).unwrap_or_else(|_| "helm".to_owned());
        let mut helm = Self {
            program,
            version: String::new(),
            access,
        };
        let words = ["version", "--template", "{{.Version}}"];
        let version = helm.run("tell its version", &words, None, ASK).await?;
        version.trim().clone_into(&mut helm.version);
        if is_older(&helm.version) {
            return Err(HelmError::TooOld {
                program: helm.program,
                version: helm.version,
                least: LEAST,
            });
        }
        Ok(helm)
    }

    /// Runs `helm WORDS` and returns what it printed. `input` becomes its standard input.
    pub(crate) async fn run(
        &self,
        doing: &str,
        words: &[&str],
        input: Option<&str>,
        deadline: Duration,
    ) -> Result<String, HelmError> {
        let mut command = Command::new(&self.program);
        command.args(words);
        if let Some(context) = &self.access.context {
            command.args(["--kube-context", context]);
        }
        if let Some(kubeconfig) = &self.access.kubeconfig {
            command.args(["--kubeconfig", kubeconfig.as_str()]);
        }
        let stdin = input.map_or_else(Stdio::null, |_| Stdio::piped());
        let run = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => HelmError::Missing {
                program: self.program.clone(),
                source,
            },
            _ => HelmError::Run {
                program: self.program.clone(),
                source,
            },
        };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(run)?;
        if let Some((mut pipe, text)) = child.stdin.take().zip(input) {
            // A program that does not want to read it says why by itself.
            pipe.write_all(text.as_bytes()).await.ok();
        }
        let ended = timeout(deadline, child.wait_with_output()).await;
        let output = ended
            .map_err(|_| HelmError::Slow {
                doing: doing.to_owned(),
                seconds: deadline.as_secs(),
            })?
            .map_err(run)?;
        if !output.status.success() {
            return Err(HelmError::Failed {
                doing: doing.to_owned(),
                said: last_words(&String::from_utf8_lossy(&output.stderr)),
            });
        }
        String::from_utf8(output.stdout).map_err(|source| HelmError::Answer {
            doing: doing.to_owned(),
            source: source.into(),
        })
    }
}

fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let from = lines.len().saturating_sub(LINES_SAID);
    let said = lines.get(from..).unwrap_or_default().join("; ");
    let said = said.strip_prefix("Error: ").unwrap_or(&said);
    installer_spec::mask(said)
}

/// What cannot be read as a version is taken for new.
fn is_older(version: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text.trim_start_matches('v').split(['.', '-', '+']);
        let major = parts.next()?.parse::<u32>().ok()?;
        Some((major, parts.next()?.parse::<u32>().ok()?))
    };
    match (numbers(version), numbers(LEAST)) {
        (Some(found), Some(least)) => found < least,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, older) in [
            ("v3.12.9", true),
            ("v3.9", true),
            ("v3.13.0", false),
            ("v3.22", false),
            ("v4.0.1+g123", false),
            ("v2.17.0", true),
            ("canary", false),
        ] {
            assert_eq!(is_older(version), older, "{version}");
        }
    }

    #[test]
    fn the_last_words_say_why_and_no_password() {
        let said = "level=WARN msg=x\n\nError: INSTALLATION FAILED: cannot reach \
                    https://user:hunter2@charts.example/x\n";
        let words = last_words(said);
        assert!(words.contains("INSTALLATION FAILED"), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
}
