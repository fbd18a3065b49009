//! Passwords as brokers keep them: a hash, so that what a broker reads does not let anyone in.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use installer_spec::Login;
use ring::{digest, pbkdf2};
use serde_json::{Value, json};

/// `mosquitto_passwd` takes as many (`SALT_LEN`).
pub(crate) const MOSQUITTO_SALT: usize = 12;

/// RabbitMQ's format says so: "generate a random 32 bit salt".
pub(crate) const RABBITMQ_SALT: usize = 4;

/// What `mosquitto_passwd` takes; the passwords here are 32 random bytes, which nobody guesses.
const ROUNDS: u32 = 101;

/// Mosquitto's `$7$`: PBKDF2 with SHA-512, as `mosquitto_passwd` writes it.
pub(crate) fn mosquitto(login: &Login, salt: [u8; MOSQUITTO_SALT]) -> String {
    let hash = pbkdf2_sha512(&login.password, &salt, ROUNDS);
    let (salt, hash) = (STANDARD.encode(salt), STANDARD.encode(hash));
    format!("{}:$7${ROUNDS}${salt}${hash}\n", login.user)
}

fn pbkdf2_sha512(password: &str, salt: &[u8], rounds: u32) -> [u8; digest::SHA512_OUTPUT_LEN] {
    let mut hash = [0; digest::SHA512_OUTPUT_LEN];
    let rounds = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        rounds,
        salt,
        password.as_bytes(),
        &mut hash,
    );
    hash
}

pub(crate) fn mosquitto_holds(text: &str, login: &Login) -> bool {
    let Some((user, hash)) = text.trim_end().split_once(":$7$") else {
        return false;
    };
    let parts: Vec<_> = hash.split('$').collect();
    let [rounds, salt, _] = parts.as_slice() else {
        return false;
    };
    let salt = STANDARD.decode(salt).ok();
    let salt = salt.and_then(|salt| <[u8; MOSQUITTO_SALT]>::try_from(salt).ok());
    user == login.user
        && rounds.parse() == Ok(ROUNDS)
        && salt.is_some_and(|salt| mosquitto(login, salt) == text)
}

/// RabbitMQ's definitions: one user, whose password is the base64 of salt and SHA-256 of salt and
/// password (<https://www.rabbitmq.com/docs/passwords>).
pub(crate) fn rabbitmq(login: &Login, salt: [u8; RABBITMQ_SALT]) -> String {
    let mut salted = salt.to_vec();
    salted.extend(login.password.as_bytes());
    let mut hash = salt.to_vec();
    hash.extend(digest::digest(&digest::SHA256, &salted).as_ref());
    let definitions = json!({
        "users": [{
            "name": login.user,
            "password_hash": STANDARD.encode(hash),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": [],
        }],
        "vhosts": [{ "name": "/" }],
        "permissions": [{
            "user": login.user,
            "vhost": "/",
            "configure": ".*",
            "write": ".*",
            "read": ".*",
        }],
    });
    format!("{definitions:#}\n")
}

pub(crate) fn rabbitmq_holds(text: &str, login: &Login) -> bool {
    let definitions: Value = serde_json::from_str(text).unwrap_or_default();
    let hash = definitions.pointer("/users/0/password_hash");
    let hash = hash.and_then(Value::as_str);
    let bytes = hash.and_then(|hash| STANDARD.decode(hash).ok());
    let salt = bytes.and_then(|bytes| bytes.first_chunk::<RABBITMQ_SALT>().copied());
    salt.is_some_and(|salt| rabbitmq(login, salt) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(password: &str) -> Login {
        Login {
            user: "stakeout".to_owned(),
            password: password.to_owned(),
        }
    }

    /// Written by `mosquitto_passwd -b FILE stakeout secret` of Mosquitto 2.0.11.
    const MOSQUITTO: &str = "stakeout:$7$101$2dD0tLk/vlXBf9yg$ZTepHUBLGF8qLGvueMyvhEhrv04ivFk1RNV4Ts56HhicHcaLOGI4EcB5AeEmHXijGCxfS/garPsLG5k0/O8boQ==\n";

    /// The example of RabbitMQ's documentation: password `test12`, salt `908D C60A`.
    const RABBITMQ: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

    #[test]
    fn hashes_are_those_that_brokers_make() {
        assert!(mosquitto_holds(MOSQUITTO, &login("secret")));
        let text = rabbitmq(&login("test12"), [0x90, 0x8d, 0xc6, 0x0a]);
        assert!(text.contains(RABBITMQ), "{text}");
    }

    #[test]
    fn a_hash_is_of_one_login_only() {
        let (mqtt, amqp) = (
            mosquitto(&login("a"), [7; 12]),
            rabbitmq(&login("a"), [7; 4]),
        );
        assert!(mosquitto_holds(&mqtt, &login("a")));
        assert!(!mosquitto_holds(&mqtt, &login("b")));
        assert!(rabbitmq_holds(&amqp, &login("a")));
        assert!(!rabbitmq_holds(&amqp, &login("b")));
        assert!(!mosquitto_holds("", &login("a")) && !rabbitmq_holds("", &login("a")));
    }
}
