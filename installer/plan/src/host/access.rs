//! A plan in the making: what the vault shows to those who come by `access`.

use camino::Utf8PathBuf;
use installer_render::docker::certificate_files;
use installer_render::{ACCESS, ACME_ROOTS, access_certificate};

use super::draft::Draft;
use crate::access::published;
use crate::certificate::{What, brings_own, due};
use crate::plan::HostAction;

/// Path, mode and owner.
type Folder = (Utf8PathBuf, u32, Option<String>);

impl Draft<'_> {
    pub(super) fn certificate_folders(&self) -> Vec<Folder> {
        let mut folders = Vec::new();
        if self.profile.access.is_none() {
            return folders;
        }
        folders.push((self.layout.tls(), 0o755, None));
        if !access_certificate(self.profile).is_empty() {
            folders.push((self.layout.authority(), 0o700, None));
            folders.push((self.layout.trust(), 0o755, None));
        }
        let access = self.layout.certificate(ACCESS);
        folders.push((access, 0o700, self.owner.clone()));
        folders
    }

    pub(super) fn certificates(&mut self) {
        let wanted = access_certificate(self.profile);
        let (authority, trust) = (self.layout.authority(), self.layout.trust());
        let folder = self.layout.certificate(ACCESS);
        let files = certificate_files(ACCESS);
        let (certificate, key) = (folder.join(files.certificate), folder.join(files.key));
        if !wanted.is_empty() {
            self.wanted_files.extend([
                authority.join("ca.crt"),
                authority.join("ca.key"),
                trust.join("ca.crt"),
            ]);
        }
        if !wanted.is_empty() || brings_own(self.profile) {
            self.wanted_files.extend([certificate.clone(), key.clone()]);
        }
        let facts = self.facts;
        let (due, unchanged) = due(wanted, self.profile, &facts.certificates, &facts.access);
        self.unchanged += unchanged;
        for due in due {
            let (certificate, key) = (certificate.clone(), key.clone());
            let owner = self.owner.clone();
            let action = match due.what {
                What::Authority => HostAction::MakeAuthority {
                    folder: authority.clone(),
                    trust: trust.clone(),
                },
                What::Issued { service, names } => HostAction::IssueCertificate {
                    service,
                    names,
                    authority: authority.clone(),
                    certificate,
                    key,
                    owner,
                },
                What::Own { fingerprint } => HostAction::InstallCertificate {
                    fingerprint,
                    certificate,
                    key,
                    owner,
                },
            };
            self.push(due.change, due.id, action).detail = due.detail;
        }
        if let Some(Ok(roots)) = facts.access.roots.clone() {
            self.file(folder.join(ACME_ROOTS), 0o444, roots, None);
        }
    }

    /// What is said beside the vault about where it is reached.
    pub(super) fn publishing(&self, service: &str) -> Vec<String> {
        let access = self.profile.access.as_ref();
        let access = access.filter(|_| service == "vault");
        access.map(published).into_iter().collect()
    }
}
