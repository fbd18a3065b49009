//! The catalogue as one file of SQLite, for one vault.

mod ballast;
mod schema;

use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::Utf8Path;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, params};
use vault_api::{Event, Page, Recording};

use self::ballast::Ballast;
use crate::page::page;
use crate::{Added, Catalogue, CatalogueError, NewRecording, PageToken, Totals, taken_by_all};

fn query(operation: &'static str) -> impl Fn(rusqlite::Error) -> CatalogueError {
    move |source| CatalogueError::Query { operation, source }
}

/// The open file.
#[derive(Debug)]
pub struct SqliteCatalogue {
    connection: Mutex<Connection>,
    site: String,
    ballast: Ballast,
}

impl SqliteCatalogue {
    /// Opens or makes the file, brings it to the newest tables and checks it.
    pub fn open(path: &Utf8Path, site: &str) -> Result<Self, CatalogueError> {
        let ballast = Ballast::beside(path);
        let mut opened = Self::open_file(path);
        if matches!(&opened, Err(error) if error.is_full()) && ballast.drop() {
            opened = Self::open_file(path);
        }
        Ok(Self {
            connection: Mutex::new(opened?),
            site: site.to_owned(),
            ballast,
        })
    }

    fn open_file(path: &Utf8Path) -> Result<Connection, CatalogueError> {
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => CatalogueError::Damaged {
                path: path.to_owned(),
                report: source.to_string(),
            },
            _ => CatalogueError::Open {
                path: path.to_owned(),
                source,
            },
        };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        // An acknowledged recording has to survive a power cut.
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(failed)?;
        // A container may have no folder for temporary files.
        connection
            .pragma_update(None, "temp_store", "MEMORY")
            .map_err(failed)?;
        connection
            .busy_timeout(std::time::Duration::from_secs(10))
            .map_err(failed)?;
        let found: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;
        let known = schema::newest();
        if found > known {
            return Err(CatalogueError::Newer {
                path: path.to_owned(),
                found,
                known,
            });
        }
        let report: String = connection
            .pragma_query_value(None, "quick_check", |row| row.get(0))
            .map_err(failed)?;
        if report != "ok" {
            return Err(CatalogueError::Damaged {
                path: path.to_owned(),
                report,
            });
        }
        schema::migrate(&mut connection).map_err(failed)?;
        Ok(connection)
    }

    /// A panic elsewhere leaves the file as its last transaction did.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn try_expire(&self, recording: &Recording, now_ms: i64) -> Result<(), CatalogueError> {
        let mut connection = self.connection();
        let failed = query("remove a recording from");
        let site = self.site.clone();
        let transaction = connection.transaction().map_err(&failed)?;
        let removed = transaction
            .execute("DELETE FROM recordings WHERE id = ?1", [recording.id])
            .map_err(&failed)?;
        if removed > 0 {
            tell(&transaction, &site, "recording.expired", now_ms, recording)?;
        }
        transaction.commit().map_err(&failed)
    }
}

impl Catalogue for SqliteCatalogue {
    fn probe(&self) -> Result<(), CatalogueError> {
        self.totals().map(|_| ())
    }

    fn keep_room(&self) {
        self.ballast.lay();
    }

    fn verify(&self) -> Result<(), CatalogueError> {
        let connection = self.connection();
        let report: String = connection
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .map_err(query("check"))?;
        if report == "ok" {
            return Ok(());
        }
        Err(CatalogueError::Damaged {
            path: connection.path().unwrap_or_default().into(),
            report,
        })
    }

    fn start_at(&self, number: i64) -> Result<(), CatalogueError> {
        let connection = self.connection();
        let sql = "INSERT INTO sqlite_sequence (name, seq) \
                   SELECT column1, ?1 FROM (VALUES ('recordings'), ('outbox')) \
                   WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence)";
        let done = connection.execute(sql, [number]);
        done.map(|_| ()).map_err(query("number"))
    }

    fn add(&self, new: &NewRecording) -> Result<Added, CatalogueError> {
        let mut connection = self.connection();
        let failed = query("add a recording to");
        let site = self.site.clone();
        let transaction = connection.transaction().map_err(&failed)?;
        if let Some(found) = by_key(&transaction, &new.account, &new.key).map_err(&failed)? {
            let Some(whole) = new.completes(&found) else {
                return Ok(Added::Duplicate(found));
            };
            let sql = "UPDATE recordings SET camera = ?2, start_ms = ?3, duration_ms = ?4, \
                       sha256 = ?5 WHERE id = ?1";
            let values = params![
                whole.id,
                whole.camera,
                whole.start_ms,
                whole.duration_ms,
                whole.sha256
            ];
            transaction.execute(sql, values).map_err(&failed)?;
            transaction.commit().map_err(&failed)?;
            return Ok(Added::Duplicate(whole));
        }
        transaction
            .execute(
                "INSERT INTO recordings (account, key, camera, start_ms, duration_ms, bytes, \
                 sha256, stored_ms, location) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    new.account,
                    new.key,
                    new.camera,
                    new.start_ms,
                    new.duration_ms,
                    new.bytes,
                    new.sha256,
                    new.stored_ms,
                    new.location
                ],
            )
            .map_err(&failed)?;
        let recording = new.with_id(transaction.last_insert_rowid());
        tell(
            &transaction,
            &site,
            "recording.stored",
            new.stored_ms,
            &recording,
        )?;
        transaction.commit().map_err(&failed)?;
        Ok(Added::New(recording))
    }

    fn expire(&self, recording: &Recording, now_ms: i64) -> Result<(), CatalogueError> {
        match self.try_expire(recording, now_ms) {
            Err(error) if error.is_full() && self.ballast.drop() => {
                self.try_expire(recording, now_ms)
            }
            other => other,
        }
    }

    fn by_key(&self, account: &str, key: &str) -> Result<Option<Recording>, CatalogueError> {
        let connection = self.connection();
        by_key(&connection, account, key).map_err(query("look into"))
    }

    fn by_id(&self, id: i64) -> Result<Option<Recording>, CatalogueError> {
        let connection = self.connection();
        connection
            .query_row("SELECT * FROM recordings WHERE id = ?1", [id], recording)
            .optional()
            .map_err(query("look into"))
    }

    fn page(
        &self,
        camera: Option<&str>,
        after: Option<PageToken>,
        limit: usize,
    ) -> Result<Page, CatalogueError> {
        let connection = self.connection();
        let failed = query("list");
        let before = after.unwrap_or(PageToken {
            start_ms: i64::MAX,
            id: i64::MAX,
        });
        let sql = match camera {
            Some(_) => {
                "SELECT * FROM recordings WHERE camera = ?4 AND (start_ms, id) < (?1, ?2) \
                 ORDER BY start_ms DESC, id DESC LIMIT ?3"
            }
            None => {
                "SELECT * FROM recordings WHERE (start_ms, id) < (?1, ?2) \
                 ORDER BY start_ms DESC, id DESC LIMIT ?3"
            }
        };
        let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
        let rows = match camera {
            Some(camera) => statement.query_map(
                params![before.start_ms, before.id, limit_sql, camera],
                recording,
            ),
            None => statement.query_map(params![before.start_ms, before.id, limit_sql], recording),
        };
        let recordings: Vec<_> = rows
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(&failed)?;
        Ok(page(recordings, limit))
    }

    fn oldest(&self, limit: usize) -> Result<Vec<Recording>, CatalogueError> {
        let connection = self.connection();
        let failed = query("list");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = connection
            .prepare_cached("SELECT * FROM recordings ORDER BY start_ms, id LIMIT ?1")
            .map_err(&failed)?;
        statement
            .query_map([limit], recording)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(&failed)
    }

    fn totals(&self) -> Result<Totals, CatalogueError> {
        let connection = self.connection();
        let sql = "SELECT recordings, bytes, (SELECT min(start_ms) FROM recordings), \
                   (SELECT max(start_ms) FROM recordings) FROM totals";
        let totals = |row: &Row<'_>| {
            Ok(Totals {
                recordings: row.get(0)?,
                bytes: row.get(1)?,
                oldest_ms: row.get(2)?,
                newest_ms: row.get(3)?,
            })
        };
        connection
            .query_row(sql, [], totals)
            .map_err(query("sum up"))
    }

    fn events(
        &self,
        seq: i64,
        of: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Event>, CatalogueError> {
        let connection = self.connection();
        let failed = query("read events of");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, body FROM outbox WHERE seq > ?1 AND (?2 IS NULL OR recording = ?2) \
                 ORDER BY seq LIMIT ?3",
            )
            .map_err(&failed)?;
        let rows: Vec<(i64, String)> = statement
            .query_map(params![seq, of, limit], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(&failed)?;
        rows.into_iter()
            .map(|(seq, body)| {
                let event: Event = serde_json::from_str(&body).map_err(CatalogueError::Event)?;
                Ok(Event { seq, ..event })
            })
            .collect()
    }

    /// Nobody else has this file open.
    fn claim(&self, _integration: &str) -> Result<bool, CatalogueError> {
        Ok(true)
    }

    fn delivered(&self, integration: &str) -> Result<i64, CatalogueError> {
        let connection = self.connection();
        let sql = "SELECT seq FROM deliveries WHERE integration = ?1";
        let found = connection
            .query_row(sql, [integration], |row| row.get(0))
            .optional();
        Ok(found.map_err(query("read deliveries of"))?.unwrap_or(0))
    }

    fn deliver(&self, integration: &str, seq: i64) -> Result<(), CatalogueError> {
        let connection = self.connection();
        let sql = "INSERT INTO deliveries VALUES (?1, ?2) \
                   ON CONFLICT (integration) DO UPDATE SET seq = max(seq, excluded.seq)";
        let done = connection.execute(sql, params![integration, seq]);
        done.map(|_| ()).map_err(query("note a delivery in"))
    }

    fn undelivered(&self, integrations: &[String]) -> Result<u64, CatalogueError> {
        let least = taken_by_all(self, integrations)?;
        let sql = "SELECT count(*) FROM outbox WHERE seq > ?1";
        let count: i64 = self
            .connection()
            .query_row(sql, [least], |row| row.get(0))
            .map_err(query("count events of"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn forget(&self, before_ms: i64, integrations: &[String]) -> Result<(), CatalogueError> {
        let least = taken_by_all(self, integrations)?;
        let sql = "DELETE FROM outbox WHERE at_ms < ?1 AND seq <= ?2";
        let done = self.connection().execute(sql, params![before_ms, least]);
        done.map(|_| ()).map_err(query("forget events of"))
    }

    fn close(&self) -> Result<(), CatalogueError> {
        self.connection()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(query("close"))
    }
}

fn by_key(
    connection: &Connection,
    account: &str,
    key: &str,
) -> rusqlite::Result<Option<Recording>> {
    let sql = "SELECT * FROM recordings WHERE account = ?1 AND key = ?2";
    connection
        .query_row(sql, [account, key], recording)
        .optional()
}

fn recording(row: &Row<'_>) -> rusqlite::Result<Recording> {
    Ok(Recording {
        id: row.get("id")?,
        key: row.get("key")?,
        account: row.get("account")?,
        camera: row.get("camera")?,
        start_ms: row.get("start_ms")?,
        duration_ms: row.get("duration_ms")?,
        bytes: row.get("bytes")?,
        sha256: row.get("sha256")?,
        stored_ms: row.get("stored_ms")?,
        location: row.get("location")?,
    })
}

/// Puts an event into the outbox; its number is known when it is read.
fn tell(
    transaction: &Transaction<'_>,
    site: &str,
    kind: &str,
    at_ms: i64,
    recording: &Recording,
) -> Result<(), CatalogueError> {
    let event = Event {
        seq: 0,
        kind: kind.to_owned(),
        site: site.to_owned(),
        at_ms,
        recording: recording.clone(),
    };
    let body = serde_json::to_string(&event).map_err(CatalogueError::Event)?;
    transaction
        .execute(
            "INSERT INTO outbox (kind, at_ms, recording, body) VALUES (?1, ?2, ?3, ?4)",
            params![kind, at_ms, recording.id, body],
        )
        .map(|_| ())
        .map_err(query("tell of a recording in"))
}

#[cfg(test)]
mod tests;
