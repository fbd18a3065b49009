//! Certificate and key from files that somebody else renews.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Certificates, read_pair};

/// A look costs two `stat` calls.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells a changed file: inode, size, and when anything of it changed, its mode included, in
/// seconds and nanoseconds.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Taken before the files are read: a change during the reading is then seen as one.
pub(super) fn stamps(certificate: &Utf8Path, key: &Utf8Path) -> [Stamp; 2] {
    [certificate, key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
    })
}

/// Shows a new pair as soon as it is whole; until then, and for ever where it is broken, the old.
pub(crate) async fn follow(
    certificate: Utf8PathBuf,
    key: Utf8PathBuf,
    mut seen: [Stamp; 2],
    shown: Arc<Certificates>,
) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let found = stamps(&certificate, &key);
        if found == seen {
            continue;
        }
        seen = found;
        match read_pair(&certificate, &key) {
            Ok(pair) => {
                shown.show(pair);
                tracing::info!("certificate `{certificate}` was renewed");
            }
            // Of two files one is the first: the next look finds both.
            Err(error) => tracing::warn!(
                "the old certificate stays: {:#}",
                anyhow::Error::from(error)
            ),
        }
    }
}
