//! Secrets on their way into a store: which versions are there, and what a new one holds.

use std::collections::{BTreeMap, BTreeSet};

use installer_plan::SecretFact;
use installer_render::{
    SERVICE_USER, SecretName, SecretOrigin, TEST_CAMERA_USER, base_of, login_key, secret_purposes,
};
use installer_spec::{Login, Profile};

use crate::hashed;
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
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut purposes: Vec<_> = secret_purposes(profile).into_iter().collect();
    // What is made out of another is judged by it.
    purposes.sort_by_key(|(purpose, _)| base_of(purpose).is_some());
    for (purpose, origin) in purposes {
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
        let latest = |holds: &dyn Fn(&str) -> bool| {
            let mut from_new = versions.iter().rev().copied();
            from_new.find(|version| holds(&read(version)))
        };
        let key = login_key(&purpose);
        let login = key.as_ref().and_then(|key| logins.get(key));
        let base = base_of(&purpose).map(|base| texts.get(base));
        let current = match (base, login) {
            (Some(base), _) => base.and_then(|base| latest(&|text| is_made_of(origin, text, base))),
            (None, Some(Ok(login))) => latest(&|text| holds(origin, text, login)),
            (None, Some(Err(reason))) => {
                if newest.is_none() {
                    missing.insert(key.unwrap_or_default(), reason.clone());
                }
                newest
            }
            (None, None) => newest,
        };
        if let Some(version) = &current {
            texts.insert(purpose.clone(), read(version));
        }
        facts.insert(purpose.clone(), SecretFact { versions, current });
    }
    (facts, missing)
}

/// Whether a kept secret is the login, or the part of it that is wanted.
fn holds(origin: SecretOrigin, text: &str, login: &Login) -> bool {
    match origin {
        SecretOrigin::LoginUser => text.trim_end() == login.user,
        SecretOrigin::LoginPassword => text.trim_end() == login.password,
        _ => parse_login(text).as_ref() == Some(login),
    }
}

/// Whether a kept hash is that of the login in `base`.
fn is_made_of(origin: SecretOrigin, text: &str, base: &str) -> bool {
    parse_login(base).is_some_and(|login| match origin {
        SecretOrigin::MosquittoPasswords => hashed::mosquitto_holds(text, &login),
        SecretOrigin::RabbitmqUsers => hashed::rabbitmq_holds(text, &login),
        _ => false,
    })
}

/// The text of a new secret. `login` is the key of the profile's login that it holds; `base` is
/// the secret that it is made of.
pub fn make(
    name: &SecretName,
    origin: SecretOrigin,
    login: Option<&str>,
    logins: &Logins,
    base: Option<&str>,
) -> Result<String, EffectError> {
    let random_login = |user: &str| {
        Ok(format_login(&Login {
            user: user.to_owned(),
            password: random_hex()?,
        }))
    };
    let absent = |what: &str| {
        let operation = format!("cannot find the {what} for secret `{name}`");
        EffectError::new(ErrorKind::Conflict, operation)
    };
    let named = || match login.and_then(|key| logins.get(key)) {
        Some(Ok(login)) => Ok(login),
        _ => Err(absent("login")),
    };
    let hashed = || base.and_then(parse_login).ok_or_else(|| absent("login"));
    match origin {
        SecretOrigin::Random => Ok(random_hex()? + "\n"),
        SecretOrigin::RandomLogin => random_login(TEST_CAMERA_USER),
        SecretOrigin::ServiceLogin => random_login(SERVICE_USER),
        SecretOrigin::Login => named().map(format_login),
        SecretOrigin::LoginUser => named().map(|login| format!("{}\n", login.user)),
        SecretOrigin::LoginPassword => named().map(|login| format!("{}\n", login.password)),
        SecretOrigin::MosquittoPasswords => {
            let mut salt = [0; hashed::MOSQUITTO_SALT];
            fill(&mut salt)?;
            Ok(hashed::mosquitto(&hashed()?, salt))
        }
        SecretOrigin::RabbitmqUsers => {
            let mut salt = [0; hashed::RABBITMQ_SALT];
            fill(&mut salt)?;
            Ok(hashed::rabbitmq(&hashed()?, salt))
        }
    }
}

/// 32 bytes of the system's randomness, in hex.
pub fn random_hex() -> Result<String, EffectError> {
    let mut bytes = [0u8; 32];
    fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), EffectError> {
    getrandom::fill(bytes).map_err(|error| {
        EffectError::new(
            ErrorKind::Environment,
            "cannot get random bytes from the system",
        )
        .because(error.to_string())
    })
}
