//! Which version of each secret is in force.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::{SecretName, SecretOrigin, base_of, login_key, secret_purposes};
use installer_spec::Profile;

use crate::facts::SecretFact;
use crate::plan::Change;

/// A secret that is about to be made, as a plan tells of it.
pub(crate) struct NewSecret {
    pub(crate) id: String,
    pub(crate) change: Change,
    /// Key of the profile's login that it holds, where it comes from there.
    pub(crate) login: Option<String>,
    pub(crate) carried: Option<Utf8PathBuf>,
}

impl NewSecret {
    /// `carried` are those of the same site at another target.
    pub(crate) fn of(
        name: &SecretName,
        origin: SecretOrigin,
        carried: &BTreeMap<String, Utf8PathBuf>,
    ) -> Self {
        let carried = carried.get(&name.purpose).cloned();
        let from_profile = matches!(
            origin,
            SecretOrigin::Login | SecretOrigin::LoginUser | SecretOrigin::LoginPassword
        );
        Self {
            id: match &carried {
                Some(_) => format!("secret {name} (taken along)"),
                None => format!("secret {name} ({})", origin.words()),
            },
            change: if name.version == 1 {
                Change::Add
            } else {
                Change::Change
            },
            login: from_profile.then(|| login_key(&name.purpose)).flatten(),
            carried,
        }
    }
}

/// The version of each secret that will be in force, and how a new one is made.
pub(crate) fn choose_secrets(
    profile: &Profile,
    kept: &BTreeMap<String, SecretFact>,
    rotate: &BTreeSet<String>,
) -> BTreeMap<String, (u32, Option<SecretOrigin>)> {
    secret_purposes(profile)
        .into_iter()
        .map(|(purpose, origin)| {
            let fact = kept.get(&purpose);
            // What is made of another goes with it.
            let anew = rotate.contains(base_of(&purpose).unwrap_or(&purpose));
            let chosen = match fact.and_then(|fact| fact.current).filter(|_| !anew) {
                Some(version) => (version, None),
                None => {
                    let newest = fact
                        .and_then(|fact| fact.versions.last().copied())
                        .unwrap_or(0);
                    (newest + 1, Some(origin))
                }
            };
            (purpose, chosen)
        })
        .collect()
}
