//! Which recordings there are, and which events still have to be told: in a file of SQLite, or in
//! a database that speaks MongoDB's protocol and that several vaults may share.
//!
//! Invariant: a recording and the event that tells of it are written at once, and both are on disk
//! when the call returns. It must not know where objects lie or who hears of events.
//! Start at [`Catalogue`].

mod mongo;
mod page;
mod sqlite;

use std::fmt::Debug;

use camino::Utf8PathBuf;
use rusqlite::{ErrorCode, ffi};
use vault_api::{Event, Page, Recording};

pub use mongo::{MongoCatalogue, MongoLogin, MongoSettings};
pub use page::{NotAToken, PageToken};
pub use sqlite::SqliteCatalogue;

/// A recording that is not in the catalogue yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecording {
    pub account: String,
    /// `<directory>/<file name>`.
    pub key: String,
    pub camera: String,
    /// Unix milliseconds.
    pub start_ms: i64,
    pub duration_ms: i64,
    pub bytes: i64,
    pub sha256: Option<String>,
    pub stored_ms: i64,
    pub location: String,
}

impl NewRecording {
    fn with_id(&self, id: i64) -> Recording {
        Recording {
            id,
            key: self.key.clone(),
            account: self.account.clone(),
            camera: self.camera.clone(),
            start_ms: self.start_ms,
            duration_ms: self.duration_ms,
            bytes: self.bytes,
            sha256: self.sha256.clone(),
            stored_ms: self.stored_ms,
            location: self.location.clone(),
        }
    }
}

impl NewRecording {
    /// The same recording as it is known, with what was not known of it: whoever found its object has
    /// no checksum, and only its name to tell camera and times. Nothing where nothing was missing.
    fn completes(&self, known: &Recording) -> Option<Recording> {
        let missing = known.sha256.is_none() && self.sha256.is_some() && known.bytes == self.bytes;
        missing.then(|| Recording {
            camera: self.camera.clone(),
            start_ms: self.start_ms,
            duration_ms: self.duration_ms,
            sha256: self.sha256.clone(),
            ..known.clone()
        })
    }
}

/// What adding a recording came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    New(Recording),
    /// It was there already, as it is now: what was not known of it was written. Nothing is told
    /// again.
    Duplicate(Recording),
}

/// Sums over all recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub recordings: i64,
    pub bytes: i64,
    /// Unix milliseconds of the oldest and the newest.
    pub oldest_ms: Option<i64>,
    pub newest_ms: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("cannot open the catalogue `{path}`")]
    Open {
        path: Utf8PathBuf,
        source: rusqlite::Error,
    },
    #[error("the catalogue `{path}` is damaged, `rebuild` makes it anew: {report}")]
    Damaged { path: Utf8PathBuf, report: String },
    #[error("a document of the catalogue in database `{database}` cannot be read")]
    Document {
        database: String,
        source: Box<mongodb::error::Error>,
    },
    #[error("the address of the catalogue's database cannot be used")]
    Address(#[source] Box<mongodb::error::Error>),
    #[error("cannot {operation} the catalogue in database `{database}`")]
    Remote {
        operation: &'static str,
        database: String,
        source: Box<mongodb::error::Error>,
    },
    #[error("too many vaults write to the catalogue in database `{database}` at once")]
    Crowded { database: String },
    #[error("the catalogue `{path}` has version {found}; this vault reads up to {known}")]
    Newer {
        path: Utf8PathBuf,
        found: i64,
        known: i64,
    },
    #[error("cannot {operation} the catalogue")]
    Query {
        operation: &'static str,
        source: rusqlite::Error,
    },
    #[error("an event in the catalogue cannot be read")]
    Event(#[source] serde_json::Error),
}

impl CatalogueError {
    /// A database elsewhere cannot be used now; the same call may well succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Remote { .. } | Self::Crowded { .. })
    }

    /// The disk has no room.
    pub fn is_full(&self) -> bool {
        let (Self::Open { source, .. } | Self::Query { source, .. }) = self else {
            return false;
        };
        let Some(error) = source.sqlite_error() else {
            return false;
        };
        // The journal's index reports a lack of room in its own words.
        error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    }
}

/// What every catalogue does. Calls block; a server runs them beside its event loop.
pub trait Catalogue: Debug + Send + Sync {
    /// It is on another machine: it may be away at any time, and other vaults may use it too.
    fn is_remote(&self) -> bool {
        false
    }

    /// Fails when it could not be asked now.
    fn probe(&self) -> Result<(), CatalogueError>;

    /// Keeps room on the disk for [`Catalogue::expire`], where there is room to keep.
    fn keep_room(&self) {}

    /// Reads all of it, which opening does not.
    fn verify(&self) -> Result<(), CatalogueError>;

    /// Numbers events (and recordings, in a file) from `number` on, where none was ever numbered.
    fn start_at(&self, number: i64) -> Result<(), CatalogueError>;

    /// Adds a recording and the event that tells of it, once per account and key. Of one that is
    /// there without a checksum, what is missing is written.
    fn add(&self, new: &NewRecording) -> Result<Added, CatalogueError>;

    /// Takes a recording out, and tells of that; also where the disk has no room left.
    fn expire(&self, recording: &Recording, now_ms: i64) -> Result<(), CatalogueError>;

    fn by_key(&self, account: &str, key: &str) -> Result<Option<Recording>, CatalogueError>;

    fn by_id(&self, id: i64) -> Result<Option<Recording>, CatalogueError>;

    /// Recordings newest first, of one camera or of all.
    fn page(
        &self,
        camera: Option<&str>,
        after: Option<PageToken>,
        limit: usize,
    ) -> Result<Page, CatalogueError>;

    /// The oldest recordings first.
    fn oldest(&self, limit: usize) -> Result<Vec<Recording>, CatalogueError>;

    /// What another vault did may be missing in it for some minutes.
    fn totals(&self) -> Result<Totals, CatalogueError>;

    /// The next sums miss nothing.
    fn recount(&self) {}

    /// Events after a number in order, of one recording or of all.
    fn events(&self, seq: i64, of: Option<i64>, limit: usize)
    -> Result<Vec<Event>, CatalogueError>;

    /// Whether this vault is the one that tells an integration of events, for the next seconds.
    fn claim(&self, integration: &str) -> Result<bool, CatalogueError>;

    /// The last event that an integration has taken; 0 before the first.
    fn delivered(&self, integration: &str) -> Result<i64, CatalogueError>;

    /// Remembers that an integration has taken everything up to `seq`.
    fn deliver(&self, integration: &str, seq: i64) -> Result<(), CatalogueError>;

    /// Events that at least one of the integrations has not taken.
    fn undelivered(&self, integrations: &[String]) -> Result<u64, CatalogueError>;

    /// Forgets events that happened before `before_ms` and were taken by all.
    fn forget(&self, before_ms: i64, integrations: &[String]) -> Result<(), CatalogueError>;

    /// The process is about to end: others need not wait, and a file can be copied by itself.
    fn close(&self) -> Result<(), CatalogueError>;
}

/// The number before which every integration has taken everything.
fn taken_by_all(catalogue: &dyn Catalogue, integrations: &[String]) -> Result<i64, CatalogueError> {
    let mut least = i64::MAX;
    for integration in integrations {
        least = least.min(catalogue.delivered(integration)?);
    }
    Ok(least)
}
