//! Object store, database and brokers as containers: TLS only, nobody without a login or certificate, nothing but their own
//! folder, and in a network with the vault alone.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Component, Container, Inputs, Limits, Mount, MountAccess, mount};
use crate::configuration::{Placement, RenderedFile, Role};
use crate::{Layout, Store};

/// The network of stores and vault.
pub(super) const NETWORK: &str = "stores";

/// How the files of a certificate are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: &'static str,
    pub key: &'static str,
}

/// What a service calls its certificate and key: MinIO takes no other names than its own.
pub fn certificate_files(service: &str) -> CertificateFiles {
    if service == Store::Minio.name() {
        CertificateFiles {
            certificate: "public.crt",
            key: "private.key",
        }
    } else {
        CertificateFiles {
            certificate: "tls.crt",
            key: "tls.key",
        }
    }
}

/// The certificate that the vault shows to a database of the site's own.
pub(super) const IDENTITY: &str = "vault-identity";

/// The certificates that a service reads at its start only. MinIO watches the folder, RabbitMQ asks
/// for the files anew every other minute, and so does the vault for what it serves with.
pub fn reads_once(service: &str) -> &'static [&'static str] {
    match service {
        "mosquitto" => &["mosquitto"],
        "ferretdb" => &["ferretdb", IDENTITY],
        "vault" => &[IDENTITY],
        _ => &[],
    }
}

pub(super) fn container(inputs: &Inputs<'_>, store: Store) -> Container {
    match store {
        Store::Minio => minio(inputs),
        Store::Ferretdb => ferretdb(),
        Store::Mosquitto => mosquitto(inputs),
        Store::Rabbitmq => rabbitmq(inputs),
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// The store's folder at the place where its image declares a volume: else the engine would make
/// one that nobody removes.
fn data(store: Store, target: &str) -> Mount {
    Mount {
        source: Layout::with_control("").store(store.name()),
        target: target.into(),
        access: MountAccess::Write,
    }
}

fn file(name: &str, lines: &[String]) -> RenderedFile {
    let mut contents = lines.join("\n");
    contents.push('\n');
    RenderedFile {
        path: Inputs::layout().config().join(name),
        contents,
    }
}

/// Certificate and key as the store sees them.
fn certificate(store: Store) -> (Utf8PathBuf, Utf8PathBuf) {
    let (folder, files) = (
        Inputs::layout().certificate(store.name()),
        certificate_files(store.name()),
    );
    (folder.join(files.certificate), folder.join(files.key))
}

fn base(store: Store, image: Component) -> Container {
    Container {
        service: store.name().to_owned(),
        role: Role::Store,
        cameras: Vec::new(),
        image,
        command: Vec::new(),
        environment: BTreeMap::new(),
        scratch: vec!["/tmp".into()],
        networks: vec![NETWORK.to_owned()],
        // A folder, not its files: what is renewed in it is seen.
        mounts: vec![mount(
            Inputs::layout().certificate(store.name()),
            MountAccess::Read,
        )],
        published: None,
        config: None,
        health: Vec::new(),
        limits: Limits {
            memory_mib: 64,
            cpu_milli: 500,
            pids: 64,
        },
    }
}

fn minio(inputs: &Inputs<'_>) -> Container {
    let mut minio = base(Store::Minio, Component::Minio);
    let (user, password) = (
        inputs.secret("minio-root-user"),
        inputs.secret("minio-root-password"),
    );
    let port = Store::Minio.port();
    let certificates = Inputs::layout().certificate(Store::Minio.name());
    minio.command = words([
        "server",
        "--address",
        &format!(":{port}"),
        "--certs-dir",
        certificates.as_str(),
        "/data",
    ]);
    minio.environment = [
        ("MINIO_ROOT_USER_FILE", user.as_str()),
        ("MINIO_ROOT_PASSWORD_FILE", password.as_str()),
        // Its web console and its question for updates are nobody's here.
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    minio.mounts.extend([
        mount(user, MountAccess::Read),
        mount(password, MountAccess::Read),
        mount(Inputs::layout().trust(), MountAccess::Read),
        data(Store::Minio, "/data"),
    ]);
    minio.health = words([
        "curl",
        "--fail",
        "--silent",
        "--show-error",
        "--cacert",
        Inputs::layout().trust().join("ca.crt").as_str(),
        &format!("https://localhost:{port}/minio/health/live"),
    ]);
    minio.limits = Limits {
        // It holds several parts of each upload in memory, and refuses work below its own idea of
        // enough.
        memory_mib: 1024,
        cpu_milli: 2000,
        pids: 512,
    };
    minio
}

/// FerretDB 1 with SQLite has users in an experiment only, so it lets one certificate in: the vault's,
/// which is named as if it were an authority. Others of the site's authority are refused.
fn ferretdb() -> Container {
    let mut ferretdb = base(Store::Ferretdb, Component::Ferretdb);
    let (certificate, key) = certificate(Store::Ferretdb);
    let identity = Inputs::layout().certificate(IDENTITY).join("tls.crt");
    let port = Store::Ferretdb.port();
    ferretdb.environment = [
        ("FERRETDB_HANDLER", "sqlite"),
        ("FERRETDB_SQLITE_URL", "file:/state/"),
        ("FERRETDB_STATE_DIR", "/state"),
        ("FERRETDB_LISTEN_TLS", &format!(":{port}")),
        ("FERRETDB_LISTEN_TLS_CERT_FILE", certificate.as_str()),
        ("FERRETDB_LISTEN_TLS_KEY_FILE", key.as_str()),
        ("FERRETDB_LISTEN_TLS_CA_FILE", identity.as_str()),
        // For its own health check, and to be seen from nowhere else.
        ("FERRETDB_LISTEN_ADDR", "127.0.0.1:27018"),
        ("FERRETDB_DEBUG_ADDR", "127.0.0.1:8088"),
        ("FERRETDB_TELEMETRY", "disable"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    ferretdb.mounts.extend([
        mount(identity, MountAccess::Read),
        data(Store::Ferretdb, "/state"),
    ]);
    ferretdb.health = words(["/ferretdb", "ping"]);
    ferretdb.limits = Limits {
        // It reads every document for most questions.
        memory_mib: 512,
        cpu_milli: 1000,
        pids: 128,
    };
    ferretdb
}

fn mosquitto(inputs: &Inputs<'_>) -> Container {
    let mut mosquitto = base(Store::Mosquitto, Component::Mosquitto);
    let passwords = inputs.secret("mosquitto-passwords");
    let (certificate, key) = certificate(Store::Mosquitto);
    let port = Store::Mosquitto.port();
    let config = file(
        "mosquitto.conf",
        &[
            format!("listener {port}"),
            format!("certfile {certificate}"),
            format!("keyfile {key}"),
            "allow_anonymous false".to_owned(),
            format!("password_file {passwords}"),
            "persistence true".to_owned(),
            "persistence_location /mosquitto/data/".to_owned(),
            "log_dest stdout".to_owned(),
        ],
    );
    mosquitto.command = words(["/usr/sbin/mosquitto", "-c", config.path.as_str()]);
    // Its image declares a volume for logs, too.
    mosquitto.scratch.push("/mosquitto/log".into());
    mosquitto.mounts.extend([
        mount(config.path.clone(), MountAccess::Read),
        mount(passwords, MountAccess::Read),
        data(Store::Mosquitto, "/mosquitto/data"),
    ]);
    // It listens once configuration, passwords and certificate were read. Not every BusyBox knows
    // `-z`; without input this ends as soon as it is connected.
    mosquitto.health = words(["nc", "-w", "3", "localhost", &port.to_string()]);
    mosquitto.config = Some(config);
    mosquitto
}

fn rabbitmq(inputs: &Inputs<'_>) -> Container {
    let mut rabbitmq = base(Store::Rabbitmq, Component::Rabbitmq);
    let users = inputs.secret("rabbitmq-users");
    let (certificate, key) = certificate(Store::Rabbitmq);
    let trust = Inputs::layout().trust();
    let port = Store::Rabbitmq.port();
    let config = file(
        "rabbitmq.conf",
        &[
            "listeners.tcp = none".to_owned(),
            format!("listeners.ssl.default = {port}"),
            format!("ssl_options.cacertfile = {}", trust.join("ca.crt")),
            format!("ssl_options.certfile = {certificate}"),
            format!("ssl_options.keyfile = {key}"),
            // Clients show a login, not a certificate.
            "ssl_options.verify = verify_none".to_owned(),
            "ssl_options.fail_if_no_peer_cert = false".to_owned(),
            // With definitions it makes no user `guest` of its own.
            format!("load_definitions = {users}"),
            "log.console = true".to_owned(),
            "log.file = false".to_owned(),
        ],
    );
    rabbitmq.command = words(["rabbitmq-server"]);
    rabbitmq.environment = [
        ("RABBITMQ_CONFIG_FILE", config.path.as_str()),
        // Plugins listen without TLS, and none is needed.
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "/dev/null"),
        // Nodes talk to nobody: there is one, and its own tools are beside it.
        ("RABBITMQ_NODENAME", "rabbit@localhost"),
        ("ERL_EPMD_ADDRESS", "127.0.0.1"),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    rabbitmq
        .scratch
        .push(Utf8Path::new("/var/log/rabbitmq").into());
    rabbitmq.mounts.extend([
        mount(config.path.clone(), MountAccess::Read),
        mount(users, MountAccess::Read),
        mount(trust, MountAccess::Read),
        data(Store::Rabbitmq, "/var/lib/rabbitmq"),
    ]);
    rabbitmq.health = words([
        "rabbitmq-diagnostics",
        "--quiet",
        "check_port_listener",
        &port.to_string(),
    ]);
    rabbitmq.config = Some(config);
    rabbitmq.limits = Limits {
        // It stops taking messages at four tenths of this.
        memory_mib: 768,
        cpu_milli: 1000,
        pids: 256,
    };
    rabbitmq
}
