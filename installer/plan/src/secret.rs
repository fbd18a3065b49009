//! Which version of each secret is in force.

use std::collections::BTreeMap;

use installer_render::{SecretOrigin, login_key, secret_purposes};
use installer_spec::Profile;

use crate::facts::SecretFact;

/// Key of the profile's login that a new secret holds.
pub(crate) fn login_of(purpose: &str, origin: SecretOrigin) -> Option<String> {
    let named = matches!(
        origin,
        SecretOrigin::Login | SecretOrigin::LoginUser | SecretOrigin::LoginPassword
    );
    named.then(|| login_key(purpose)).flatten()
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
