//! The catalogue as its callers see it, on every store that can keep one.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod conformance;
mod mongo;

use camino::Utf8PathBuf;
use vault_catalogue::{Catalogue, MongoCatalogue, MongoSettings, NewRecording, SqliteCatalogue};
use vault_testkit::Ferretdb;

pub(crate) fn new(camera: &str, n: i64) -> NewRecording {
    NewRecording {
        account: "a".into(),
        key: format!("a/{n}_{camera}.mp4"),
        camera: camera.into(),
        start_ms: n * 1000,
        duration_ms: 1000,
        bytes: 10,
        sha256: None,
        stored_ms: n * 1000 + 5,
        location: format!("/x/{n}"),
    }
}

/// Where a catalogue is, so that it can be opened again.
pub(crate) enum Place {
    File(tempfile::TempDir),
    Database(Ferretdb, String),
}

impl Place {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(crate) fn database() -> Self {
        Self::Database(Ferretdb::start(), "one".to_owned())
    }

    pub(crate) fn open(&self) -> Box<dyn Catalogue> {
        match self {
            Self::File(folder) => {
                let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
                Box::new(SqliteCatalogue::open(&path, "site").unwrap())
            }
            Self::Database(server, name) => Box::new(open(server, name)),
        }
    }
}

pub(crate) fn settings(server: &Ferretdb, database: &str) -> MongoSettings {
    MongoSettings {
        uri: server.part.url.clone(),
        database: database.to_owned(),
        login: None,
        tls: false,
        ca_file: None,
        identity: None,
    }
}

pub(crate) fn open(server: &Ferretdb, database: &str) -> MongoCatalogue {
    MongoCatalogue::new(&settings(server, database), "site").unwrap()
}
