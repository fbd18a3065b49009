//! Logins from wherever the profile says they are. Values stay in memory.

use std::collections::BTreeMap;
use std::env;
use std::fs;

use camino::Utf8Path;
use installer_render::{chart_secret, login_key, login_variable};
use installer_spec::{
    Broker, Camera, Catalogue, Credentials, Database, EventSink, Login, Profile, Provider,
    S3Identity, Source,
};

/// By camera name, or by the path of `credentials` in the profile ([`login_key`]): the login, or
/// why nobody has it. What has no login is absent.
pub type Logins = BTreeMap<String, Result<Login, String>>;

/// Finds every login that the profile names. `folder` is the profile's; `ask` is told the key and
/// is tried last, for `credentials: ask` only, and answers nothing where there is no terminal.
pub fn resolve_logins(
    profile: &Profile,
    folder: &Utf8Path,
    ask: &mut dyn FnMut(&str) -> Option<Login>,
) -> Logins {
    let mut logins = Logins::new();
    for camera in &profile.cameras {
        if let Some(login) = resolve_login(camera, folder, ask) {
            logins.insert(camera.name.clone(), login);
        }
    }
    let storage = match &profile.storage.provider {
        Provider::S3(s3) => match &s3.identity {
            S3Identity::Keys(credentials) => Some(("s3-access-key".to_owned(), credentials)),
            S3Identity::Platform => None,
        },
        Provider::Filesystem | Provider::Minio => None,
    };
    let events = profile
        .events
        .iter()
        .enumerate()
        .filter_map(|(index, sink)| {
            let (kind, broker) = match sink {
                EventSink::Webhook { .. } => return None,
                EventSink::Mqtt { broker, .. } => ("mqtt", broker),
                EventSink::Amqp { broker, .. } => ("amqp", broker),
            };
            match broker {
                Broker::External {
                    credentials: Some(credentials),
                    ..
                } => Some((format!("{kind}-{}-login", index + 1), credentials)),
                _ => None,
            }
        });
    let catalogue = match &profile.catalogue {
        Catalogue::Mongodb(Database::External {
            credentials: Some(credentials),
            ..
        }) => Some(("catalogue-login".to_owned(), credentials)),
        _ => None,
    };
    let charts = profile.charts.iter().flat_map(|chart| {
        let purpose = |name: &String| chart_secret(&chart.name, name);
        let secrets = chart.secrets.iter();
        secrets.map(move |(name, credentials)| (purpose(name), credentials))
    });
    let all = storage.into_iter().chain(catalogue).chain(events);
    for (purpose, credentials) in all.chain(charts) {
        if let Some(key) = login_key(&purpose) {
            let login = resolve(&key, credentials, folder, ask);
            logins.insert(key, login);
        }
    }
    logins
}

/// Finds one camera's login; see [`resolve_logins`].
pub fn resolve_login(
    camera: &Camera,
    folder: &Utf8Path,
    ask: &mut dyn FnMut(&str) -> Option<Login>,
) -> Option<Result<Login, String>> {
    match &camera.source {
        Source::Rtsp {
            credentials: Some(credentials),
            ..
        } => Some(resolve(&camera.name, credentials, folder, ask)),
        _ => None,
    }
}

fn resolve(
    key: &str,
    credentials: &Credentials,
    folder: &Utf8Path,
    ask: &mut dyn FnMut(&str) -> Option<Login>,
) -> Result<Login, String> {
    match credentials {
        Credentials::Inline(login) => Ok(login.clone()),
        Credentials::Environment(name) => read_variable(name),
        Credentials::File(path) => {
            let path = folder.join(path);
            match fs::read_to_string(&path) {
                Ok(text) => parse_login(&text).ok_or_else(|| format!("`{path}` holds no login")),
                Err(error) => Err(format!("cannot read `{path}`: {error}")),
            }
        }
        Credentials::Ask => read_variable(&login_variable(key))
            .or_else(|_| ask(key).ok_or_else(|| "nobody can be asked".to_owned())),
    }
}

fn read_variable(name: &str) -> Result<Login, String> {
    let value = env::var(name).map_err(|_| format!("the variable {name} is not set"))?;
    parse_login(&value).ok_or_else(|| format!("the variable {name} does not hold user:password"))
}

/// `user` and password on two lines, or `user:password` on one.
pub fn parse_login(text: &str) -> Option<Login> {
    let text = text.trim_end_matches(['\n', '\r']);
    let (user, password) = match text.split_once('\n') {
        Some((user, password)) => (user.trim_end_matches('\r'), password),
        None => text.split_once(':')?,
    };
    let fine = !user.is_empty() && !password.is_empty() && !password.contains('\n');
    fine.then(|| Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// The form in which a login is kept: user, then password, a line each.
pub fn format_login(login: &Login) -> String {
    format!("{}\n{}\n", login.user, login.password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_two_lines_or_one_with_a_colon() {
        let login = Login {
            user: "u".into(),
            password: "p:w".into(),
        };
        assert_eq!(parse_login("u\np:w\n"), Some(login.clone()));
        assert_eq!(parse_login("u:p:w"), Some(login.clone()));
        assert_eq!(parse_login(&format_login(&login)), Some(login));
        assert_eq!(parse_login("u"), None);
        assert_eq!(parse_login(":p"), None);
        assert_eq!(parse_login("u\n\n"), None);
    }
}
