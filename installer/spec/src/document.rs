//! The file as it is written: one type per mapping, for the JSON schema and for writing profiles.
//!
//! Reading goes another way (`check`), which explains itself better; tests hold the two together.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;

use crate::access::AccessDocument;
use crate::charts::ChartDocument;
use crate::cluster::ClusterDocument;
use crate::monitoring::MonitoringDocument;
use crate::profile::{
    Broker, Buffer, Camera, Catalogue, Credentials, Database, EventSink, Isolation, Keeper,
    Profile, Provider, Record, S3Identity, Source, Storage, TargetChoice, TestSource, When,
};
use crate::units::{format_bytes, format_duration};
use crate::vault::VaultDocument;

const NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
const DURATION: &str = "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
const BYTES: &str = "^[0-9]+(\\.[0-9]{1,6})? ?([PTGMK]i?B|kB|B)$";
const RTSP: &str = "^[rR][tT][sS][pP]://[^\\s]+$";

/// A camera site: its cameras, what to record, and where footage stays.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "stakeout profile")]
pub(crate) struct Document {
    /// Version of this format.
    #[schemars(extend("const" = 1))]
    version: u32,
    /// Names the site's directories and services: a-z, 0-9 and inner dashes.
    #[schemars(regex(pattern = NAME), length(max = 40), example = &"warehouse-7")]
    site: String,
    /// What the site runs on; `auto` looks for itself.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "auto"))]
    target: TargetWord,
    /// How cameras share processes.
    #[serde(default, skip_serializing_if = "is_default")]
    agents: AgentsDocument,
    /// Cameras in the order in which they are listed; at least one.
    #[schemars(length(min = 1))]
    cameras: Vec<CameraDocument>,
    /// Where footage stays and for how long.
    #[serde(default, skip_serializing_if = "is_default")]
    storage: StorageDocument,
    /// Where the vault notes what there is. Needs the vault.
    #[serde(default, skip_serializing_if = "is_default")]
    catalogue: CatalogueDocument,
    /// The vault itself.
    #[serde(default, skip_serializing_if = "is_default")]
    vault: VaultDocument,
    /// Who hears of new recordings. Needs the vault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventDocument>,
    /// Where people and other machines reach the vault; without it, nothing is published. Needs the
    /// vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessDocument")]
    access: Option<AccessDocument>,
    /// Helm charts that are installed beside the site; in a cluster only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charts: Vec<ChartDocument>,
    /// Whether the Prometheus of a cluster is told of the site: what to read, when to warn, what to
    /// draw. `auto`: where the cluster knows the objects of Prometheus Operator.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "auto"))]
    monitoring: MonitoringDocument,
    /// What may be done to a cluster beside the site itself.
    #[serde(default, skip_serializing_if = "is_default")]
    cluster: ClusterDocument,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum TargetWord {
    #[default]
    Auto,
    Host,
    Docker,
    Kubernetes,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Agents")]
struct AgentsDocument {
    /// `camera`: a process for each. `group`: one process for all.
    #[serde(default)]
    isolation: IsolationWord,
    /// In a cluster, where footage waits for the vault. `disposable`: on the node, gone with the
    /// pod. `claim`: in a volume of its own, which may keep the agent on one node.
    #[serde(default, skip_serializing_if = "is_default")]
    buffer: BufferWord,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum BufferWord {
    #[default]
    Disposable,
    Claim,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum IsolationWord {
    #[default]
    Camera,
    Group,
}

/// A camera on the network, the test camera, or a list that stands for many.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged, rename = "Camera")]
pub(crate) enum CameraDocument {
    Network(NetworkDocument),
    Test(TestDocument),
    #[expect(
        dead_code,
        reason = "for the schema; what we write lists its cameras one by one"
    )]
    List(ListDocument),
}

/// A camera on the network.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "NetworkCamera")]
pub(crate) struct NetworkDocument {
    /// Unique within the site: a-z, 0-9 and inner dashes.
    #[schemars(regex(pattern = NAME), length(max = 40), example = &"gate")]
    name: String,
    /// The stream that is recorded.
    #[schemars(regex(pattern = RTSP), example = &"rtsp://10.0.3.11/main")]
    rtsp: String,
    /// A smaller stream of the same camera, in which motion is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = RTSP), example = &"rtsp://10.0.3.11/sub")]
    sub: Option<String>,
    /// Where the camera's login comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CredentialsDocument")]
    credentials: Option<CredentialsDocument>,
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "continuous"))]
    record: RecordDocument,
}

/// The test camera that stakeout ships.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "TestCamera")]
pub(crate) struct TestDocument {
    /// Unique within the site: a-z, 0-9 and inner dashes.
    #[schemars(regex(pattern = NAME), length(max = 40), example = &"demo")]
    name: String,
    /// `scene`, or the path of an MP4 file.
    #[schemars(regex(pattern = "^(scene|.*[^/]\\.[mM][pP]4)$"), example = &"scene")]
    test: String,
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "continuous"))]
    record: RecordDocument,
}

/// A CSV file whose rows are cameras; columns name, rtsp, sub, user, password, credentials, when,
/// pre, post, longest, test.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "CameraList")]
pub(crate) struct ListDocument {
    /// The file's path, relative to the profile's folder.
    #[schemars(length(min = 1), example = &"cameras.csv")]
    from: String,
}

/// `ask`, `env:NAME` (a variable that holds `user:password`), `file:PATH` (user and password), or
/// one of them as a mapping.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged, rename = "Credentials")]
pub(crate) enum CredentialsDocument {
    Reference(
        #[schemars(regex(pattern = "^(ask|env: *[A-Za-z_][A-Za-z0-9_]*|file: *\\S.*)$"))] String,
    ),
    File(FileDocument),
    Environment(EnvironmentDocument),
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "LoginFile")]
pub(crate) struct FileDocument {
    /// `user:password`, or the user on the first line and the password on the second.
    #[schemars(length(min = 1), example = &"gate.login")]
    file: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "LoginVariable")]
pub(crate) struct EnvironmentDocument {
    /// The variable holds `user:password`.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"), example = &"GATE_LOGIN")]
    env: String,
}

/// When to record: a word, or a mapping with times.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged, rename = "Record")]
enum RecordDocument {
    Word(WhenWord),
    Full(RecordTimes),
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordTimes {
    #[serde(default)]
    when: WhenWord,
    /// Footage kept from before motion, up to 60s.
    #[serde(default = "usual_pre")]
    #[schemars(regex(pattern = DURATION), length(min = 1))]
    pre: String,
    /// Footage kept after motion, up to 10m.
    #[serde(default = "usual_post")]
    #[schemars(regex(pattern = DURATION), length(min = 1))]
    post: String,
    /// A file's longest duration, 5s to 1h.
    #[serde(default = "usual_longest")]
    #[schemars(regex(pattern = DURATION), length(min = 1))]
    longest: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum WhenWord {
    #[default]
    Continuous,
    Motion,
    Both,
}

/// Where footage stays.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged, rename = "AnyStorage")]
enum StorageDocument {
    Own(OwnStorageDocument),
    S3(S3Document),
}

/// Below the data directory: in files, or in an object store of the site's own.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Storage")]
struct OwnStorageDocument {
    #[serde(default)]
    provider: OwnProviderWord,
    /// The site's data directory; without it the target chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^/."), example = &"/srv/stakeout")]
    path: Option<String>,
    /// `vault`: agents hand recordings over. `agent`: no vault, each agent keeps its own.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "vault"))]
    keeper: KeeperWord,
    /// Age at which footage goes, at least 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = DURATION), length(min = 1), example = &"30d")]
    retention: Option<String>,
    /// Bytes that footage may take, at least 100MB; the oldest goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = BYTES), example = &"2TiB")]
    quota: Option<String>,
}

/// In an object store that somebody else runs.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "S3Storage")]
struct S3Document {
    provider: S3Word,
    /// The site's data directory; without it the target chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^/."), example = &"/srv/stakeout")]
    path: Option<String>,
    /// Agents hand recordings over to the vault, which alone writes to object stores.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "vault"))]
    keeper: VaultWord,
    /// Age at which footage goes, at least 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = DURATION), length(min = 1), example = &"30d")]
    retention: Option<String>,
    /// Bytes that footage may take, at least 100MB; the oldest goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = BYTES), example = &"2TiB")]
    quota: Option<String>,
    /// Where it answers; Amazon's own for the region if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[hH][tT][tT][pP][sS]?:"))]
    endpoint: Option<String>,
    /// `us-east-1` at an endpoint that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[a-z0-9-]+$"), example = &"eu-central-1")]
    region: Option<String>,
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"))]
    bucket: String,
    /// Put before every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    prefix: Option<String>,
    /// The access key as user, the secret key as password; or `identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CredentialsDocument")]
    credentials: Option<CredentialsDocument>,
    /// The vault asks as whoever its platform says that it is, and there is no key: a role of its
    /// service account, EKS Pod Identity, or an instance's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IdentityWord")]
    identity: Option<IdentityWord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum IdentityWord {
    Platform,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum OwnProviderWord {
    #[default]
    Filesystem,
    Minio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum S3Word {
    S3,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum VaultWord {
    #[default]
    Vault,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum KeeperWord {
    #[default]
    Vault,
    Agent,
}

/// `sqlite`: a file below the data directory. Else a database that speaks MongoDB's protocol.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged, rename = "Catalogue")]
enum CatalogueDocument {
    Word(SqliteWord),
    Database(DatabaseDocument),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum SqliteWord {
    #[default]
    Sqlite,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Database")]
struct DatabaseDocument {
    /// `deploy`: FerretDB, of the site's own. Else the address of a database that runs.
    #[schemars(
        regex(pattern = "^(deploy$|mongodb://[^@/]+/[A-Za-z0-9_-]+([?]|$))"),
        example = &"mongodb://db1,db2/stakeout?replicaSet=rs0&tls=true"
    )]
    mongodb: String,
    /// The database's login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CredentialsDocument")]
    credentials: Option<CredentialsDocument>,
}

/// Who hears of new recordings.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged, rename = "Event")]
enum EventDocument {
    Webhook(WebhookDocument),
    Mqtt(MqttDocument),
    Amqp(AmqpDocument),
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "WebhookEvent")]
struct WebhookDocument {
    /// Receives one POST per recording.
    #[schemars(regex(pattern = "^[hH][tT][tT][pP][sS]?:"), example = &"https://example.org/hook")]
    webhook: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "MqttEvent")]
struct MqttDocument {
    /// `deploy`: a broker of the site's own. Else the URL of one that runs.
    #[schemars(regex(pattern = "^(deploy$|[mM][qQ][tT][tT][sS]?:)"), example = &"mqtts://broker:8883")]
    mqtt: String,
    /// `stakeout/SITE/recordings` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    topic: Option<String>,
    /// The broker's login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CredentialsDocument")]
    credentials: Option<CredentialsDocument>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "AmqpEvent")]
struct AmqpDocument {
    /// `deploy`: a broker of the site's own. Else the URL of one that runs.
    #[schemars(regex(pattern = "^(deploy$|[aA][mM][qQ][pP][sS]?:)"), example = &"amqps://broker:5671")]
    amqp: String,
    /// A topic exchange, made where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255))]
    exchange: Option<String>,
    /// `stakeout.SITE.recordings` if neither it nor an exchange is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255))]
    queue: Option<String>,
    /// The broker's login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CredentialsDocument")]
    credentials: Option<CredentialsDocument>,
}

/// The JSON schema (draft 2020-12) of the profile, for editors.
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    settings
        .into_generator()
        .into_root_schema_for::<Document>()
        .to_value()
}

/// Writes a profile as a file. Passwords are never written: a camera whose login stood in its URL
/// comes out without `credentials`, so move it into a store and name that first.
pub fn to_yaml(profile: &Profile) -> String {
    let document = Document::from(profile);
    serde_saphyr::to_string_with_options(&document, style())
        .expect("invariant: the document is plain mappings, lists and text")
}

/// One camera as the mapping that stands under `cameras`.
pub(crate) fn camera_yaml(camera: &Camera) -> String {
    serde_saphyr::to_string_with_options(&CameraDocument::from(camera), style())
        .expect("invariant: the document is plain mappings and text")
}

fn style() -> serde_saphyr::SerializerOptions {
    serde_saphyr::ser_options! { compact_list_indent: false, prefer_block_scalars: false }
}

impl From<&Profile> for Document {
    fn from(profile: &Profile) -> Self {
        Self {
            version: 1,
            site: profile.site.clone(),
            target: match profile.target {
                TargetChoice::Auto => TargetWord::Auto,
                TargetChoice::Host => TargetWord::Host,
                TargetChoice::Docker => TargetWord::Docker,
                TargetChoice::Kubernetes => TargetWord::Kubernetes,
            },
            agents: AgentsDocument {
                isolation: match profile.agents.isolation {
                    Isolation::Camera => IsolationWord::Camera,
                    Isolation::Group => IsolationWord::Group,
                },
                buffer: match profile.agents.buffer {
                    Buffer::Disposable => BufferWord::Disposable,
                    Buffer::Claim => BufferWord::Claim,
                },
            },
            cameras: profile.cameras.iter().map(CameraDocument::from).collect(),
            storage: StorageDocument::from(&profile.storage),
            catalogue: CatalogueDocument::from(&profile.catalogue),
            vault: VaultDocument::from(profile.vault),
            events: profile.events.iter().map(EventDocument::from).collect(),
            access: profile.access.as_ref().map(AccessDocument::from),
            charts: profile.charts.iter().map(ChartDocument::from).collect(),
            monitoring: MonitoringDocument::from(profile),
            cluster: ClusterDocument::from(&profile.cluster),
        }
    }
}

impl Default for StorageDocument {
    fn default() -> Self {
        Self::Own(OwnStorageDocument::default())
    }
}

impl From<&Storage> for StorageDocument {
    fn from(storage: &Storage) -> Self {
        let path = storage.path.as_ref().map(ToString::to_string);
        let retention = storage.retention.map(format_duration);
        let quota = storage.quota.map(format_bytes);
        let own = |provider| {
            Self::Own(OwnStorageDocument {
                provider,
                path: path.clone(),
                keeper: match storage.keeper {
                    Keeper::Vault => KeeperWord::Vault,
                    Keeper::Agent => KeeperWord::Agent,
                },
                retention: retention.clone(),
                quota: quota.clone(),
            })
        };
        match &storage.provider {
            Provider::Filesystem => own(OwnProviderWord::Filesystem),
            Provider::Minio => own(OwnProviderWord::Minio),
            Provider::S3(s3) => Self::S3(S3Document {
                provider: S3Word::S3,
                path,
                keeper: VaultWord::Vault,
                retention,
                quota,
                endpoint: s3.endpoint.as_ref().map(ToString::to_string),
                region: Some(s3.region.clone()),
                bucket: s3.bucket.clone(),
                prefix: s3.prefix.clone(),
                credentials: match &s3.identity {
                    S3Identity::Keys(credentials) => credentials_document(credentials),
                    S3Identity::Platform => None,
                },
                identity: (s3.identity == S3Identity::Platform).then_some(IdentityWord::Platform),
            }),
        }
    }
}

impl Default for CatalogueDocument {
    fn default() -> Self {
        Self::Word(SqliteWord::default())
    }
}

impl From<&Catalogue> for CatalogueDocument {
    fn from(catalogue: &Catalogue) -> Self {
        let database = match catalogue {
            Catalogue::Sqlite => return Self::default(),
            Catalogue::Mongodb(database) => database,
        };
        let (mongodb, credentials) = match database {
            Database::Deploy => ("deploy".to_owned(), None),
            Database::External {
                address,
                credentials,
            } => (
                address.to_string(),
                credentials.as_ref().and_then(credentials_document),
            ),
        };
        Self::Database(DatabaseDocument {
            mongodb,
            credentials,
        })
    }
}

impl From<&EventSink> for EventDocument {
    fn from(sink: &EventSink) -> Self {
        let parts = |broker: &Broker| match broker {
            Broker::Deploy => ("deploy".to_owned(), None),
            Broker::External { url, credentials } => (
                url.to_string(),
                credentials.as_ref().and_then(credentials_document),
            ),
        };
        match sink {
            EventSink::Webhook { url } => Self::Webhook(WebhookDocument {
                webhook: url.to_string(),
            }),
            EventSink::Mqtt { broker, topic } => {
                let (mqtt, credentials) = parts(broker);
                Self::Mqtt(MqttDocument {
                    mqtt,
                    topic: topic.clone(),
                    credentials,
                })
            }
            EventSink::Amqp {
                broker,
                exchange,
                queue,
            } => {
                let (amqp, credentials) = parts(broker);
                Self::Amqp(AmqpDocument {
                    amqp,
                    exchange: exchange.clone(),
                    queue: queue.clone(),
                    credentials,
                })
            }
        }
    }
}

impl From<&Camera> for CameraDocument {
    fn from(camera: &Camera) -> Self {
        let (name, record) = (camera.name.clone(), RecordDocument::from(camera.record));
        match &camera.source {
            Source::Rtsp {
                main,
                sub,
                credentials,
            } => Self::Network(NetworkDocument {
                name,
                rtsp: main.to_string(),
                sub: sub.as_ref().map(ToString::to_string),
                credentials: credentials.as_ref().and_then(credentials_document),
                record,
            }),
            Source::Test(source) => Self::Test(TestDocument {
                name,
                test: match source {
                    TestSource::Scene => "scene".to_owned(),
                    TestSource::File(path) => path.to_string(),
                },
                record,
            }),
        }
    }
}

pub(crate) fn credentials_document(credentials: &Credentials) -> Option<CredentialsDocument> {
    match credentials {
        Credentials::File(path) => Some(CredentialsDocument::File(FileDocument {
            file: path.to_string(),
        })),
        Credentials::Environment(name) => {
            Some(CredentialsDocument::Environment(EnvironmentDocument {
                env: name.clone(),
            }))
        }
        Credentials::Ask => Some(CredentialsDocument::Reference("ask".to_owned())),
        Credentials::Inline(_) => None,
    }
}

impl From<Record> for RecordDocument {
    fn from(record: Record) -> Self {
        let when = match record.when {
            When::Continuous => WhenWord::Continuous,
            When::Motion => WhenWord::Motion,
            When::Both => WhenWord::Both,
        };
        if record
            == (Record {
                when: record.when,
                ..Record::default()
            })
        {
            return Self::Word(when);
        }
        Self::Full(RecordTimes {
            when,
            pre: format_duration(record.pre),
            post: format_duration(record.post),
            longest: format_duration(record.longest),
        })
    }
}

impl Default for RecordDocument {
    fn default() -> Self {
        Self::Word(WhenWord::Continuous)
    }
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn usual_pre() -> String {
    format_duration(Record::default().pre)
}

fn usual_post() -> String {
    format_duration(Record::default().post)
}

fn usual_longest() -> String {
    format_duration(Record::default().longest)
}
