//! A camera site as its owner wants it: the checked form of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

/// One site; every default is filled in and every reference resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `[a-z0-9]` and inner dashes, at most 40 characters; names directories, units and objects.
    pub site: String,
    pub target: TargetChoice,
    pub agents: Agents,
    /// In file order, CSV rows in their place; names are unique.
    pub cameras: Vec<Camera>,
    pub storage: Storage,
    pub catalogue: Catalogue,
    pub vault: Vault,
    pub events: Vec<EventSink>,
    /// Absent, the vault is reached from the site's own machine only.
    pub access: Option<Access>,
    /// In file order; names are unique. Only a cluster takes any.
    pub charts: Vec<Chart>,
    /// Of a cluster.
    pub monitoring: Monitoring,
    /// Labels by which a Prometheus Operator picks what it reads; also of a cluster.
    pub monitoring_labels: BTreeMap<String, String>,
    pub cluster: ClusterMeans,
}

/// The vault itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vault {
    /// At least one; only a cluster takes more, with an object store and a database.
    pub replicas: u32,
}

impl Default for Vault {
    fn default() -> Self {
        Self { replicas: 1 }
    }
}

/// What may be done to a cluster beside the site itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterMeans {
    pub addons: Addons,
    /// `FIRST-LAST`: what an addon that balances loads may give away.
    pub addresses: Option<String>,
}

/// What is done about addons that a site needs and its cluster has turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addons {
    /// They are named.
    #[default]
    Tell,
    /// The cluster's own command turns them on; they stay on.
    Enable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetChoice {
    Auto,
    Host,
    Docker,
    Kubernetes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agents {
    pub isolation: Isolation,
    pub buffer: Buffer,
}

/// Where an agent in a cluster keeps what waits for the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Buffer {
    /// On the node's own disk: gone with the pod, and the pod goes wherever there is room.
    Disposable,
    /// In a claim: it outlives the pod, and where the claim is bound to a node, so is the agent.
    Claim,
}

/// Whether a cluster's Prometheus is told of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monitoring {
    /// Where the cluster knows its objects.
    Auto,
    On,
    Off,
}

/// How many cameras share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// One each: nothing that one camera does can touch another.
    Camera,
    /// All of them in one.
    Group,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// `[a-z0-9]` and inner dashes, at most 40 characters.
    pub name: String,
    pub source: Source,
    pub record: Record,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A camera on the network. URLs hold neither user nor password.
    Rtsp {
        main: Url,
        sub: Option<Url>,
        credentials: Option<Credentials>,
    },
    /// The test camera that we ship.
    Test(TestSource),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestSource {
    /// The built-in scene.
    Scene,
    /// An MP4 file, absolute or relative to the profile's folder.
    File(Utf8PathBuf),
}

/// Where a camera's user and password come from. Planning needs no more than this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `user` on the first line and the password on the second, or `user:password`; absolute, or
    /// relative to the profile's folder.
    File(Utf8PathBuf),
    /// Variable that holds `user:password`.
    Environment(String),
    /// Asked at a terminal when the store does not hold it yet.
    Ask,
    /// Stood in the profile's URL; moved into the secret store at once.
    Inline(Login),
}

/// A user and password. Its debug form shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub when: When,
    pub pre: Duration,
    pub post: Duration,
    pub longest: Duration,
}

impl Default for Record {
    /// Upstream's pre and post (10 s, 20 s); files of one minute.
    fn default() -> Self {
        Self {
            when: When::Continuous,
            pre: Duration::from_secs(10),
            post: Duration::from_secs(20),
            longest: Duration::from_mins(1),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    Continuous,
    Motion,
    Both,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The site's data directory, whatever keeps the footage; absent, the target chooses.
    pub path: Option<Utf8PathBuf>,
    pub provider: Provider,
    pub keeper: Keeper,
    /// Age at which footage goes.
    pub retention: Option<Duration>,
    /// Bytes that footage may take.
    pub quota: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Below the data directory.
    Filesystem,
    /// An object store of the site's own, with its data below the data directory.
    Minio,
    /// An object store that somebody else runs.
    S3(Box<S3>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// Where it answers; Amazon's own for the region if absent.
    pub endpoint: Option<Url>,
    pub region: String,
    pub bucket: String,
    /// Put before every key.
    pub prefix: Option<String>,
    pub identity: S3Identity,
}

/// Who asks an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Identity {
    /// User is the access key, password the secret key.
    Keys(Credentials),
    /// Whoever the platform says that the vault is; there is no key.
    Platform,
}

/// Where the vault notes what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalogue {
    /// A file below the data directory.
    Sqlite,
    Mongodb(Database),
}

/// Who runs the database that the catalogue lies in; it speaks MongoDB's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// It comes with the site.
    Deploy,
    /// It is there.
    External {
        address: MongoAddress,
        credentials: Option<Credentials>,
    },
}

/// A connection string of MongoDB in its parts, without login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MongoAddress {
    /// `HOST` or `HOST:PORT`; several are a replica set's.
    pub hosts: Vec<String>,
    pub database: String,
    pub replica_set: Option<String>,
    pub tls: bool,
}

impl fmt::Display for MongoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mongodb://{}/{}", self.hosts.join(","), self.database)?;
        let set = self.replica_set.as_ref();
        let set = set.map(|name| format!("replicaSet={name}"));
        let options = set
            .into_iter()
            .chain(self.tls.then(|| "tls=true".to_owned()));
        let options: Vec<_> = options.collect();
        if options.is_empty() {
            return Ok(());
        }
        write!(f, "?{}", options.join("&"))
    }
}

/// Who keeps the footage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// Agents hand recordings over to the vault.
    Vault,
    /// No vault: each agent keeps its own.
    Agent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSink {
    /// Receives one POST per recording.
    Webhook { url: Url },
    /// Hears of each recording at a topic; the vault's own if absent.
    Mqtt {
        broker: Broker,
        topic: Option<String>,
    },
    /// Hears of each recording at an exchange or in a queue; a queue of the vault's own if neither
    /// is given.
    Amqp {
        broker: Broker,
        exchange: Option<String>,
        queue: Option<String>,
    },
}

/// Who runs the broker that events go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// It comes with the site.
    Deploy,
    /// It is there. The URL holds neither user nor password.
    External {
        url: Url,
        credentials: Option<Credentials>,
    },
}

/// A Helm chart that is installed beside the site, in a namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The release's name: `[a-z0-9]` and inner dashes. With the site's it names the namespace.
    pub name: String,
    pub source: ChartSource,
    /// What the chart is told, besides what it is told of the site.
    pub values: Map<String, Value>,
    /// Logins that it finds in a Secret, by the name that they have there.
    pub secrets: BTreeMap<String, Credentials>,
    /// What of the site its pods may connect to.
    pub reaches: BTreeSet<Reachable>,
}

/// A part of a site that others in its cluster may be let in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reachable {
    Vault,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChartSource {
    /// A folder or an archive, absolute or relative to the profile's folder.
    Path(Utf8PathBuf),
    /// `oci://HOST/PATH` and the version there.
    Registry { reference: String, version: String },
}

/// Where people and other machines reach the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// On a machine. An unspecified one is every address of it; its port is not 0.
    pub address: Option<SocketAddr>,
    /// In a cluster; all of it is absent where there is an address.
    pub cluster: ClusterAccess,
    /// DNS names in lower case and IP addresses, in file order. There is one where there is no
    /// address.
    pub names: Vec<String>,
    pub tls: AccessTls,
}

/// How a cluster leads to the vault; what is absent follows from the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterAccess {
    pub exposure: Option<Exposure>,
    /// Of load balancers, of an Ingress or of a Gateway.
    pub class: Option<String>,
    /// Namespace of the pods that pass connections on, of an Ingress or of a Gateway.
    pub namespace: Option<String>,
    /// At which people come in.
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    LoadBalancer,
    Ingress,
    Gateway,
    NodePort,
}

/// Whose certificate is shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessTls {
    /// One of the site's own authority.
    Internal,
    /// The owner's. Paths are absolute or relative to the profile's folder.
    Files {
        certificate: Utf8PathBuf,
        key: Utf8PathBuf,
    },
    /// One of an ACME authority, which gets to the vault by [`Access::names`].
    Acme(Acme),
    /// One that cert-manager has issued in the cluster.
    CertManager(Issuer),
}

/// An issuer of cert-manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    pub name: String,
    pub kind: IssuerKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssuerKind {
    /// Of the site's own namespace.
    Issuer,
    ClusterIssuer,
}

impl Exposure {
    /// As profiles have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load-balancer",
            Self::Ingress => "ingress",
            Self::Gateway => "gateway",
            Self::NodePort => "node-port",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The authority's directory, `https`.
    pub directory: Url,
    pub email: Option<String>,
    /// PEM of the roots of a private authority, absolute or relative to the profile's folder.
    pub ca_file: Option<Utf8PathBuf>,
}

impl Access {
    /// The address as a name, where it is one of a single machine.
    fn own_name(&self) -> Option<String> {
        let ip = self.address?.ip();
        (!ip.is_unspecified()).then(|| ip.to_string())
    }

    /// What the certificate of the site's own authority is for.
    pub fn all_names(&self) -> BTreeSet<String> {
        self.names.iter().cloned().chain(self.own_name()).collect()
    }

    /// What an owner's certificate has to cover: the names, and without any the address.
    pub fn needed_names(&self) -> BTreeSet<String> {
        if self.names.is_empty() {
            self.all_names()
        } else {
            self.names.iter().cloned().collect()
        }
    }

    /// `https://HOST:PORT`, by the first name or else by the address, at a port.
    pub fn url(&self, port: u16) -> String {
        let own = || self.address.map(|address| address.ip().to_string());
        let host = self.names.first().cloned().or_else(own);
        let host = host.unwrap_or_default();
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        match port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }
}
