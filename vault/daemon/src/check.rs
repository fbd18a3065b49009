//! `stakeout-vault check`: does every recording have its object, and every object its recording?

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use vault_api::{TlsConfig, read_config};
use vault_catalogue::{Catalogue, CatalogueError};
use vault_storage::Provider;

use crate::integrations::Integrations;
use crate::judge::judge;
use crate::run::{lock, open, wait};
use crate::tls::read_pair;

/// What was found; a vault that runs has to be stopped first.
#[derive(Debug, Default)]
pub(crate) struct Report {
    recordings: usize,
    missing: Vec<String>,
    unknown: Vec<String>,
    damage: Option<CatalogueError>,
}

impl Report {
    pub(crate) fn sound(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_empty() && self.damage.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(damage) = &self.damage {
            return write!(f, "{damage}");
        }
        write!(f, "{} recordings", self.recordings)?;
        for key in &self.missing {
            write!(f, "\nmissing object: {key}")?;
        }
        for key in &self.unknown {
            write!(f, "\nobject that no recording names: {key}")?;
        }
        Ok(())
    }
}

/// A damaged catalogue is what we look for; anything else kept us from looking.
fn damaged(error: anyhow::Error) -> anyhow::Result<Report> {
    let damage = match error.downcast()? {
        damage @ (CatalogueError::Damaged { .. } | CatalogueError::Document { .. }) => damage,
        other => return Err(other.into()),
    };
    Ok(Report {
        damage: Some(damage),
        ..Report::default()
    })
}

pub(crate) fn check(config: &Utf8Path) -> anyhow::Result<Report> {
    let config = read_config(config)?;
    judge(&config)?;
    // Files that a start would miss.
    Integrations::read(&config)?;
    if let Some(TlsConfig::Files { certificate, key }) = &config.tls {
        read_pair(certificate, key)?;
    }
    let _lock = lock(&config)?;
    let (catalogue, provider) = match open(&config) {
        Ok(opened) => opened,
        Err(error) => return damaged(error),
    };
    if let Err(error) = catalogue.verify() {
        return damaged(error.into());
    }
    let mut report = Report::default();
    let mut objects = BTreeMap::new();
    wait(async {
        // A bucket is looked at and not made: this command changes nothing.
        provider.probe().await?;
        let found = provider.walk(|object| {
            objects.insert(object.location, (object.bytes, object.key));
        });
        found.await?;
        compare(&provider, &catalogue, objects, &mut report).await
    })?;
    Ok(report)
}

async fn compare(
    provider: &Provider,
    catalogue: &Arc<dyn Catalogue>,
    mut objects: BTreeMap<Utf8PathBuf, (u64, String)>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let catalogue = Arc::clone(catalogue);
        let page = tokio::task::spawn_blocking(move || catalogue.page(None, after, 1000));
        let page = page.await??;
        for recording in page.recordings {
            report.recordings += 1;
            let location = Utf8PathBuf::from(recording.location);
            let size = match objects.remove(&location) {
                Some((size, _)) => Some(size),
                // The folder may have had another path when this was stored.
                None => provider.size(&location).await?,
            };
            if size.and_then(|size| i64::try_from(size).ok()) != Some(recording.bytes) {
                report.missing.push(recording.key);
            }
        }
        match page.next {
            Some(next) => after = Some(next.parse()?),
            None => break,
        }
    }
    let unknown = objects.into_values().map(|(_, key)| key);
    report.unknown.extend(unknown);
    Ok(())
}
