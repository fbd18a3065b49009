//! The bearer token.

use std::fmt;
use std::hint::black_box;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// 16 characters of a random hex token are 64 bits: out of reach over a network.
const SHORTEST: usize = 16;
/// Long enough to pass the length check, and everybody's first guess.
const WELL_KNOWN: [&str; 8] = [
    "changemechangeme",
    "change-me-change-me",
    "stakeout-default-token",
    "stakeoutstakeout",
    "passwordpassword",
    "0123456789abcdef",
    "1234567890123456",
    "adminadminadminadmin",
];

/// A secret that is compared and never shown.
pub struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the API token `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("the API token `{path}` is empty")]
    Empty { path: Utf8PathBuf },
    #[error("the API token `{path}` is shorter than {SHORTEST} characters")]
    Short { path: Utf8PathBuf },
    #[error("the API token `{path}` is a well-known default")]
    WellKnown { path: Utf8PathBuf },
}

/// Reads the token; an agent does not start with one that can be guessed.
pub fn read_token(path: &Utf8Path) -> Result<Token, TokenError> {
    let path = path.to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => check(path, text.trim()),
        Err(source) => Err(TokenError::Read { path, source }),
    }
}

fn check(path: Utf8PathBuf, token: &str) -> Result<Token, TokenError> {
    if token.is_empty() {
        return Err(TokenError::Empty { path });
    }
    if token.chars().count() < SHORTEST {
        return Err(TokenError::Short { path });
    }
    let plain = token.to_ascii_lowercase();
    let one_character = token.chars().all(|c| token.starts_with(c));
    if one_character || WELL_KNOWN.contains(&plain.as_str()) {
        return Err(TokenError::WellKnown { path });
    }
    Ok(Token(token.as_bytes().to_vec()))
}

impl Token {
    /// Takes the same time wherever the first difference is.
    pub(crate) fn matches(&self, given: &str) -> bool {
        let given = given.as_bytes();
        let differing = self
            .0
            .iter()
            .zip(given)
            .fold(0_u8, |all, (a, b)| all | (a ^ b));
        self.0.len() == given.len() && black_box(differing) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_can_be_guessed_are_refused() {
        let checked = |token: &str| check("token".into(), token);
        assert!(matches!(checked(""), Err(TokenError::Empty { .. })));
        assert!(matches!(checked("short"), Err(TokenError::Short { .. })));
        assert!(matches!(
            checked("ChangeMeChangeMe"),
            Err(TokenError::WellKnown { .. })
        ));
        assert!(matches!(
            checked("aaaaaaaaaaaaaaaaaaaa"),
            Err(TokenError::WellKnown { .. })
        ));
        let token = checked("5f2b7c01d9e84a36").expect("good enough");
        assert!(token.matches("5f2b7c01d9e84a36"));
        assert!(!token.matches("5f2b7c01d9e84a37") && !token.matches("5f2b7c01d9e84a3"));
    }
}
