//! How secrets come to be, and which login of the profile is in which.

use serde::{Deserialize, Serialize};

/// User name under which the vault is known to brokers of the site's own.
pub const SERVICE_USER: &str = "stakeout";

/// How a secret's value comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretOrigin {
    /// 32 random bytes in hex, made where it is kept.
    Random,
    /// [`TEST_CAMERA_USER`](crate::TEST_CAMERA_USER) and a random password.
    RandomLogin,
    /// [`SERVICE_USER`] and a random password.
    ServiceLogin,
    /// A login that the profile names.
    Login,
    /// The user of such a login alone: an access key.
    LoginUser,
    /// The password of such a login alone: a secret key.
    LoginPassword,
    /// Mosquitto's password file, of the login in [`base_of`].
    MosquittoPasswords,
    /// RabbitMQ's definitions, of the login in [`base_of`].
    RabbitmqUsers,
}

impl SecretOrigin {
    /// Made by us, so that it can be made anew at any time.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Random | Self::RandomLogin | Self::ServiceLogin)
    }

    /// What a plan says of it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RandomLogin | Self::ServiceLogin => "random login",
            Self::Login | Self::LoginUser | Self::LoginPassword => "from the profile's source",
            Self::MosquittoPasswords | Self::RabbitmqUsers => "hash of the login",
        }
    }
}

/// The secret out of which one of this purpose is made.
pub fn base_of(purpose: &str) -> Option<&'static str> {
    match purpose {
        "mosquitto-passwords" => Some("mosquitto-login"),
        "rabbitmq-users" => Some("rabbitmq-login"),
        _ => None,
    }
}

/// Key of the profile's login that is in a secret: a camera's name, else the path of the
/// `credentials` in the profile, which holds a dot and so is no camera's name.
pub fn login_key(purpose: &str) -> Option<String> {
    if purpose == "s3-access-key" || purpose == "s3-secret-key" {
        return Some("storage.credentials".to_owned());
    }
    if purpose == "catalogue-login" {
        return Some("catalogue.credentials".to_owned());
    }
    let login = purpose.strip_suffix("-login")?;
    if let Some((chart, name)) = chart_login(purpose) {
        return Some(format!("charts.{chart}.{name}"));
    }
    if let Some(camera) = login.strip_prefix("camera-") {
        return Some(camera.to_owned());
    }
    let broker = login.strip_prefix("mqtt-");
    let number = broker.or_else(|| login.strip_prefix("amqp-"))?;
    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
    Some(event_login(index))
}

/// Chart and name of a login that a chart is given.
pub fn chart_login(purpose: &str) -> Option<(&str, &str)> {
    let rest = purpose.strip_prefix("chart-")?.strip_suffix("-login")?;
    // No name has an underscore.
    rest.split_once('_')
}

/// Purpose of such a login.
pub fn chart_secret(chart: &str, name: &str) -> String {
    format!("chart-{chart}_{name}-login")
}

pub(crate) fn event_login(index: usize) -> String {
    format!("events[{index}].credentials")
}

/// How a login is called in messages.
pub fn login_name(key: &str) -> String {
    if key.contains('.') {
        format!("`{key}`")
    } else {
        format!("camera `{key}`")
    }
}

/// The variable that holds a login which would be asked for.
pub fn login_variable(key: &str) -> String {
    let key = key.strip_suffix(".credentials").unwrap_or(key);
    let words = key.to_uppercase();
    let words = words.replace(['-', '[', '.'], "_").replace(']', "");
    format!("STAKEOUT_LOGIN_{words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_has_one_key_and_one_variable() {
        for (purpose, key, variable) in [
            ("camera-front-door-login", "front-door", "FRONT_DOOR"),
            ("s3-secret-key", "storage.credentials", "STORAGE"),
            ("catalogue-login", "catalogue.credentials", "CATALOGUE"),
            ("amqp-2-login", "events[1].credentials", "EVENTS_1"),
            (
                "chart-hub_its-mqtt-login",
                "charts.hub.its-mqtt",
                "CHARTS_HUB_ITS_MQTT",
            ),
        ] {
            assert_eq!(login_key(purpose).as_deref(), Some(key));
            assert_eq!(login_variable(key), format!("STAKEOUT_LOGIN_{variable}"));
        }
        assert_eq!(login_key("mosquitto-login"), None);
        assert_eq!(login_key("vault-access-key"), None);
    }
}
