//! What a chart that lies here is.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::HelmError;
use crate::process::Helm;

/// Charts are templates; somebody's home directory is not one.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// A chart, by what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartContents {
    pub name: String,
    pub version: String,
    /// SHA-256 in hex of names and contents of all of its files, or of the archive.
    pub digest: String,
}

#[derive(Deserialize)]
struct ChartFile {
    name: String,
    version: String,
}

/// Reads a folder without Helm; `helm` is asked about an archive.
pub async fn read_chart(helm: &Helm, path: &Utf8Path) -> Result<ChartContents, HelmError> {
    let failed = |source| HelmError::Chart {
        path: path.to_owned(),
        source,
    };
    let (text, digest) = if fs::metadata(path).map_err(failed)?.is_dir() {
        let file = path.join("Chart.yaml");
        let text =
            fs::read_to_string(&file).map_err(|source| HelmError::Chart { path: file, source })?;
        (text, digest_of_folder(path).map_err(failed)?)
    } else {
        let digest = hex::encode(Sha256::digest(fs::read(path).map_err(failed)?));
        (helm.show(path.as_str(), None).await?, digest)
    };
    let ChartFile { name, version } =
        serde_saphyr::from_str(&text).map_err(|source| failed(io::Error::other(source)))?;
    Ok(ChartContents {
        name,
        version,
        digest,
    })
}

/// Names and contents in name order, so that copies are equal wherever they lie.
fn digest_of_folder(folder: &Utf8Path) -> io::Result<String> {
    let mut files = BTreeMap::new();
    let mut left = MOST_BYTES;
    collect(folder, Utf8Path::new(""), &mut files, &mut left)?;
    let mut hasher = Sha256::new();
    for (name, contents) in files {
        // Lengths keep one file's end from being the next one's name.
        for part in [name.as_str().as_bytes(), &contents] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

fn collect(
    folder: &Utf8Path,
    below: &Utf8Path,
    files: &mut BTreeMap<Utf8PathBuf, Vec<u8>>,
    left: &mut u64,
) -> io::Result<()> {
    for entry in folder.join(below).read_dir_utf8()? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        // As Helm does, links are followed.
        let metadata = fs::metadata(entry.path())?;
        if metadata.is_dir() {
            collect(folder, &name, files, left)?;
        } else if metadata.is_file() {
            *left = left
                .checked_sub(metadata.len())
                .ok_or_else(|| io::Error::other(format!("it is larger than {MOST_BYTES} bytes")))?;
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_names_and_contents() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path()).unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let folder = root.join(name);
            for (file, text) in files {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            digest_of_folder(&folder).unwrap()
        };
        let first = make("a", &[("Chart.yaml", "x"), ("templates/a", "y")]);
        assert_eq!(
            first,
            make("b", &[("templates/a", "y"), ("Chart.yaml", "x")])
        );
        assert_ne!(
            first,
            make("c", &[("Chart.yaml", "x"), ("templates/b", "y")])
        );
        assert_ne!(
            first,
            make("d", &[("Chart.yaml", "xy"), ("templates/a", "")])
        );
    }
}
