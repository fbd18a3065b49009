//! The user and password of a camera.

use std::fmt;
use std::io;

/// User and password; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot read camera credentials `{path}`")]
    Read { path: String, source: io::Error },
    #[error(
        "camera credentials `{path}` need the user on the first line, the password on the second"
    )]
    Shape { path: String },
}

/// Reads a file with the user on its first line and the password on its second.
pub fn read_credentials(path: &str) -> Result<Credentials, CredentialsError> {
    let text = std::fs::read_to_string(path).map_err(|source| CredentialsError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).ok_or_else(|| CredentialsError::Shape {
        path: path.to_owned(),
    })
}

/// An empty password is allowed: some cameras ship with one.
fn parse(text: &str) -> Option<Credentials> {
    let mut lines = text.lines();
    let user = lines.next().filter(|u| !u.is_empty())?.to_owned();
    let password = lines.next()?.to_owned();
    Some(Credentials { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_make_credentials_and_one_does_not() {
        let read = parse("admin\r\npass word\r\n").expect("two lines");
        assert_eq!(
            (read.user.as_str(), read.password.as_str()),
            ("admin", "pass word")
        );
        assert_eq!(parse("admin"), None);
        assert_eq!(parse("\nsecret\n"), None);
    }

    #[test]
    fn debug_shows_neither_user_nor_password() {
        let shown = format!(
            "{:?}",
            Credentials {
                user: "admin".into(),
                password: "hunter2".into()
            }
        );
        assert!(
            !shown.contains("admin") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
