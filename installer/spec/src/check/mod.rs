//! From a tree to a profile, collecting every fault on the way.
//!
//! Each checker returns what it could make of its node and reports the rest; a profile comes out
//! only when nothing was reported as an error.

mod access;
mod camera;
mod catalogue;
mod chart;
mod cluster;
mod event;
mod list;
mod login;
mod monitoring;
mod site;
mod store;
mod url;
mod vault;

use std::collections::HashMap;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Severity};
use crate::keys::{self, Keys, Words};
use crate::lists::Lists;
use crate::mask;
use crate::profile::{Camera, Profile};
use crate::tree::{self, Entry, Kind, Node, Place};
use crate::units;

pub(crate) const MOST_BYTES: usize = 1024 * 1024;
pub(crate) const MOST_LIST_BYTES: usize = 16 * 1024 * 1024;
pub(crate) const MOST_CAMERAS: usize = 10_000;
/// More than anyone reads; the rest is counted.
const MOST_DIAGNOSTICS: usize = 1000;

/// A profile's text and the name that messages give it.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl<'a> SourceFile<'a> {
    /// A file as read from disk; the error says where it is not UTF-8.
    pub fn from_bytes(name: &'a str, bytes: &'a [u8]) -> Result<Self, Diagnostic> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(Diagnostic {
                line: line_of(bytes, &error),
                ..Diagnostic::of_file(name, "the profile is not UTF-8", "save it as UTF-8")
            }),
        }
    }
}

/// The line, from 1, of the first byte that is not UTF-8.
fn line_of(bytes: &[u8], error: &std::str::Utf8Error) -> usize {
    bytes
        .iter()
        .take(error.valid_up_to())
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub profile: Profile,
    pub warnings: Vec<Diagnostic>,
}

/// Checks a profile, version 1. The error holds everything that is wrong, in file order.
pub fn parse(source: &SourceFile<'_>, lists: &dyn Lists) -> Result<Parsed, Vec<Diagnostic>> {
    if source.text.len() > MOST_BYTES {
        return Err(vec![Diagnostic::of_file(
            source.name,
            "the profile is larger than 1 MiB",
            "keep long camera lists in a CSV file (`from:`)",
        )]);
    }
    let mut checker = Checker::new(source.name, lists);
    let profile = match tree::read(source.text) {
        Ok(root) => checker.profile(&root),
        Err(fault) => {
            checker.error(fault.at, "", fault.message, fault.help);
            None
        }
    };
    checker.finish(profile)
}

/// Checks one camera's node by itself; the editor proves its work with it.
pub(crate) fn camera_alone(node: &Node) -> Option<Camera> {
    let nothing = crate::lists::MemoryLists::default();
    let mut checker = Checker::new("", &nothing);
    let mut cameras = Vec::new();
    checker.entry(node, "camera", &mut cameras);
    let fine = checker
        .found
        .iter()
        .all(|d| d.severity == Severity::Warning);
    cameras.pop().filter(|_| fine && cameras.is_empty())
}

struct Checker<'a> {
    /// Names of the profile (0) and of the lists.
    files: Vec<String>,
    lists: &'a dyn Lists,
    found: Vec<Diagnostic>,
    dropped: usize,
    /// Where each camera name was seen first.
    names: HashMap<String, Place>,
}

impl<'a> Checker<'a> {
    fn new(name: &str, lists: &'a dyn Lists) -> Self {
        Self {
            files: vec![name.to_owned()],
            lists,
            found: Vec::new(),
            dropped: 0,
            names: HashMap::new(),
        }
    }

    fn finish(mut self, profile: Option<Profile>) -> Result<Parsed, Vec<Diagnostic>> {
        let files = &self.files;
        let order = |name: &str| files.iter().position(|file| file == name);
        self.found
            .sort_by_cached_key(|d| (order(&d.file), d.line, d.column, d.severity));
        if self.dropped > 0 {
            let file = self.files.first().map_or("", String::as_str);
            self.found.push(Diagnostic::of_file(
                file,
                format!("{} more faults are not shown", self.dropped),
                "mend the first ones and check again",
            ));
        }
        match profile {
            Some(profile) if self.found.iter().all(|d| d.severity == Severity::Warning) => {
                Ok(Parsed {
                    profile,
                    warnings: self.found,
                })
            }
            _ => Err(self.found),
        }
    }

    fn error(&mut self, at: Place, path: &str, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.report(Severity::Error, at, path, message.as_ref(), help.as_ref());
    }

    fn warn(&mut self, at: Place, path: &str, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.report(Severity::Warning, at, path, message.as_ref(), help.as_ref());
    }

    fn report(&mut self, severity: Severity, at: Place, path: &str, message: &str, help: &str) {
        if self.found.len() >= MOST_DIAGNOSTICS {
            self.dropped += 1;
            return;
        }
        self.found.push(Diagnostic {
            severity,
            file: self.files.get(at.file).cloned().unwrap_or_default(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message: mask(message),
            help: help.to_owned(),
        });
    }

    /// `stakeout.yaml:3:5`, for a message about another place.
    fn position(&self, at: Place) -> String {
        let file = self.files.get(at.file).map_or("", String::as_str);
        format!("{file}:{}:{}", at.line, at.column)
    }

    /// Returns the mapping's entries by key; reports keys that do not belong or stand twice.
    fn fields<'n>(&mut self, node: &'n Node, path: &str, keys: Keys) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &node.kind else {
            let known = keys.known.join("`, `");
            self.error(
                node.at,
                path,
                format!("{} is a mapping, not {}", keys.owner, kind_name(node)),
                format!("write `key: value` lines with the keys `{known}`"),
            );
            return None;
        };
        let mut fields = Fields {
            at: node.at,
            entries: Vec::new(),
            meant: Vec::new(),
        };
        let mut seen: HashMap<&str, Place> = HashMap::new();
        for entry in entries {
            let path = join(path, known_name(keys, &entry.key).unwrap_or_default());
            if let Some(first) = seen.insert(&entry.key, entry.at) {
                let key = known_name(keys, &entry.key).unwrap_or("this key");
                self.error(
                    entry.at,
                    &path,
                    format!("`{key}` stands twice, first in line {}", first.line),
                    "keep one of the two",
                );
            } else if !keys.known.contains(&entry.key.as_str()) {
                self.unknown(entry, &path, keys);
                fields
                    .meant
                    .extend(keys::nearest(&entry.key, keys.known.iter().copied()));
            } else if matches!(entry.value.kind, Kind::Null) {
                let message = format!("`{}` has no value", entry.key);
                self.error(
                    entry.at,
                    &path,
                    message,
                    "write a value, or take the key out",
                );
                fields.entries.push((entry, false));
            } else {
                fields.entries.push((entry, true));
            }
        }
        Some(fields)
    }

    fn unknown(&mut self, entry: &Entry, path: &str, keys: Keys) {
        if self.found.len() >= MOST_DIAGNOSTICS {
            self.dropped += 1;
            return;
        }
        if let Some((key, help)) = keys.later.iter().find(|(key, _)| *key == entry.key) {
            self.error(
                entry.at,
                path,
                format!("`{key}` is not available in this version"),
                help,
            );
            return;
        }
        let secret = keys.owner == keys::CREDENTIALS.owner;
        let shown = Some(entry.key.as_str()).filter(|key| !secret && is_harmless(key));
        let message = match shown {
            Some(key) => format!("{} has no key `{key}`", keys.owner),
            None => format!("{} has no such key", keys.owner),
        };
        let home = || {
            keys::ALL
                .iter()
                .find(|other| other.known.contains(&entry.key.as_str()))
        };
        let help = if let Some(near) = keys::nearest(&entry.key, keys.known.iter().copied()) {
            format!("did you mean `{near}`?")
        } else if ["user", "username", "password", "login"].contains(&entry.key.as_str()) {
            "give the camera's login by `credentials: { file: PATH }` or `{ env: NAME }`".to_owned()
        } else if entry.key == "<<" {
            "merge keys are not read; write the keys out, or repeat a whole value by an alias"
                .to_owned()
        } else if let Some(home) = home().filter(|_| !secret) {
            format!("it belongs to {}", home.owner)
        } else {
            format!("the keys are `{}`", keys.known.join("`, `"))
        };
        self.error(entry.at, path, message, help);
    }

    fn missing(&mut self, at: Place, path: &str, key: &str, help: &str) {
        self.error(at, &join(path, key), format!("`{key}` is missing"), help);
    }

    /// Text that nobody could take for something else.
    fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Quoted(text) => Some(text),
            Kind::Plain(text) => match plain_means(text) {
                None => Some(text),
                Some(other) => {
                    let message = format!("`{text}` without quotes is {other} in YAML, not text");
                    self.error(node.at, path, message, format!("write \"{text}\""));
                    None
                }
            },
            _ => {
                let message = format!("expected text, found {}", kind_name(node));
                self.error(node.at, path, message, "write one value");
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, node: &Node, path: &str, words: Words<T>) -> Option<T> {
        // No word of ours is a number or a truth value: `off` gets the list of words, not quotes.
        let text = match &node.kind {
            Kind::Plain(text) => text,
            _ => self.text(node, path)?,
        };
        if let Some((_, value)) = words.known.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.known.iter().map(|(word, _)| *word).collect();
        let all = format!("use `{}`", names.join("`, `"));
        if words.later.contains(&text) {
            let message = format!("`{text}` is not available in this version");
            self.error(node.at, path, message, all);
            return None;
        }
        let help = match keys::nearest(text, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => all,
        };
        let shown = shown(node, text);
        self.error(node.at, path, format!("{shown} is not known here"), help);
        None
    }

    fn duration(&mut self, node: &Node, path: &str, limits: DurationLimits) -> Option<Duration> {
        const HELP: &str = "write a number and its unit: 500ms, 10s, 5m, 1h30m, 30d, 1w";
        let text = match &node.kind {
            Kind::Plain(text) if plain_means(text) == Some(NUMBER) => {
                let message = format!("`{text}` has no unit");
                let help = if text.chars().all(|c| c.is_ascii_digit()) {
                    format!("write {text}s for seconds; units are ms, s, m, h, d, w")
                } else {
                    HELP.to_owned()
                };
                self.error(node.at, path, message, help);
                return None;
            }
            _ => self.text(node, path)?,
        };
        let Some(duration) = units::parse_duration(text) else {
            let shown = shown(node, text);
            self.error(node.at, path, format!("{shown} is not a duration"), HELP);
            return None;
        };
        let limit = if duration < limits.least {
            format!("less than {}", units::format_duration(limits.least))
        } else if limits.most.is_some_and(|most| duration > most) {
            format!(
                "more than {}",
                units::format_duration(limits.most.unwrap_or_default())
            )
        } else {
            return Some(duration);
        };
        self.error(node.at, path, format!("`{text}` is {limit}"), limits.help);
        None
    }

    fn bytes(&mut self, node: &Node, path: &str, least: u64) -> Option<u64> {
        const HELP: &str = "write a number and its unit: 500MB, 100GiB, 2TB, 2TiB";
        let text = match &node.kind {
            Kind::Plain(text) if plain_means(text) == Some(NUMBER) => {
                self.error(node.at, path, format!("`{text}` has no unit"), HELP);
                return None;
            }
            _ => self.text(node, path)?,
        };
        match units::parse_bytes(text) {
            Some(bytes) if bytes >= least => Some(bytes),
            Some(_) => {
                let least = units::format_bytes(least);
                let message = format!("`{text}` is less than {least}");
                self.error(node.at, path, message, format!("give it at least {least}"));
                None
            }
            None => {
                let shown = shown(node, text);
                self.error(node.at, path, format!("{shown} is not a size"), HELP);
                None
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct DurationLimits {
    least: Duration,
    most: Option<Duration>,
    help: &'static str,
}

/// The entries of one mapping whose keys are known, each once.
struct Fields<'n> {
    at: Place,
    /// With whether the entry has a value; one without was reported.
    entries: Vec<(&'n Entry, bool)>,
    /// Keys that were misspelt and reported: not missing as well.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        let found = self
            .entries
            .iter()
            .find(|(entry, full)| *full && entry.key == key);
        found.map(|(entry, _)| &entry.value)
    }

    /// Whether the key stands there, with or without a value, perhaps misspelt.
    fn has(&self, key: &str) -> bool {
        self.meant.contains(&key) || self.entries.iter().any(|(entry, _)| entry.key == key)
    }

    fn key_place(&self, key: &str) -> Place {
        let found = self.entries.iter().find(|(entry, _)| entry.key == key);
        found.map_or(self.at, |(entry, _)| entry.at)
    }
}

const NUMBER: &str = "a number";

/// What YAML readers make of a word without quotes, if not text.
fn plain_means(word: &str) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    ) {
        return Some("a truth value");
    }
    let digits = lower.trim_start_matches(['+', '-']);
    let radix = |prefix, digit: fn(char) -> bool| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|d| !d.is_empty() && d.chars().all(digit))
    };
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && (digits.replace('_', "").parse::<f64>().is_ok()
            || matches!(digits, ".inf" | ".nan")
            || radix("0x", |c| c.is_ascii_hexdigit() || c == '_')
            || radix("0o", |c| c.is_digit(8) || c == '_')
            || radix("0b", |c| c.is_digit(2) || c == '_'));
    number.then_some(NUMBER)
}

fn kind_name(node: &Node) -> &'static str {
    match &node.kind {
        Kind::Null => "nothing",
        Kind::Plain(_) | Kind::Quoted(_) => "a single value",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a mapping",
    }
}

/// The value for a message. Cells of a list are never shown: a shifted column may hold a password.
fn shown(node: &Node, text: &str) -> String {
    if node.at.file == 0 && is_harmless(text) {
        format!("`{text}`")
    } else {
        "this value".to_owned()
    }
}

fn is_harmless(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 40
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | '<'))
}

fn known_name(keys: Keys, key: &str) -> Option<&str> {
    let later = || keys.later.iter().any(|(name, _)| *name == key);
    (keys.known.contains(&key) || later()).then_some(key)
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        (_, "") => path.to_owned(),
        ("", _) => key.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
