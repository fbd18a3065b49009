//! Secrets from files, and the ones that nobody may start with.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};

/// Shorter ones can be guessed.
const LENGTH_MIN: usize = 16;

/// What manuals and images of the field ship; a long run of them does not help.
const DEFAULTS: &[&str] = &[
    "root",
    "admin",
    "password",
    "kerberos",
    "minioadmin",
    "changeme",
    "secret",
    "default",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("cannot read secret `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("secret `{path}` can be read by others; run `chmod 600 {path}`")]
    Readable { path: Utf8PathBuf },
    #[error("`{path}` does not hold a user in its first line and a password in its second")]
    TwoLines { path: Utf8PathBuf },
    #[error("`{path}` is empty")]
    Empty { path: Utf8PathBuf },
    #[error("secret `{path}` is empty or shorter than {LENGTH_MIN} characters")]
    Short { path: Utf8PathBuf },
    #[error("secret `{path}` is a default that everybody knows")]
    Default { path: Utf8PathBuf },
}

/// Reads a file that only this user may read; of one that is another's, its group may, too: that is
/// how a kubelet hands a secret to a pod.
pub(crate) fn read_private(path: &Utf8Path) -> Result<Vec<u8>, SecretError> {
    let path = path.to_owned();
    let read = || {
        let mut file = File::open(&path)?;
        let metadata = file.metadata()?;
        let handed = metadata.uid() != rustix::process::geteuid().as_raw();
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok((
            is_seen_by_others(metadata.permissions().mode(), handed),
            data,
        ))
    };
    let (seen, data) = match read() {
        Ok(found) => found,
        Err(source) => return Err(SecretError::Read { path, source }),
    };
    if seen {
        return Err(SecretError::Readable { path });
    }
    Ok(data)
}

/// `handed`: the file is another's.
fn is_seen_by_others(mode: u32, handed: bool) -> bool {
    let others = if handed { 0o037 } else { 0o077 };
    mode & others != 0
}

fn read_text(path: &Utf8Path) -> Result<String, SecretError> {
    String::from_utf8(read_private(path)?).map_err(|error| SecretError::Read {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })
}

/// Reads a secret, without its last line break, and judges it.
pub(crate) fn read_secret(path: &Utf8Path) -> Result<String, SecretError> {
    let text = read_text(path)?;
    let path = path.to_owned();
    let secret = text.trim();
    let plain = secret.to_lowercase();
    let repeated = |word: &&str| plain.replace(*word, "").len() < LENGTH_MIN / 2;
    if plain.len() >= LENGTH_MIN / 2 && DEFAULTS.iter().any(repeated) {
        return Err(SecretError::Default { path });
    }
    if secret.len() < LENGTH_MIN {
        let known = DEFAULTS.contains(&plain.as_str());
        return Err(if known {
            SecretError::Default { path }
        } else {
            SecretError::Short { path }
        });
    }
    Ok(secret.to_owned())
}

/// Reads a name that is no secret by itself, such as an access key, from a file that is kept like
/// one.
pub(crate) fn read_name(path: &Utf8Path) -> Result<String, SecretError> {
    let name = read_text(path)?.trim().to_owned();
    if name.is_empty() {
        let path = path.to_owned();
        return Err(SecretError::Empty { path });
    }
    Ok(name)
}

/// Reads user and password of somebody else's server, in two lines.
pub(crate) fn read_credentials(path: &Utf8Path) -> Result<(String, String), SecretError> {
    let text = read_text(path)?;
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next()) {
        (Some(user), Some(password)) if !user.is_empty() && !password.is_empty() => {
            Ok((user, password))
        }
        _ => Err(SecretError::TwoLines {
            path: path.to_owned(),
        }),
    }
}

/// Makes a folder that only this user and its group see.
pub(crate) fn make_folder(path: &Utf8Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o750))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, mode: u32) -> Result<String, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("s")).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_secret(&path)
    }

    #[test]
    fn the_group_may_read_what_another_handed_over() {
        for (mode, handed, seen) in [
            (0o400, false, false),
            (0o440, false, true),
            (0o440, true, false),
            (0o460, true, true),
            (0o444, true, true),
        ] {
            assert_eq!(is_seen_by_others(mode, handed), seen, "{mode:o} {handed}");
        }
    }

    #[test]
    fn only_a_long_private_secret_of_ones_own_is_taken() {
        assert_eq!(
            judge("0123456789abcdef0123\n", 0o600).unwrap(),
            "0123456789abcdef0123"
        );
        assert!(matches!(
            judge("0123456789abcdef0123", 0o640),
            Err(SecretError::Readable { .. })
        ));
        assert!(matches!(judge("", 0o600), Err(SecretError::Short { .. })));
        assert!(matches!(judge("\n", 0o600), Err(SecretError::Short { .. })));
        assert!(matches!(
            judge("short", 0o600),
            Err(SecretError::Short { .. })
        ));
        assert!(matches!(
            judge("kerberos", 0o600),
            Err(SecretError::Default { .. })
        ));
        assert!(matches!(
            judge("minioadminminioadmin", 0o600),
            Err(SecretError::Default { .. })
        ));
        assert!(matches!(
            judge("changemechangeme", 0o600),
            Err(SecretError::Default { .. })
        ));
    }
}
