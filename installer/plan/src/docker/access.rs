//! A plan in the making: the certificate that others are shown, and where they come in.

use installer_render::docker::{ACCESS, ACME_ROOTS, certificate_files};
use installer_spec::AccessTls;

use super::draft::Draft;
use super::{ContainerFact, ContainerSpec, DockerAction};
use crate::access::{OwnCertificate, published};
use crate::facts::PathFact;
use crate::plan::Change;

impl Draft<'_> {
    /// The owner's files, or what the vault needs to ask an authority. A certificate of the site's
    /// own authority comes with the others.
    pub(super) fn access(&mut self) {
        let Some(access) = &self.profile.access else {
            return;
        };
        let folder = self.layout.certificate(ACCESS);
        match &access.tls {
            AccessTls::Internal => {}
            AccessTls::Files { .. } => {
                let files = certificate_files(ACCESS);
                for name in [files.certificate, files.key] {
                    self.wanted_files.insert(folder.join(name));
                }
                let Some(OwnCertificate::Usable(own)) = &self.facts.access.own else {
                    // An error finding says so, and nothing is done.
                    return;
                };
                if own.in_place {
                    self.unchanged += 1;
                    return;
                }
                let change = if self.facts.certificates.services.contains_key(ACCESS) {
                    Change::Change
                } else {
                    Change::Add
                };
                let detail = vec![
                    format!("SHA-256 {}", own.fingerprint),
                    format!("valid until {}", own.not_after),
                ];
                let action = DockerAction::InstallCertificate {
                    fingerprint: own.fingerprint.clone(),
                    certificate: files.certificate.to_owned(),
                    key: files.key.to_owned(),
                    folder,
                    owner: self.facts.owner,
                };
                let id = format!("certificate of {ACCESS} (the owner's)");
                self.push(change, id, action).detail = detail;
            }
            AccessTls::Acme(_) => {
                let ours = |path: &camino::Utf8Path, fact: &PathFact| {
                    let kept = ["tls.crt", "tls.key", ACME_ROOTS];
                    let name = path.file_name().unwrap_or_default();
                    matches!(fact, PathFact::File { .. })
                        && path.parent() == Some(&folder)
                        && !kept.contains(&name)
                };
                // Account and certificate are the vault's.
                let kept = self
                    .facts
                    .paths
                    .iter()
                    .filter(|(path, fact)| ours(path, fact));
                self.wanted_files.extend(kept.map(|(path, _)| path.clone()));
                if let Some(Ok(roots)) = self.facts.access.roots.clone() {
                    self.file(folder.join(ACME_ROOTS), 0o444, roots);
                }
            }
        }
    }

    /// What is said beside a container about where it is reached.
    pub(super) fn publishing(
        &self,
        spec: &ContainerSpec,
        before: Option<&ContainerFact>,
    ) -> Vec<String> {
        let now = spec.published.map(|published| published.address);
        let gone = before.into_iter().flat_map(|fact| &fact.published);
        let gone = gone.filter(|address| Some(**address) != now);
        let mut lines: Vec<_> = gone
            .map(|address| format!("no longer published at {address}"))
            .collect();
        if let (Some(_), Some(access)) = (now, &self.profile.access) {
            lines.push(published(access));
        }
        lines
    }
}
