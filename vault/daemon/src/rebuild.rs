//! `stakeout-vault rebuild`: a catalogue anew, from what lies in the store.

use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use camino::Utf8Path;
use vault_api::read_config;
use vault_catalogue::{Catalogue, CatalogueError};
use vault_http::{adopt, now_ms};

use crate::judge::judge;
use crate::run::{catalogue_path, lock, open, prepare, wait};

/// Returns how many recordings there are. Every one of them is told of again: what was delivered
/// went with the old catalogue.
pub(crate) fn rebuild(config: &Utf8Path) -> anyhow::Result<usize> {
    let config = read_config(config)?;
    judge(&config)?;
    let _lock = lock(&config)?;
    let path = catalogue_path(&config);
    if path.exists() {
        match Catalogue::open(&path, &config.site).and_then(|catalogue| catalogue.verify()) {
            Ok(()) => bail!("the catalogue `{path}` is sound; there is nothing to rebuild"),
            Err(CatalogueError::Damaged { .. }) => set_aside(&path)
                .with_context(|| format!("cannot set the damaged catalogue `{path}` aside"))?,
            Err(other) => return Err(other.into()),
        }
    }
    let (catalogue, provider) = open(&config)?;
    let catalogue = Mutex::new(catalogue);
    let recordings = wait(async {
        prepare(&config, &provider, &catalogue).await?;
        anyhow::Ok(adopt(&config.account.name, &provider, &catalogue).await?)
    })?;
    let catalogue = catalogue.into_inner();
    let catalogue = catalogue.unwrap_or_else(PoisonError::into_inner);
    catalogue.checkpoint()?;
    Ok(recordings)
}

/// The journal goes along: it belongs to the old file, and would be played into the new one.
fn set_aside(path: &Utf8Path) -> io::Result<()> {
    let now = now_ms();
    for end in ["", "-wal", "-shm"] {
        match fs::rename(format!("{path}{end}"), format!("{path}.{now}.damaged{end}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(())
}
