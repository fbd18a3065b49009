//! Documents of IAM as values ("IAM JSON policy elements reference").
//!
//! What a document says in several ways is one value here: a word and a list of one word, the order
//! of words and statements, actions in either case, a document that is escaped for a URL.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// The only version of the language that knows variables.
const VERSION: &str = "2012-10-17";

/// A document that cannot be understood; one of ours never is.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the policy is not UTF-8 behind its escapes")]
    Escapes(#[source] std::str::Utf8Error),
    #[error("the policy is not JSON of the shape that IAM describes")]
    Shape(#[source] serde_json::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    Allow,
    Deny,
}

/// Words of which a document may write one alone.
pub type Words = BTreeSet<String>;

/// Operator → key → values; all of it has to be met.
pub type Conditions = BTreeMap<String, BTreeMap<String, Words>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    pub sid: Option<String>,
    pub effect: Effect,
    /// Kind (`AWS`, `Service`, `Federated`) → who; only in documents of a role's trust or a bucket.
    pub principals: BTreeMap<String, Words>,
    pub actions: Words,
    /// None in a role's trust, which is about the role.
    pub resources: Words,
    pub conditions: Conditions,
    /// `NotAction`, `NotResource`, `NotPrincipal`: never in ours, and kept so that theirs are
    /// different from ours.
    pub others: BTreeMap<String, String>,
}

impl Statement {
    pub fn new(effect: Effect, actions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            sid: None,
            effect,
            principals: BTreeMap::new(),
            actions: words(actions),
            resources: Words::new(),
            conditions: Conditions::new(),
            others: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn named(mut self, sid: &str) -> Self {
        self.sid = Some(sid.to_owned());
        self
    }

    #[must_use]
    pub fn by(mut self, kind: &str, who: impl Into<String>) -> Self {
        let kind = self.principals.entry(kind.to_owned()).or_default();
        kind.insert(who.into());
        self
    }

    #[must_use]
    pub fn on(mut self, resources: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.resources.extend(words(resources));
        self
    }

    #[must_use]
    pub fn when(mut self, operator: &str, key: &str, value: impl Into<String>) -> Self {
        let keys = self.conditions.entry(operator.to_owned()).or_default();
        keys.entry(key.to_owned()).or_default().insert(value.into());
        self
    }

    /// The same, said the same way: names of actions and keys have no case.
    fn canonical(&self) -> Self {
        let mut conditions = Conditions::new();
        for (operator, keys) in &self.conditions {
            let into = conditions.entry(operator.to_lowercase()).or_default();
            for (key, values) in keys {
                let known = into.entry(key.to_lowercase()).or_default();
                known.extend(values.iter().cloned());
            }
        }
        Self {
            sid: self.sid.clone(),
            actions: words(self.actions.iter().map(|action| action.to_lowercase())),
            conditions,
            ..self.clone()
        }
    }
}

fn words(of: impl IntoIterator<Item = impl Into<String>>) -> Words {
    of.into_iter().map(Into::into).collect()
}

/// A policy. Two are equal when IAM cannot tell them apart by their words.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub statements: Vec<Statement>,
}

impl Document {
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Self {
        let statements = statements.into_iter().collect();
        Self { statements }
    }

    /// Reads what IAM gives back (escaped for a URL, RFC 3986) and what S3 does (plain).
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let escaped = text.trim_start().starts_with('%');
        let plain = if escaped {
            percent_decode_str(text).decode_utf8()
        } else {
            Ok(text.into())
        };
        let plain = plain.map_err(DocumentError::Escapes)?;
        serde_json::from_str(&plain).map_err(DocumentError::Shape)
    }

    /// As it is sent: one line.
    pub fn text(&self) -> String {
        self.to_string()
    }

    fn canonical(&self) -> BTreeSet<Statement> {
        self.statements.iter().map(Statement::canonical).collect()
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Document {}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statements: Vec<_> = self.statements.iter().map(written).collect();
        let document = json!({ "Version": VERSION, "Statement": statements });
        document.fmt(f)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let statements: Vec<_> = self.statements.iter().map(written).collect();
        json!({ "Version": VERSION, "Statement": statements }).serialize(serializer)
    }
}

fn written(statement: &Statement) -> Value {
    let mut object = serde_json::Map::new();
    if let Some(sid) = &statement.sid {
        object.insert("Sid".to_owned(), json!(sid));
    }
    object.insert("Effect".to_owned(), json!(statement.effect));
    if !statement.principals.is_empty() {
        object.insert("Principal".to_owned(), map(&statement.principals));
    }
    if !statement.actions.is_empty() {
        object.insert("Action".to_owned(), one_or_many(&statement.actions));
    }
    if !statement.resources.is_empty() {
        object.insert("Resource".to_owned(), one_or_many(&statement.resources));
    }
    for (name, text) in &statement.others {
        let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        object.insert(name.clone(), value);
    }
    if !statement.conditions.is_empty() {
        let operators = statement.conditions.iter();
        let operators = operators.map(|(operator, keys)| (operator.clone(), map(keys)));
        object.insert("Condition".to_owned(), Value::Object(operators.collect()));
    }
    Value::Object(object)
}

fn map(of: &BTreeMap<String, Words>) -> Value {
    let entries = of.iter();
    Value::Object(entries.map(|(k, v)| (k.clone(), one_or_many(v))).collect())
}

fn one_or_many(words: &Words) -> Value {
    match words.first() {
        Some(word) if words.len() == 1 => json!(word),
        _ => json!(words),
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Read {
            statement: OneOrMany<ReadStatement>,
        }
        let read = Read::deserialize(deserializer)?;
        let statements = Vec::from(read.statement);
        Ok(Self::new(statements.into_iter().map(Statement::from)))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(read: OneOrMany<T>) -> Self {
        match read {
            OneOrMany::Many(many) => many,
            OneOrMany::One(one) => vec![one],
        }
    }
}

/// A value of a condition may be written as what it is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Truth(bool),
    Number(serde_json::Number),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Truth(truth) => truth.to_string(),
            Scalar::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Principals {
    Kinds(BTreeMap<String, OneOrMany<String>>),
    Everybody(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReadStatement {
    sid: Option<String>,
    effect: Effect,
    principal: Option<Principals>,
    action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<Scalar>>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl From<ReadStatement> for Statement {
    fn from(read: ReadStatement) -> Self {
        let listed =
            |list: Option<OneOrMany<String>>| words(list.map(Vec::from).into_iter().flatten());
        let principals = match read.principal {
            None => BTreeMap::new(),
            // "Specifying a principal": the two mean the same.
            Some(Principals::Everybody(who)) => [("AWS".to_owned(), words([who]))].into(),
            Some(Principals::Kinds(kinds)) => {
                let kinds = kinds.into_iter();
                kinds.map(|(k, who)| (k, words(Vec::from(who)))).collect()
            }
        };
        let mut conditions = Conditions::new();
        for (operator, keys) in read.condition {
            let keys = keys.into_iter();
            let keys = keys.map(|(key, values)| (key, words(Vec::from(values))));
            conditions.insert(operator, keys.collect());
        }
        let others = read.others.into_iter();
        Self {
            sid: read.sid.filter(|sid| !sid.is_empty()),
            effect: read.effect,
            principals,
            actions: listed(read.action),
            resources: listed(read.resource),
            conditions,
            others: others
                .map(|(name, value)| (name, value.to_string()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = r#"{ "Version": "2012-10-17", "Statement": [ { "Sid": "a", "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"],
        "Condition": { "Bool": { "aws:SecureTransport": [true] } } } ] }"#;

    fn parsed(text: &str) -> Document {
        Document::parse(text).unwrap()
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let short = r#"{"Statement":{"Sid":"a","Resource":"arn:aws:s3:::b/*","Effect":"Allow",
            "Action":["S3:getobject","s3:PutObject"],
            "Condition":{"Bool":{"AWS:securetransport":"true"}}}}"#;
        assert_eq!(parsed(LONG), parsed(short));
        let escaped: String =
            percent_encoding::utf8_percent_encode(LONG, percent_encoding::NON_ALPHANUMERIC)
                .collect();
        assert_eq!(parsed(LONG), parsed(&escaped));
        assert_eq!(parsed(LONG), parsed(&parsed(LONG).text()));
        let everybody = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*"}}"#;
        let spelled =
            r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":["*"]},"Action":"s3:*"}}"#;
        assert_eq!(parsed(everybody), parsed(spelled));
    }

    #[test]
    fn what_means_something_else_differs() {
        for (from, to) in [
            ("GetObject", "GetObjectVersion"),
            ("Allow", "Deny"),
            ("b/*", "b/c/*"),
            ("[true]", "false"),
            ("\"Action\"", "\"NotAction\""),
            ("\"Bool\"", "\"BoolIfExists\""),
        ] {
            assert_ne!(parsed(LONG), parsed(&LONG.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn an_element_that_is_not_ours_is_given_back_as_it_was() {
        let theirs = parsed(&LONG.replace("\"Action\"", "\"NotAction\""));
        assert_eq!(theirs, parsed(&theirs.text()));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in ["", "{}", "%ff", "{\"Statement\":[{\"Effect\":\"Maybe\"}]}"] {
            assert!(Document::parse(text).is_err(), "{text}");
        }
    }
}
