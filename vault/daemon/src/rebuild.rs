//! `stakeout-vault rebuild`: a catalogue anew, from what lies in the store.

use std::fs;
use std::io;

use anyhow::{Context, bail};
use camino::Utf8Path;
use vault_api::{CatalogueConfig, VaultConfig, read_config};
use vault_catalogue::{Catalogue, CatalogueError, SqliteCatalogue};
use vault_http::{adopt, now_ms};

use crate::judge::judge;
use crate::run::{catalogue_path, lock, open, prepare, wait};

/// Returns how many recordings there are. Every one of them is told of again: what was delivered
/// went with the old catalogue.
pub(crate) fn rebuild(config: &Utf8Path) -> anyhow::Result<usize> {
    let config = read_config(config)?;
    judge(&config)?;
    let _lock = lock(&config)?;
    make_way(&config)?;
    let (catalogue, provider) = open(&config)?;
    let recordings = wait(async {
        prepare(&config, &provider, &catalogue).await?;
        anyhow::Ok(adopt(&config.account.name, &provider, &catalogue).await?)
    })?;
    catalogue.close()?;
    Ok(recordings)
}

/// Sets a damaged file aside. A database is another's to mend: it is only filled where it is empty.
fn make_way(config: &VaultConfig) -> anyhow::Result<()> {
    if let CatalogueConfig::Mongodb { database, .. } = &config.catalogue {
        let (catalogue, _) = open(config)?;
        catalogue.verify().with_context(|| {
            format!("drop database `{database}` or restore it, and rebuild again")
        })?;
        if catalogue.totals()?.recordings > 0 {
            bail!("the catalogue in database `{database}` is sound; there is nothing to rebuild");
        }
        return Ok(());
    }
    let path = catalogue_path(config);
    if !path.exists() {
        return Ok(());
    }
    match SqliteCatalogue::open(&path, &config.site).and_then(|catalogue| catalogue.verify()) {
        Ok(()) => bail!("the catalogue `{path}` is sound; there is nothing to rebuild"),
        Err(CatalogueError::Damaged { .. }) => set_aside(&path)
            .with_context(|| format!("cannot set the damaged catalogue `{path}` aside")),
        Err(other) => Err(other.into()),
    }
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
