//! Where everything of a site lies below its one data directory.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// The paths of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    data: Utf8PathBuf,
    /// Where receipt, configuration and secrets lie.
    control: Utf8PathBuf,
}

/// A secret of a site. Values are create-only: a new value is a new version under a new name, so
/// whatever uses it is seen to change, and a run that was cut short never leaves half of both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretName {
    /// What it is for: `camera-gate`, `vault-admin`.
    pub purpose: String,
    /// 1, 2, …
    pub version: u32,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.purpose, self.version)
    }
}

impl SecretName {
    /// Reads the form that [`fmt::Display`] writes.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (purpose, version) = file_name.rsplit_once('.')?;
        let version = version.parse().ok().filter(|v| *v > 0)?;
        (!purpose.is_empty()).then(|| Self {
            purpose: purpose.to_owned(),
            version,
        })
    }
}

impl Layout {
    /// On a host everything lies in the data directory itself.
    pub fn new(data: impl Into<Utf8PathBuf>) -> Self {
        let data = data.into();
        Self {
            control: data.clone(),
            data,
        }
    }

    /// For a container engine, all that the installer reads back lies in one folder: one request
    /// brings it, and no footage with it.
    pub fn with_control(data: impl Into<Utf8PathBuf>) -> Self {
        let data = data.into();
        Self {
            control: data.join("control"),
            data,
        }
    }

    pub fn data(&self) -> &Utf8Path {
        &self.data
    }

    pub fn control(&self) -> &Utf8Path {
        &self.control
    }

    pub fn receipt(&self) -> Utf8PathBuf {
        self.control.join("receipt.json")
    }

    pub fn programs(&self) -> Utf8PathBuf {
        self.data.join("bin")
    }

    pub fn config(&self) -> Utf8PathBuf {
        self.control.join("config")
    }

    /// Configuration file of a service.
    pub fn service_config(&self, service: &str) -> Utf8PathBuf {
        self.config().join(format!("{service}.json"))
    }

    /// What the supervisor runs, where systemd does not.
    pub fn services(&self) -> Utf8PathBuf {
        self.config().join("services.json")
    }

    pub fn secrets(&self) -> Utf8PathBuf {
        self.control.join("secrets")
    }

    pub fn secret(&self, name: &SecretName) -> Utf8PathBuf {
        self.secrets().join(name.to_string())
    }

    /// Certificates: one folder for each service that has one, `ca` and `trust`.
    pub fn tls(&self) -> Utf8PathBuf {
        self.control.join("tls")
    }

    /// The site's own authority; nothing but the installer sees its key.
    pub fn authority(&self) -> Utf8PathBuf {
        self.tls().join("ca")
    }

    /// What the site's parts trust: `ca.crt`, a bundle.
    pub fn trust(&self) -> Utf8PathBuf {
        self.tls().join("trust")
    }

    /// A service's `tls.crt` and `tls.key`.
    pub fn certificate(&self, service: &str) -> Utf8PathBuf {
        self.tls().join(service)
    }

    /// Where agents write before the vault takes over, and for good where there is no vault.
    pub fn agents(&self) -> Utf8PathBuf {
        self.data.join("agents")
    }

    /// What one agent process owns; each camera has a folder in it.
    pub fn agent_data(&self, service: &str) -> Utf8PathBuf {
        self.agents().join(service)
    }

    pub fn vault(&self) -> Utf8PathBuf {
        self.data.join("vault")
    }

    /// Objects of the vault's filesystem provider.
    pub fn recordings(&self) -> Utf8PathBuf {
        self.data.join("recordings")
    }

    /// What an object store or a broker of the site's own keeps.
    pub fn store(&self, service: &str) -> Utf8PathBuf {
        self.data.join(service)
    }

    pub fn logs(&self) -> Utf8PathBuf {
        self.data.join("logs")
    }

    pub fn run(&self) -> Utf8PathBuf {
        self.data.join("run")
    }

    /// Held by the living supervisor; names its process.
    pub fn supervisor_lock(&self) -> Utf8PathBuf {
        self.run().join("supervisor.lock")
    }

    /// What the supervisor runs now.
    pub fn supervisor_status(&self) -> Utf8PathBuf {
        self.run().join("status.json")
    }
}
