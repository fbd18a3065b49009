//! The tables, one step per version; `PRAGMA user_version` tells which are there.

use rusqlite::Connection;

/// Steps in order; a step is never changed once it was released.
const STEPS: &[&str] = &["
CREATE TABLE recordings (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    camera      TEXT    NOT NULL,
    start_ms    INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    sha256      TEXT,
    stored_ms   INTEGER NOT NULL,
    location    TEXT    NOT NULL,
    UNIQUE (account, key)
);
CREATE INDEX recordings_by_time ON recordings (start_ms, id);
CREATE INDEX recordings_by_camera ON recordings (camera, start_ms, id);
CREATE TABLE outbox (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL,
    recording INTEGER NOT NULL,
    body      TEXT    NOT NULL
);
CREATE INDEX outbox_by_recording ON outbox (recording);
CREATE TABLE deliveries (
    integration TEXT    PRIMARY KEY,
    seq         INTEGER NOT NULL
);
CREATE TABLE totals (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    recordings INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 0, 0);
CREATE TRIGGER recording_added AFTER INSERT ON recordings BEGIN
    UPDATE totals SET recordings = recordings + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER recording_removed AFTER DELETE ON recordings BEGIN
    UPDATE totals SET recordings = recordings - 1, bytes = bytes - OLD.bytes;
END;
"];

/// Brings a file to the newest tables; each step is one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (number, step) in STEPS
        .iter()
        .enumerate()
        .skip(usize::try_from(version).unwrap_or(0))
    {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(number + 1).unwrap_or(i64::MAX),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

/// The newest version of the tables.
pub(crate) fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}
