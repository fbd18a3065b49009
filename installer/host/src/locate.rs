//! Where a site and its programs lie when nobody says.

use std::env;
use std::io;

use camino::Utf8PathBuf;
use installer_spec::Profile;

/// The site's data directory: what the profile says, else `/var/lib/stakeout/SITE` for root and
/// `~/.local/share/stakeout/SITE` for everyone else (XDG base directories).
pub fn default_data(profile: &Profile) -> Utf8PathBuf {
    match &profile.storage.path {
        Some(path) => path.clone(),
        None => default_parent().join(&profile.site),
    }
}

/// The folder of all sites whose profiles say nothing else.
pub fn default_parent() -> Utf8PathBuf {
    if rustix::process::geteuid().is_root() {
        return Utf8PathBuf::from("/var/lib/stakeout");
    }
    let home = || env::var("HOME").map(|home| format!("{home}/.local/share"));
    let base = env::var("XDG_DATA_HOME")
        .ok()
        .filter(|base| base.starts_with('/'));
    let base = base
        .or_else(|| home().ok())
        .unwrap_or_else(|| "/var/tmp".to_owned());
    Utf8PathBuf::from(base).join("stakeout")
}

/// The folder of the program that runs now: the others are beside it.
pub fn programs_folder() -> io::Result<Utf8PathBuf> {
    let program = env::current_exe()?;
    let folder = program
        .parent()
        .map(std::path::Path::to_path_buf)
        .unwrap_or_default();
    Utf8PathBuf::from_path_buf(folder)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the path is not UTF-8"))
}
