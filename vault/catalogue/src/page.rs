//! Where a page of a listing ends.

use std::fmt;
use std::str::FromStr;

use vault_api::{Page, Recording};

/// The last recording of a page: `start_ms.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageToken {
    pub start_ms: i64,
    pub id: i64,
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.start_ms, self.id)
    }
}

/// Not a token that a page has given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`after` is not what a page gave as `next`")]
pub struct NotAToken;

impl FromStr for PageToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let (start_ms, id) = text.split_once('.').ok_or(NotAToken)?;
        let start_ms = start_ms.parse().map_err(|_| NotAToken)?;
        Ok(Self {
            start_ms,
            id: id.parse().map_err(|_| NotAToken)?,
        })
    }
}

/// What was found with a limit; a page that is not full is the last.
pub(crate) fn page(recordings: Vec<Recording>, limit: usize) -> Page {
    let full = recordings.len() == limit;
    let next = recordings.last().filter(|_| full).map(|last| {
        let (start_ms, id) = (last.start_ms, last.id);
        PageToken { start_ms, id }.to_string()
    });
    Page { recordings, next }
}
