//! Digest access authentication, server side (RFC 2617 and RFC 7616, algorithm MD5).

use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};

use crate::options::Login;

const REALM: &str = "stakeout test camera";

/// How long a nonce is accepted; after that a right answer is told `stale`, and asks no user.
const NONCE_LIFE: Duration = Duration::from_mins(5);

/// What a request's proof is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted,
    /// Right user and password over a nonce that is not, or no longer, ours.
    Stale,
    Refused,
}

/// Makes and recognises nonces without keeping them: each is its time of issue, signed.
#[derive(Debug)]
pub(crate) struct Gate {
    secret: [u8; 16],
    started: Instant,
}

impl Gate {
    pub(crate) fn new(secret: [u8; 16], started: Instant) -> Self {
        Self { secret, started }
    }

    /// Value of WWW-Authenticate. Basic is not offered: it shows the password.
    pub(crate) fn challenge(&self, now: Instant, previous: Verdict) -> String {
        let nonce = self.nonce(milliseconds(now.saturating_duration_since(self.started)));
        let stale = if previous == Verdict::Stale {
            ", stale=true"
        } else {
            ""
        };
        format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{stale}")
    }

    /// Judges the value of Authorization. The digest's own `uri` is taken as it is, since clients
    /// differ in whether they sign the track's or the session's URL.
    pub(crate) fn judge(&self, login: &Login, method: &str, header: &str, now: Instant) -> Verdict {
        let Some(proof) = Proof::parse(header) else {
            return Verdict::Refused;
        };
        if proof.user != login.user || proof.response != proof.expected(login, method) {
            return Verdict::Refused;
        }
        let now = now.saturating_duration_since(self.started);
        let issued = proof.nonce.split_once('-').and_then(|(issued, _)| {
            let issued = u64::from_str_radix(issued, 16).ok()?;
            (self.nonce(issued) == proof.nonce).then_some(Duration::from_millis(issued))
        });
        match issued {
            Some(issued) if now.saturating_sub(issued) <= NONCE_LIFE => Verdict::Granted,
            _ => Verdict::Stale,
        }
    }

    fn nonce(&self, issued: u64) -> String {
        let mut hash = Md5::new();
        hash.update(self.secret);
        hash.update(issued.to_be_bytes());
        hash.update(self.secret);
        format!("{issued:x}-{}", hex::encode(hash.finalize()))
    }
}

#[derive(Debug, Default)]
struct Proof {
    user: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    qop: Option<String>,
    cnonce: String,
    count: String,
}

impl Proof {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut proof = Self::default();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = value(after.trim_start());
            match name
                .trim_matches([' ', ',', '\t'])
                .to_ascii_lowercase()
                .as_str()
            {
                "username" => proof.user = value,
                "realm" => proof.realm = value,
                "nonce" => proof.nonce = value,
                "uri" => proof.uri = value,
                "response" => proof.response = value.to_ascii_lowercase(),
                "qop" => proof.qop = Some(value),
                "cnonce" => proof.cnonce = value,
                "nc" => proof.count = value,
                "algorithm" if !value.eq_ignore_ascii_case("md5") => return None,
                _ => {}
            }
            rest = after;
        }
        (proof.realm == REALM).then_some(proof)
    }

    fn expected(&self, login: &Login, method: &str) -> String {
        let user = md5(&[&login.user, REALM, &login.password]);
        let request = md5(&[method, &self.uri]);
        match &self.qop {
            Some(qop) => md5(&[&user, &self.nonce, &self.count, &self.cnonce, qop, &request]),
            None => md5(&[&user, &self.nonce, &request]),
        }
    }
}

/// A quoted string or a token at the start of `text`, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_once(',').unwrap_or((text, ""));
        return (token.trim().to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    (value, characters.as_str())
}

fn md5(parts: &[&str]) -> String {
    hex::encode(Md5::digest(parts.join(":")))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn login() -> Login {
        Login {
            user: "viewer".to_owned(),
            password: "s3cret \"x\"".to_owned(),
        }
    }

    /// Answers a challenge as a client would.
    fn answer(challenge: &str, password: &str, qop: bool) -> String {
        let nonce = challenge.split('"').nth(3).unwrap();
        let a1 = md5(&["viewer", REALM, password]);
        let a2 = md5(&["PLAY", "rtsp://h/"]);
        let head = format!(
            "Digest username=\"viewer\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"rtsp://h/\""
        );
        if qop {
            let response = md5(&[&a1, nonce, "00000001", "abc", "auth", &a2]);
            format!("{head}, qop=auth, nc=00000001, cnonce=\"abc\", response=\"{response}\"")
        } else {
            format!("{head}, response=\"{}\"", md5(&[&a1, nonce, &a2]))
        }
    }

    #[test]
    fn the_right_password_is_granted_until_the_nonce_is_old() {
        let start = Instant::now();
        let gate = Gate::new([7; 16], start);
        let challenge = gate.challenge(start, Verdict::Refused);
        assert!(!challenge.contains("stale") && !challenge.contains("Basic"));
        for qop in [true, false] {
            let right = answer(&challenge, &login().password, qop);
            let judge = |at| gate.judge(&login(), "PLAY", &right, at);
            assert_eq!(judge(start + NONCE_LIFE), Verdict::Granted);
            assert_eq!(
                judge(start + NONCE_LIFE + Duration::from_secs(1)),
                Verdict::Stale
            );
            assert_eq!(
                gate.judge(&login(), "SETUP", &right, start),
                Verdict::Refused
            );
            let wrong = answer(&challenge, "guess", qop);
            assert_eq!(
                gate.judge(&login(), "PLAY", &wrong, start),
                Verdict::Refused
            );
        }
        assert!(gate.challenge(start, Verdict::Stale).contains("stale=true"));
    }

    #[test]
    fn a_nonce_of_another_camera_is_stale() {
        let start = Instant::now();
        let other = Gate::new([8; 16], start).challenge(start, Verdict::Refused);
        let right = answer(&other, &login().password, true);
        let verdict = Gate::new([7; 16], start).judge(&login(), "PLAY", &right, start);
        assert_eq!(verdict, Verdict::Stale);
    }

    proptest! {
        #[test]
        fn nonsense_is_refused(header in "(Digest |Basic )?(username|nonce|=|\"|,|\\\\|\\PC){0,40}") {
            let now = Instant::now();
            prop_assert_eq!(Gate::new([1; 16], now).judge(&login(), "PLAY", &header, now), Verdict::Refused);
        }
    }
}
