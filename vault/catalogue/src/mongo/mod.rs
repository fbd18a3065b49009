//! The catalogue in a database that speaks MongoDB's protocol, for one vault or several.
//!
//! There are no transactions, which `FerretDB` 1 does not have: a recording is one document that
//! also says what still has to be told of it, and every step can be done again.

mod document;
mod outbox;
mod settings;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mongodb::IndexModel;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{
    Acknowledgment, ClientOptions, Credential, IndexOptions, ReadConcern, ReadPreference,
    SelectionCriteria, Tls, TlsOptions, WriteConcern,
};
use mongodb::sync::{Client, Collection};
use rustix::fs::{MemfdFlags, memfd_create};
use vault_api::{Event, Page, Recording};

pub use self::settings::{MongoLogin, MongoSettings};

use self::document::{
    Claim, Delivery, Kept, Numbers, Told, event_id, recording_id, recording_key, there,
};
use crate::page::page;
use crate::{Added, Catalogue, CatalogueError, NewRecording, PageToken, Totals, taken_by_all};

/// An agent waits for its answer meanwhile, and a health check of ours gives up after 3 s.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Of a vault that ended without a word, another takes the deliveries over after so long.
const LEASE_MS: i64 = 30_000;
/// Sums of everything are costly there; what others add is noticed after so long.
const SUMS_FRESH: Duration = Duration::from_mins(5);
/// Names with the same number that are told apart.
const PROBES: u64 = 4;
/// The one document of its collection.
const NUMBERS: &str = "events";
/// Documents removed at once.
const BATCH: usize = 1000;

/// A database of documents.
pub struct MongoCatalogue {
    site: String,
    database: String,
    recordings: Collection<Kept>,
    events: Collection<Told>,
    deliveries: Collection<Delivery>,
    claims: Collection<Claim>,
    numbers: Collection<Numbers>,
    commands: mongodb::sync::Database,
    /// The driver reads it by its path, for every connection that it makes anew.
    _identity: Option<File>,
    /// Who we are to other vaults.
    holder: String,
    /// Indexes are there, and so is the highest number.
    prepared: AtomicBool,
    /// The highest number of an event that we gave.
    seen: AtomicI64,
    /// Integrations that are ours to tell, and until when.
    leases: Mutex<BTreeMap<String, i64>>,
    sums: Mutex<Option<(Instant, Totals)>>,
}

impl std::fmt::Debug for MongoCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoCatalogue")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl MongoCatalogue {
    /// Judges the settings; the database is not asked before the first call.
    pub fn new(settings: &MongoSettings, site: &str) -> Result<Self, CatalogueError> {
        let address = |error: Error| CatalogueError::Address(Box::new(error));
        let options = ClientOptions::parse(&settings.uri).run();
        let mut options = options.map_err(address)?;
        options.app_name = Some("stakeout-vault".to_owned());
        options.server_selection_timeout = Some(PATIENCE);
        options.connect_timeout = Some(PATIENCE);
        // What was read must not be taken back by an election, and what was written neither.
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.read_concern = Some(ReadConcern::majority());
        let concern = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(PATIENCE);
        options.write_concern = Some(concern.build());
        if let Some(login) = &settings.login {
            let source = options.default_database.clone();
            let credential = Credential::builder()
                .username(login.user.clone())
                .password(login.password.clone())
                .source(source.or_else(|| Some("admin".to_owned())));
            options.credential = Some(credential.build());
        }
        let identity = settings.identity.as_deref().map(in_memory).transpose();
        let identity = identity.map_err(|error| address(error.into()))?;
        if settings.tls {
            let tls = TlsOptions::builder()
                .ca_file_path(settings.ca_file.clone().map(Into::into))
                .cert_key_file_path(identity.as_ref().map(|(path, _)| path.clone()));
            options.tls = Some(Tls::Enabled(tls.build()));
        }
        let client = Client::with_options(options).map_err(address)?;
        let database = client.database(&settings.database);
        Ok(Self {
            site: site.to_owned(),
            database: settings.database.clone(),
            recordings: database.collection("recordings"),
            events: database.collection("events"),
            deliveries: database.collection("deliveries"),
            claims: database.collection("claims"),
            numbers: database.collection("numbers"),
            commands: database,
            _identity: identity.map(|(_, file)| file),
            holder: ObjectId::new().to_hex(),
            prepared: AtomicBool::new(false),
            seen: AtomicI64::new(0),
            leases: Mutex::default(),
            sums: Mutex::default(),
        })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(Error) -> CatalogueError {
        let database = self.database.clone();
        move |source| {
            let (database, source) = (database.clone(), Box::new(source));
            match *source.kind {
                ErrorKind::Bson(_) => CatalogueError::Document { database, source },
                _ => CatalogueError::Remote {
                    operation,
                    database,
                    source,
                },
            }
        }
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sums(&self) -> MutexGuard<'_, Option<(Instant, Totals)>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is missing, once per process and as soon as the database answers.
    fn prepare(&self) -> Result<(), CatalogueError> {
        if self.prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let index = |keys: Document, name: &str, unique: bool| {
            let options = IndexOptions::builder().name(name.to_owned()).unique(unique);
            IndexModel::builder()
                .keys(keys)
                .options(options.build())
                .build()
        };
        let failed = self.failed("prepare");
        let recordings = [
            index(
                doc! { "gone_ms": 1, "start_ms": 1, "_id": 1 },
                "time",
                false,
            ),
            index(
                doc! { "gone_ms": 1, "camera": 1, "start_ms": 1, "_id": 1 },
                "camera",
                false,
            ),
            index(doc! { "told": 1 }, "told", false),
        ];
        let events = [
            index(doc! { "once": 1 }, "once", true),
            index(doc! { "event.recording.id": 1 }, "recording", false),
            index(doc! { "event.at_ms": 1 }, "time", false),
        ];
        // One by one: FerretDB 1 ends the connection where several of a list are there already.
        for one in recordings {
            self.recordings.create_index(one).run().map_err(&failed)?;
        }
        for one in events {
            self.events.create_index(one).run().map_err(&failed)?;
        }
        self.count_on()?;
        self.settle_all()?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// The document of a name, or the number that it may have.
    fn find(&self, account: &str, key: &str) -> Result<Result<Kept, i64>, CatalogueError> {
        self.prepare()?;
        for probe in 0..PROBES {
            let id = recording_id(account, key, probe);
            match self.find_id(id)? {
                Some(kept) if kept.is(account, key) => return Ok(Ok(kept)),
                Some(_) => {}
                None => return Ok(Err(id)),
            }
        }
        Err(CatalogueError::Crowded {
            database: self.database.clone(),
        })
    }

    fn find_id(&self, id: i64) -> Result<Option<Kept>, CatalogueError> {
        let found = self.recordings.find_one(doc! { "_id": recording_key(id) });
        found.run().map_err(self.failed("look into"))
    }

    /// Before it is settled: what was not told of yet is told of with everything that is known.
    fn complete(&self, kept: &mut Kept, new: &NewRecording) -> Result<(), CatalogueError> {
        let Some(whole) = new.completes(&kept.recording) else {
            return Ok(());
        };
        let known = doc! { "$set": {
            "camera": &whole.camera,
            "start_ms": whole.start_ms,
            "duration_ms": whole.duration_ms,
            "sha256": &whole.sha256,
        } };
        let there = doc! { "_id": &kept.id, "gone_ms": 0_i64 };
        let done = self.recordings.update_one(there, known).run();
        done.map_err(self.failed("add what was missing to"))?;
        kept.recording = whole;
        Ok(())
    }

    fn list(
        &self,
        filter: Document,
        order: i32,
        limit: usize,
    ) -> Result<Vec<Recording>, CatalogueError> {
        let failed = self.failed("list");
        let rows = self
            .recordings
            .find(filter)
            .sort(doc! { "start_ms": order, "_id": order })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .run()
            .map_err(&failed)?;
        rows.map(|row| Ok(row.map_err(&failed)?.recording))
            .collect()
    }

    fn sum_up(&self) -> Result<Totals, CatalogueError> {
        let failed = self.failed("sum up");
        // FerretDB 1 adds up only the first sum of a group, so the other one is a count.
        let count = self.recordings.count_documents(there()).run();
        let count = count.map_err(&failed)?;
        let sum = [
            doc! { "$match": there() },
            doc! { "$group": { "_id": null, "bytes": { "$sum": "$bytes" } } },
        ];
        let mut rows = self.recordings.aggregate(sum).run().map_err(&failed)?;
        let row = rows.next().transpose().map_err(&failed)?;
        let bytes = row.and_then(|row| row.get_i64("bytes").ok());
        let edge = |order| {
            let found = self.list(there(), order, 1)?;
            Ok(found.first().map(|recording| recording.start_ms))
        };
        Ok(Totals {
            recordings: i64::try_from(count).unwrap_or(i64::MAX),
            bytes: bytes.unwrap_or(0),
            oldest_ms: edge(1)?,
            newest_ms: edge(-1)?,
        })
    }
}

impl Catalogue for MongoCatalogue {
    fn is_remote(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), CatalogueError> {
        let done = self.commands.run_command(doc! { "ping": 1 }).run();
        done.map_err(self.failed("reach"))?;
        self.prepare()
    }

    fn verify(&self) -> Result<(), CatalogueError> {
        self.prepare()?;
        let failed = self.failed("check");
        for kept in self.recordings.find(doc! {}).run().map_err(&failed)? {
            kept.map_err(&failed)?;
        }
        for told in self.events.find(doc! {}).run().map_err(&failed)? {
            told.map_err(&failed)?;
        }
        Ok(())
    }

    fn start_at(&self, number: i64) -> Result<(), CatalogueError> {
        self.prepare()?;
        match self.numbers()? {
            Some(_) => Ok(()),
            None => self.numbered(number),
        }
    }

    fn add(&self, new: &NewRecording) -> Result<Added, CatalogueError> {
        // Each turn another vault has taken the name or its number, or given it back.
        for _ in 0..PROBES {
            let id = match self.find(&new.account, &new.key)? {
                // Whoever began it may be gone.
                Ok(mut kept) if kept.gone_ms == 0 => {
                    self.complete(&mut kept, new)?;
                    self.settle(&kept)?;
                    return Ok(Added::Duplicate(kept.recording));
                }
                Ok(gone) => {
                    self.settle(&gone)?;
                    continue;
                }
                Err(free) => free,
            };
            let kept = Kept::new(new, id);
            match self.recordings.insert_one(&kept).run() {
                Err(error) if is_duplicate(&error) => continue,
                done => done.map_err(self.failed("add a recording to"))?,
            };
            self.settle(&kept)?;
            if let Some((_, sums)) = &mut *self.sums() {
                sums.recordings += 1;
                sums.bytes += new.bytes;
                let start = Some(new.start_ms);
                sums.oldest_ms = sums.oldest_ms.min(start).or(start);
                sums.newest_ms = sums.newest_ms.max(start);
            }
            return Ok(Added::New(kept.recording));
        }
        Err(CatalogueError::Crowded {
            database: self.database.clone(),
        })
    }

    fn expire(&self, recording: &Recording, now_ms: i64) -> Result<(), CatalogueError> {
        self.prepare()?;
        // Another one of the same name is not what is meant.
        let known = |kept: &Kept| kept.recording.stored_ms == recording.stored_ms;
        let Some(mut kept) = self.find_id(recording.id)?.filter(known) else {
            return Ok(());
        };
        if kept.gone_ms == 0 {
            kept.gone_ms = now_ms.max(1);
            let gone = doc! { "$set": { "gone_ms": kept.gone_ms } };
            let there = doc! { "_id": &kept.id, "gone_ms": 0_i64 };
            let done = self.recordings.update_one(there, gone).run();
            done.map_err(self.failed("remove a recording from"))?;
        }
        self.recount();
        self.settle(&kept)
    }

    fn by_key(&self, account: &str, key: &str) -> Result<Option<Recording>, CatalogueError> {
        let Ok(kept) = self.find(account, key)? else {
            return Ok(None);
        };
        // Whoever began it may be gone, and whoever asks may acknowledge it.
        self.settle(&kept)?;
        Ok((kept.gone_ms == 0).then_some(kept.recording))
    }

    fn by_id(&self, id: i64) -> Result<Option<Recording>, CatalogueError> {
        self.prepare()?;
        let found = self.find_id(id)?.filter(|kept| kept.gone_ms == 0);
        Ok(found.map(|kept| kept.recording))
    }

    fn page(
        &self,
        camera: Option<&str>,
        after: Option<PageToken>,
        limit: usize,
    ) -> Result<Page, CatalogueError> {
        self.prepare()?;
        let mut filter = there();
        if let Some(camera) = camera {
            filter.insert("camera", camera);
        }
        if let Some(PageToken { start_ms, id }) = after {
            let same = doc! { "start_ms": start_ms, "_id": { "$lt": recording_key(id) } };
            let before = doc! { "start_ms": { "$lt": start_ms } };
            filter.insert("$or", vec![before, same]);
        }
        Ok(page(self.list(filter, -1, limit)?, limit))
    }

    fn oldest(&self, limit: usize) -> Result<Vec<Recording>, CatalogueError> {
        self.prepare()?;
        self.list(there(), 1, limit)
    }

    fn totals(&self) -> Result<Totals, CatalogueError> {
        self.prepare()?;
        if let Some((at, sums)) = &*self.sums()
            && at.elapsed() < SUMS_FRESH
        {
            return Ok(*sums);
        }
        let sums = self.sum_up()?;
        *self.sums() = Some((Instant::now(), sums));
        Ok(sums)
    }

    fn recount(&self) {
        *self.sums() = None;
    }

    fn events(
        &self,
        seq: i64,
        of: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Event>, CatalogueError> {
        self.prepare()?;
        self.read_events(seq, of, limit)
    }

    fn claim(&self, integration: &str) -> Result<bool, CatalogueError> {
        self.prepare()?;
        self.lease(integration)
    }

    fn delivered(&self, integration: &str) -> Result<i64, CatalogueError> {
        Ok(self.delivery(integration)?.seq)
    }

    fn deliver(&self, integration: &str, seq: i64) -> Result<(), CatalogueError> {
        let taken = doc! { "$max": { "seq": seq } };
        let done = self
            .deliveries
            .update_one(doc! { "_id": integration }, taken);
        let done = done.upsert(true).run();
        done.map(|_| ()).map_err(self.failed("note a delivery in"))
    }

    fn undelivered(&self, integrations: &[String]) -> Result<u64, CatalogueError> {
        let least = taken_by_all(self, integrations)?;
        if self.last_number()? <= least {
            return Ok(0);
        }
        let after = doc! { "_id": { "$gt": event_id(least) } };
        let count = self.events.count_documents(after).run();
        count.map_err(self.failed("count events of"))
    }

    fn forget(&self, before_ms: i64, integrations: &[String]) -> Result<(), CatalogueError> {
        self.prepare()?;
        self.settle_all()?;
        let failed = self.failed("forget events of");
        let least = event_id(taken_by_all(self, integrations)?);
        let old = doc! { "event.at_ms": { "$lt": before_ms }, "_id": { "$lte": least } };
        loop {
            let rows = self.events.find(old.clone());
            let rows = rows.limit(i64::try_from(BATCH).unwrap_or(i64::MAX));
            let rows = rows.run().map_err(&failed)?;
            let ids = rows.map(|row| row.map(|told| told.id));
            let ids = ids.collect::<Result<Vec<_>, _>>().map_err(&failed)?;
            let full = ids.len() == BATCH;
            if !ids.is_empty() {
                let these = doc! { "_id": { "$in": ids } };
                self.events.delete_many(these).run().map_err(&failed)?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn close(&self) -> Result<(), CatalogueError> {
        self.release()
    }
}

/// A file that is on no disk: the driver takes certificate and key by a path alone.
fn in_memory(pem: &[u8]) -> io::Result<(PathBuf, File)> {
    let file = memfd_create("vault-identity", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(pem)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((path.into(), file))
}

fn is_duplicate(error: &Error) -> bool {
    /// `DuplicateKey`, in MongoDB's list of errors.
    const DUPLICATE: i32 = 11000;
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE,
        ErrorKind::Command(error) => error.code == DUPLICATE,
        _ => false,
    }
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
