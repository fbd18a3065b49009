//! Where a camera's login comes from. Nothing of a wrong value is shown.

use camino::Utf8PathBuf;

use super::{Checker, join};
use crate::keys;
use crate::profile::Credentials;
use crate::tree::{Kind, Node};

const HELP: &str = "write `{ file: PATH }`, `{ env: NAME }` or `ask`; the password itself does not \
                    stand here";

impl Checker<'_> {
    pub(super) fn credentials(&mut self, node: &Node, path: &str) -> Option<Credentials> {
        match &node.kind {
            Kind::Map(_) => {
                let fields = self.fields(node, path, keys::CREDENTIALS)?;
                match (fields.get("file"), fields.get("env")) {
                    (Some(file), None) => {
                        let path = join(path, "file");
                        let text = self.secret_reference(file, &path)?.to_owned();
                        self.login_file(file, &path, &text)
                    }
                    (None, Some(env)) => {
                        let path = join(path, "env");
                        let text = self.secret_reference(env, &path)?.to_owned();
                        self.variable(env, &path, &text)
                    }
                    (Some(_), Some(_)) => {
                        let message = "`file` and `env` stand side by side";
                        self.error(node.at, path, message, "keep one of the two");
                        None
                    }
                    (None, None) => {
                        let named = fields.has("file") || fields.has("env");
                        let empty = matches!(&node.kind, Kind::Map(entries) if entries.is_empty());
                        if empty && !named {
                            self.error(node.at, path, "`credentials` names no source", HELP);
                        }
                        None
                    }
                }
            }
            _ => {
                let text = self.secret_reference(node, path)?.to_owned();
                if text == "ask" {
                    Some(Credentials::Ask)
                } else if let Some(file) = text.strip_prefix("file:") {
                    self.login_file(node, path, file.trim_start())
                } else if let Some(name) = text.strip_prefix("env:") {
                    self.variable(node, path, name.trim_start())
                } else {
                    self.error(node.at, path, "this is not a source of a login", HELP);
                    None
                }
            }
        }
    }

    /// Like `text`, without showing any of it.
    fn secret_reference<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        let text = match &node.kind {
            Kind::Quoted(text) => Some(text.as_str()),
            Kind::Plain(text) if super::plain_means(text).is_none() => Some(text.as_str()),
            _ => None,
        };
        if text.is_none() {
            self.error(node.at, path, "this is not a source of a login", HELP);
        }
        text
    }

    fn login_file(&mut self, node: &Node, path: &str, file: &str) -> Option<Credentials> {
        if file.is_empty() || file.chars().any(char::is_control) {
            self.error(node.at, path, "this is not a file's path", HELP);
            return None;
        }
        Some(Credentials::File(Utf8PathBuf::from(file)))
    }

    fn variable(&mut self, node: &Node, path: &str, name: &str) -> Option<Credentials> {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(fine)
        {
            let help = "use letters, digits and `_`, for example `env:GATE_LOGIN`";
            self.error(node.at, path, "this is not a variable's name", help);
            return None;
        }
        Some(Credentials::Environment(name.to_owned()))
    }
}
