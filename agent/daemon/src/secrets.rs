//! Whether others on the machine can read this agent's secrets.
//!
//! The vault refuses to start with such a file; an agent records: `docs/adr/0003`.

use std::os::unix::fs::PermissionsExt;

use agent_config::AgentConfig;
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::StatVfsMountFlags;

/// Group and others.
const OTHERS: u32 = 0o077;

/// Warns of each secret file that its owner is not alone with.
pub(crate) fn warn_of_readable(config: &AgentConfig) {
    for path in files(config) {
        if let Some(mode) = readable_mode(path) {
            tracing::warn!(%path, mode = format!("{mode:03o}"),
                "others can read this secret; run `chmod 600 {path}`");
        }
    }
}

fn files(config: &AgentConfig) -> Vec<&Utf8PathBuf> {
    let logins = config.cameras.iter().flat_map(|c| &c.credentials_file);
    let keys = config
        .upload
        .iter()
        .flat_map(|u| [&u.access_key_file, &u.secret_key_file]);
    let mut files = vec![&config.http.token_file];
    files.extend(config.http.tls.iter().map(|tls| &tls.key));
    files.extend(keys);
    files.extend(logins);
    // Cameras may share a login.
    files.sort();
    files.dedup();
    files
}

/// The mode, if it lets others read. On a read-only mount it is not the owner's to change, and
/// who may see the mount was decided where it was made (a Kubernetes Secret is 0644 by default).
fn readable_mode(path: &Utf8Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return None;
    }
    let mount = rustix::fs::statvfs(path.as_str()).ok()?;
    (!mount.f_flag.contains(StatVfsMountFlags::RDONLY)).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_its_owner_alone_is_no_cause_and_any_other_is() {
        let temp = tempfile::NamedTempFile::new().expect("a file");
        let path = Utf8Path::from_path(temp.path()).expect("UTF-8");
        let judged = |mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
            readable_mode(path)
        };
        assert_eq!(judged(0o600), None);
        assert_eq!(judged(0o400), None);
        assert_eq!(judged(0o640), Some(0o640));
        assert_eq!(judged(0o604), Some(0o604));
        assert_eq!(readable_mode(Utf8Path::new("/nowhere/at/all")), None);
    }
}
