//! `stakeout-vault check`: does every recording have its object, and every object its recording?

use std::collections::BTreeSet;
use std::fmt;

use camino::Utf8Path;
use vault_api::read_config;
use vault_catalogue::CatalogueError;

use crate::judge::judge;
use crate::run::{lock, open};

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
        damage @ CatalogueError::Damaged { .. } => damage,
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
    let _lock = lock(&config)?;
    let (catalogue, provider) = match open(&config) {
        Ok(opened) => opened,
        Err(error) => return damaged(error),
    };
    if let Err(error) = catalogue.verify() {
        return damaged(error.into());
    }
    let mut report = Report::default();
    let mut locations = BTreeSet::new();
    let mut after = None;
    loop {
        let page = catalogue.page(None, after, 1000)?;
        for recording in page.recordings {
            report.recordings += 1;
            let size = provider.size(Utf8Path::new(&recording.location));
            if size.and_then(|size| i64::try_from(size).ok()) != Some(recording.bytes) {
                report.missing.push(recording.key);
            }
            locations.insert(recording.location);
        }
        match page.next {
            Some(next) => after = Some(next.parse()?),
            None => break,
        }
    }
    provider.walk(|object| {
        if !locations.contains(object.location.as_str()) {
            report.unknown.push(object.key);
        }
    })?;
    Ok(report)
}
