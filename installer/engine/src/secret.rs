//! Secrets on their way into a store: which versions are there, and what a new one holds.

use std::collections::{BTreeMap, BTreeSet};

use installer_plan::SecretFact;
use installer_render::{SecretName, SecretOrigin, TEST_CAMERA_USER, secret_purposes};
use installer_spec::{Login, Profile};

use crate::login::{Logins, format_login, parse_login};
use crate::port::{EffectError, ErrorKind};

/// What planning may know of the secrets that are kept: facts by purpose, and the logins that
/// nobody can provide, with the reason.
pub type Secrets = (BTreeMap<String, SecretFact>, BTreeMap<String, String>);

/// Judges kept secrets: the names in the store, and `read` for a value.
pub fn judge(
    profile: &Profile,
    logins: &Logins,
    kept: impl IntoIterator<Item = SecretName>,
    read: impl Fn(&SecretName) -> Option<String>,
) -> Secrets {
    let mut versions: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for name in kept {
        versions
            .entry(name.purpose)
            .or_default()
            .insert(name.version);
    }
    let (mut facts, mut missing) = (BTreeMap::new(), BTreeMap::new());
    for (purpose, origin) in secret_purposes(profile) {
        let versions = versions.remove(&purpose).unwrap_or_default();
        let read = |version: &u32| {
            let name = SecretName {
                purpose: purpose.clone(),
                version: *version,
            };
            read(&name).unwrap_or_default()
        };
        let newest = versions
            .last()
            .copied()
            .filter(|version| !read(version).trim().is_empty());
        let camera = purpose
            .strip_prefix("camera-")
            .and_then(|p| p.strip_suffix("-login"));
        let login = camera
            .filter(|_| origin == SecretOrigin::Camera)
            .and_then(|c| logins.get(c));
        let current = match login {
            Some(Ok(login)) => versions
                .iter()
                .rev()
                .copied()
                .find(|v| parse_login(&read(v)).as_ref() == Some(login)),
            Some(Err(reason)) => {
                if newest.is_none() {
                    missing.insert(camera.unwrap_or_default().to_owned(), reason.clone());
                }
                newest
            }
            None => newest,
        };
        facts.insert(purpose.clone(), SecretFact { versions, current });
    }
    (facts, missing)
}

/// The text of a new secret.
pub fn make(
    name: &SecretName,
    origin: SecretOrigin,
    camera: Option<&str>,
    logins: &Logins,
) -> Result<String, EffectError> {
    match origin {
        SecretOrigin::Random => Ok(random_hex()? + "\n"),
        SecretOrigin::RandomLogin => Ok(format_login(&Login {
            user: TEST_CAMERA_USER.to_owned(),
            password: random_hex()?,
        })),
        SecretOrigin::Camera => match camera.and_then(|camera| logins.get(camera)) {
            Some(Ok(login)) => Ok(format_login(login)),
            _ => {
                let operation = format!("cannot find the login for secret `{name}`");
                Err(EffectError::new(ErrorKind::Conflict, operation))
            }
        },
    }
}

/// 32 bytes of the system's randomness, in hex.
pub fn random_hex() -> Result<String, EffectError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        EffectError::new(
            ErrorKind::Environment,
            "cannot get random bytes from the system",
        )
        .because(error.to_string())
    })?;
    Ok(hex::encode(bytes))
}
