//! Which version of each secret is in force.

use std::collections::BTreeMap;

use installer_render::{SecretName, SecretOrigin, secret_purposes};
use installer_spec::Profile;

use crate::facts::SecretFact;
use crate::plan::Change;

/// A secret that is about to be made, as a plan tells of it.
pub(crate) struct NewSecret {
    pub(crate) id: String,
    pub(crate) change: Change,
    /// Whose login it is, where the origin is a camera.
    pub(crate) camera: Option<String>,
}

impl NewSecret {
    pub(crate) fn of(name: &SecretName, origin: SecretOrigin) -> Self {
        let (word, camera) = match origin {
            SecretOrigin::Random => ("random", None),
            SecretOrigin::RandomLogin => ("random login", None),
            SecretOrigin::Camera => {
                let camera = name.purpose.strip_prefix("camera-");
                let camera = camera.and_then(|purpose| purpose.strip_suffix("-login"));
                ("from the profile's source", camera.map(str::to_owned))
            }
        };
        Self {
            id: format!("secret {name} ({word})"),
            change: if name.version == 1 {
                Change::Add
            } else {
                Change::Change
            },
            camera,
        }
    }
}

/// The version of each secret that will be in force, and how a new one is made.
pub(crate) fn choose_secrets(
    profile: &Profile,
    kept: &BTreeMap<String, SecretFact>,
) -> BTreeMap<String, (u32, Option<SecretOrigin>)> {
    secret_purposes(profile)
        .into_iter()
        .map(|(purpose, origin)| {
            let fact = kept.get(&purpose);
            let chosen = match fact.and_then(|fact| fact.current) {
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
