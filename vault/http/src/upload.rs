//! `POST /api/storage`: a recording by its bytes, or by the path where it lies.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use camino::Utf8Path;
use vault_api::Stored;
use vault_api::header::{
    CAMERA, DEVICE, DIRECTORY, DURATION, FILE_NAME, HANDOFF, SHA256, TIMESTAMP,
};
use vault_catalogue::Added;
use vault_storage::{RecordingName, StorageError, StoredObject, is_file_name};

use crate::problem::Refusal;
use crate::retention::make_room;
use crate::vault::{Announced, Vault, VaultError};

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
    let announced = announced(&vault, &headers)?;
    let (account, key) = (vault.account.clone(), announced.key.clone());
    let known = vault
        .ask(move |catalogue| catalogue.by_key(&account, &key))
        .await;
    let handoff = text(&headers, HANDOFF);
    let known = known.map_err(|error| refusal(&error))?.filter(|known| {
        // Where the object was lost, the copy that is offered now must not be turned away.
        let size = vault.provider.size(Utf8Path::new(&known.location));
        size.is_some() && size == u64::try_from(known.bytes).ok()
    });
    if let Some(known) = known {
        // The repeated file of an agent that did not hear our answer is of no more use.
        if let Some(source) = handoff
            && let Err(error) = take(&vault, &known.key, source).await
        {
            tracing::debug!("a repeated hand-off was left alone: {error}");
        }
        return Ok(acknowledge(Added::Duplicate(known)));
    }
    let key = announced.key.as_str();
    let mut object = match handoff {
        Some(source) => take(&vault, key, source).await,
        None => {
            let sum = text(&headers, SHA256);
            let body = body.into_data_stream();
            vault.provider.put(key, body, sum).await
        }
    };
    if matches!(&object, Err(error) if error.is_full()) {
        make_room(&vault).await;
        // A body is gone, and its agent sends it again; a file is still there.
        if let Some(source) = handoff {
            object = take(&vault, key, source).await;
        }
    }
    let object = object.map_err(|error| refusal(&error.into()))?;
    let mut added = vault.note(announced.clone(), object.clone()).await;
    if matches!(&added, Err(error) if error.is_full()) {
        make_room(&vault).await;
        added = vault.note(announced, object).await;
    }
    Ok(acknowledge(added.map_err(|error| refusal(&error))?))
}

async fn take(vault: &Vault, key: &str, source: &str) -> Result<StoredObject, StorageError> {
    let source = Utf8Path::new(source);
    vault.provider.take(key, source, &vault.handoff).await
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
        .and_then(|value| value.to_str().ok())
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
            .or_else(|| told.as_ref().map(|told| told.start_ms))
            .unwrap_or_else(crate::vault::now_ms),
        duration_ms: number(DURATION)
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
        return Refusal::internal(error);
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
        StorageError::Io { .. } => Refusal::internal(error),
    }
}
