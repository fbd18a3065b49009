//! What a registry asks for when it says 401 (RFC 9110 section 11; Docker's token specification).

use serde::Deserialize;
use url::Url;

/// Name and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// The kind of proof that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token, to be fetched from `realm`.
    Bearer {
        realm: Url,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Url::parse(&value).ok(),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

/// `name="value"` pairs. A scope has commas in its quotes: `repository:a/b:pull,push`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let (value, next) = after.split_once(',').unwrap_or((after, ""));
            (value.trim().to_owned(), next)
        };
        let name = name.trim_start_matches([',', ' ']).trim();
        pairs.push((name.to_owned(), value));
        rest = next;
    }
    pairs
}

/// The text up to the closing quote, without its backslashes, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => value.extend(letters.next()),
            other => value.push(other),
        }
    }
    (value, letters.as_str())
}

/// A token server's answer: Docker's has `token`, OAuth2's `access_token`.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    pub(super) fn take(self) -> Option<String> {
        self.token.or(self.access_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.parse().unwrap(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn the_challenges_of_well_known_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:library/a:pull,push""#;
        let wanted = bearer(
            "https://auth.example/token",
            Some("registry.example"),
            Some("repository:library/a:pull,push"),
        );
        assert_eq!(Challenge::parse(hub), Some(wanted));
        // Spaces after commas, a parameter without quotes, and one that nobody knows.
        let other = r#"bearer realm="https://a.example/x", service=a.example, error="a \"b\"""#;
        let wanted = bearer("https://a.example/x", Some("a.example"), None);
        assert_eq!(Challenge::parse(other), Some(wanted));
        assert_eq!(
            Challenge::parse(r#"Basic realm="a""#),
            Some(Challenge::Basic)
        );
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for header in [
            "",
            "Negotiate",
            "Bearer",
            r#"Bearer service="a""#,
            r#"Bearer realm="a""#,
        ] {
            assert_eq!(Challenge::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_login_is_not_printed() {
        let login = Login {
            user: "me".to_owned(),
            password: "secret".to_owned(),
        };
        assert_eq!(format!("{login:?}"), "Login(me)");
    }
}
