//! `POST /api/storage`: a recording by its bytes, or by the path where it lies.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use camino::Utf8Path;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use vault_api::header::{
    CAMERA, DEVICE, DIRECTORY, DURATION, FILE_NAME, HANDOFF, SHA256, TIMESTAMP,
};
use vault_api::{Recording, Stored};
use vault_catalogue::Added;
use vault_storage::{RecordingName, StorageError, StoredObject, is_file_name};

use crate::problem::Refusal;
use crate::retention::make_room;
use crate::vault::{Announced, Vault, VaultError};

/// What is left of an upload that was answered already is read for so long.
const READ_ON: Duration = Duration::from_secs(30);
/// A client that sends nothing for so long is gone.
const QUIET: Duration = Duration::from_mins(1);

/// Unix milliseconds up to the year 9999; a recording outside of it would never be the oldest.
const TIMES: std::ops::Range<i64> = 0..253_402_300_800_000;

/// The keys are right.
pub(crate) async fn ping(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
) -> Result<&'static str, Refusal> {
    vault.keys.require_account(&headers)?;
    Ok("pong\n")
}

pub(crate) async fn store(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Refusal> {
    vault.keys.require_account(&headers)?;
    let mut body = body.into_data_stream();
    let answer = settle(&vault, &headers, &mut body).await;
    // A connection that closes while its client still sends loses the answer, and the client
    // sends the same again, for ever.
    let rest = async { while let Some(Ok(_)) = body.next().await {} };
    drop(timeout(READ_ON, rest).await);
    answer
}

async fn settle(
    vault: &Arc<Vault>,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Json<Stored>, Refusal> {
    let announced = announced(vault, headers)?;
    let (account, key) = (vault.account.clone(), announced.key.clone());
    let known = vault
        .ask(move |catalogue| catalogue.by_key(&account, &key))
        .await;
    let handoff = text(headers, HANDOFF);
    let mut known = known.map_err(|error| refusal(&error))?;
    if let Some(recording) = &known {
        let size = vault.provider.size(Utf8Path::new(&recording.location));
        let size = size.await.map_err(|error| refusal(&error.into()))?;
        // Where the object was lost, the copy that is offered now must not be turned away.
        if size.is_none() || size != u64::try_from(recording.bytes).ok() {
            known = None;
        }
    }
    if let Some(known) = known {
        // Whoever hears of a duplicate deletes what it has: other bytes are never one.
        match handoff {
            // The repeated file of an agent that did not hear our answer is of no more use.
            Some(source) => match take(vault, &known.key, source).await {
                Err(error @ StorageError::Exists { .. }) => return Err(refusal(&error.into())),
                Err(error) => tracing::debug!("a repeated hand-off was left alone: {error}"),
                Ok(_) => {}
            },
            None => {
                let sum = compare(vault, &known, body).await;
                let sum = sum.map_err(|error| refusal(&error.into()))?;
                if known.sha256.is_none() {
                    return complete(vault, announced, &known, sum).await;
                }
            }
        }
        return Ok(acknowledge(Added::Duplicate(known)));
    }
    let key = announced.key.as_str();
    let mut object = match handoff {
        Some(source) => take(vault, key, source).await,
        None => {
            let sum = text(headers, SHA256);
            vault.provider.put(key, body, sum).await
        }
    };
    if matches!(&object, Err(error) if error.is_full()) {
        make_room(vault).await;
        // A body is gone, and its agent sends it again; a file is still there.
        if let Some(source) = handoff {
            object = take(vault, key, source).await;
        }
    }
    let object = object.map_err(|error| refusal(&error.into()))?;
    let sum = object.sha256.clone();
    let mut added = vault.note(announced.clone(), object.clone()).await;
    if matches!(&added, Err(error) if error.is_full()) {
        make_room(vault).await;
        added = vault.note(announced, object).await;
    }
    let added = added.map_err(|error| refusal(&error))?;
    if let Added::Duplicate(known) = &added
        && sum.is_some()
        && known.sha256 != sum
    {
        // Another vault stored other bytes by this name and noted them while these came.
        let path = known.location.clone().into();
        return Err(refusal(&StorageError::Exists { path }.into()));
    }
    Ok(acknowledge(added))
}

/// Notes what is known now of a recording whose object was found, and whose checksum nobody had.
async fn complete(
    vault: &Arc<Vault>,
    announced: Announced,
    known: &Recording,
    sum: String,
) -> Result<Json<Stored>, Refusal> {
    let object = StoredObject {
        location: known.location.clone().into(),
        bytes: u64::try_from(known.bytes).unwrap_or(0),
        sha256: Some(sum),
    };
    let added = vault.note(announced, object).await;
    Ok(acknowledge(added.map_err(|error| refusal(&error))?))
}

async fn take(vault: &Vault, key: &str, source: &str) -> Result<StoredObject, StorageError> {
    let source = Utf8Path::new(source);
    vault.provider.take(key, source, &vault.handoff).await
}

/// Reads an upload whose name is taken, and fails when it is another recording; returns its SHA-256.
async fn compare(
    vault: &Vault,
    known: &Recording,
    body: &mut BodyDataStream,
) -> Result<String, StorageError> {
    let cut = |error| StorageError::Cut(error);
    let (mut sum, mut bytes) = (Sha256::new(), 0);
    while let Some(piece) = timeout(QUIET, body.next())
        .await
        .map_err(|error| cut(error.into()))?
    {
        let piece = piece.map_err(|error| cut(error.into()))?;
        bytes += i64::try_from(piece.len()).unwrap_or(0);
        sum.update(&piece);
    }
    if bytes == 0 {
        return Err(StorageError::Empty);
    }
    let sum = hex::encode(sum.finalize());
    let same = bytes == known.bytes
        && match &known.sha256 {
            Some(known) => *known == sum,
            // It was handed over or found, and not read by us.
            None => sum == digest(vault, Utf8Path::new(&known.location)).await?,
        };
    if same {
        return Ok(sum);
    }
    Err(StorageError::Exists {
        path: known.location.clone().into(),
    })
}

async fn digest(vault: &Vault, location: &Utf8Path) -> Result<String, StorageError> {
    let mut sum = Sha256::new();
    let mut pieces = vault.provider.stream(location, 0, u64::MAX);
    while let Some(piece) = pieces.try_next().await? {
        sum.update(&piece);
    }
    Ok(hex::encode(sum.finalize()))
}

fn acknowledge(added: Added) -> Json<Stored> {
    let (recording, duplicate) = match added {
        Added::New(recording) => (recording, false),
        Added::Duplicate(recording) => (recording, true),
    };
    Json(Stored {
        status: "file_uploaded".to_owned(),
        id: recording.id,
        key: recording.key,
        bytes: u64::try_from(recording.bytes).unwrap_or(0),
        duplicate,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        // Agents send names of files and cameras as UTF-8.
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
        .filter(|text| !text.is_empty())
}

/// Judges the headers; the file's name tells what they leave out.
fn announced(vault: &Vault, headers: &HeaderMap) -> Result<Announced, Refusal> {
    let bad = |word, message: &str| Refusal::new(StatusCode::BAD_REQUEST, word, message);
    let name = text(headers, FILE_NAME)
        .filter(|name| is_file_name(name))
        .ok_or_else(|| {
            bad(
                "file_name_invalid",
                "the file name is missing or is no name of an MP4",
            )
        })?;
    let asked = text(headers, DIRECTORY);
    let directory = match vault.directory.as_str() {
        "*" => asked.ok_or_else(|| {
            bad(
                "storage_directory_missing",
                "the account leaves the directory to the agent",
            )
        })?,
        fixed => {
            if asked.is_some_and(|asked| asked != fixed) {
                return Err(bad(
                    "storage_directory_invalid",
                    "the account does not write to this directory",
                ));
            }
            fixed
        }
    };
    let plain = directory
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || directory.starts_with('.') || directory.len() > 100 {
        return Err(bad(
            "storage_directory_invalid",
            "a directory is letters, digits, -, _ and .",
        ));
    }
    let told = RecordingName::parse(name);
    let number = |header| text(headers, header).and_then(|text| text.parse::<i64>().ok());
    let camera = text(headers, CAMERA).map(str::to_owned);
    let camera = camera.or_else(|| told.as_ref().map(|told| told.camera.clone()));
    Ok(Announced {
        key: format!("{directory}/{name}"),
        camera: camera
            .or_else(|| text(headers, DEVICE).map(str::to_owned))
            .unwrap_or_default(),
        start_ms: number(TIMESTAMP)
            .filter(|ms| TIMES.contains(ms))
            .or_else(|| told.as_ref().map(|told| told.start_ms))
            .unwrap_or_else(crate::vault::now_ms),
        duration_ms: number(DURATION)
            .filter(|ms| TIMES.contains(ms))
            .or_else(|| told.as_ref().map(|told| told.duration_ms))
            .unwrap_or(0),
    })
}

fn refusal(error: &VaultError) -> Refusal {
    if error.is_full() {
        return Refusal::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "storage_full",
            "the disk is full; the upload was not kept",
        );
    }
    let VaultError::Storage(storage) = error else {
        return Refusal::catalogue(error);
    };
    match storage {
        StorageError::Empty => {
            Refusal::new(StatusCode::BAD_REQUEST, "file_empty", storage.to_string())
        }
        StorageError::Checksum => Refusal::new(
            StatusCode::BAD_REQUEST,
            "file_checksum",
            storage.to_string(),
        ),
        StorageError::Cut(_) => Refusal::new(
            StatusCode::BAD_REQUEST,
            "file_incomplete",
            storage.to_string(),
        ),
        StorageError::Exists { .. } => Refusal::new(
            StatusCode::CONFLICT,
            "file_exists",
            "another recording has this name",
        ),
        StorageError::Refused { reason, .. } => {
            Refusal::new(StatusCode::CONFLICT, "handoff_refused", *reason)
        }
        StorageError::Io { .. } | StorageError::Locked { .. } => Refusal::internal(error),
        StorageError::Remote { .. } => Refusal::storage(storage),
    }
}
