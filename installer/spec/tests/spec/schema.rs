//! The committed JSON schema is current, and says the same as the parser.

use std::fs;

use crate::files::Folder;
use installer_spec::schema;
use regex::Regex;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profile.schema.json");

#[test]
fn the_committed_schema_is_current() {
    let current = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(FILE, &current).expect("the schema is written");
    }
    let committed = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        committed == current,
        "run `UPDATE_SCHEMA=1 cargo test -p installer-spec`"
    );
}

#[test]
fn every_sample_is_valid_by_the_schema() {
    let folder = Folder::of_crate("../../profiles");
    for name in folder.names("yaml") {
        let value: Value = serde_saphyr::from_str(&folder.read(&name)).expect(&name);
        assert_eq!(Schema::new().check(&value), Ok(()), "{name}");
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let least = "version: 1\nsite: s\ncameras: [ { name: a, test: scene } ]\n";
    let check =
        |text: &str| Schema::new().check(&serde_saphyr::from_str::<Value>(text).expect("YAML"));
    assert_eq!(check(least), Ok(()));
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("site: s", "site: S"),
        ("site: s", "site: 12"),
        ("site: s", "site: s\nzebra: 1"),
        ("site: s", "site: s\nstorage: { retention: 30 }"),
        ("site: s", "site: s\nstorage: { retention: \"\" }"),
        ("site: s", "site: s\nstorage: { quota: 5gb }"),
        ("site: s", "site: s\nstorage: { quota: ~ }"),
        ("site: s", "site: s\nstorage: { provider: s3 }"),
        ("site: s", "site: s\nevents: [ { mqtt: x } ]"),
        ("site: s", "site: s\naccess: {}"),
        ("site: s", "site: s\naccess: { address: \"vault:8443\" }"),
        (
            "site: s",
            "site: s\naccess: { address: \"1.2.3.4:1\", tls: none }",
        ),
        (
            "site: s",
            "site: s\naccess: { address: \"1.2.3.4:1\", tls: { key: k } }",
        ),
        ("site: s", "site: s\ncatalogue: mysql"),
        (
            "site: s",
            "site: s\ncatalogue: { mongodb: \"mongodb://me:pw@h/d\" }",
        ),
        ("[ { name: a, test: scene } ]", "[]"),
        ("test: scene", "test: scene, rtsp: \"rtsp://h/\""),
        ("test: scene", "rtsp: \"http://h/\""),
        (
            "test: scene",
            "rtsp: \"rtsp://h/\", credentials: \"admin:pw\"",
        ),
        ("test: scene", "test: scene, record: schedule"),
        ("test: scene", "from: x.csv"),
    ] {
        let text = least.replacen(from, to, 1);
        assert_ne!(text, least);
        assert!(check(&text).is_err(), "the schema accepts:\n{text}");
    }
}

/// As much of JSON Schema as ours uses; anything else fails the test that meets it.
pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn new() -> Self {
        Self(schema())
    }

    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.matches(&self.0, value)
    }

    fn matches(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let Some(rules) = schema.as_object() else {
            return Ok(());
        };
        let fail = |why: &str| Err(format!("{value} {why}"));
        for (rule, wanted) in rules {
            let ok = match rule.as_str() {
                "$schema" | "$defs" | "title" | "description" | "default" | "examples"
                | "format" => true,
                "$ref" => {
                    let path = wanted
                        .as_str()
                        .and_then(|r| r.strip_prefix('#'))
                        .expect("local");
                    self.matches(self.0.pointer(path).expect("defined"), value)?;
                    true
                }
                "type" => wanted.as_str() == Some(type_of(value)),
                "const" => wanted == value,
                "enum" => wanted.as_array().expect("array").contains(value),
                "minimum" => value.as_f64() >= wanted.as_f64(),
                "maximum" => value.as_f64() <= wanted.as_f64(),
                "pattern" => {
                    let pattern = Regex::new(wanted.as_str().expect("text")).expect("a pattern");
                    value.as_str().is_none_or(|text| pattern.is_match(text))
                }
                "minLength" => value
                    .as_str()
                    .is_none_or(|text| text.len() as u64 >= number(wanted)),
                "maxLength" => value
                    .as_str()
                    .is_none_or(|text| text.len() as u64 <= number(wanted)),
                "minItems" => value
                    .as_array()
                    .is_none_or(|list| list.len() as u64 >= number(wanted)),
                "required" => wanted.as_array().expect("array").iter().all(|key| {
                    value
                        .as_object()
                        .is_none_or(|map| map.contains_key(key.as_str().expect("key")))
                }),
                "properties" => {
                    for (key, schema) in wanted.as_object().expect("object") {
                        value
                            .get(key)
                            .map_or(Ok(()), |inner| self.matches(schema, inner))?;
                    }
                    true
                }
                "additionalProperties" => {
                    let known = rules.get("properties").and_then(Value::as_object);
                    let map = value.as_object().into_iter().flatten();
                    let mut others =
                        map.filter(|(key, _)| !known.is_some_and(|known| known.contains_key(*key)));
                    if *wanted == Value::Bool(false) {
                        others.next().is_none()
                    } else {
                        others.try_for_each(|(_, inner)| self.matches(wanted, inner))?;
                        true
                    }
                }
                "items" => {
                    for inner in value.as_array().into_iter().flatten() {
                        self.matches(wanted, inner)?;
                    }
                    true
                }
                "anyOf" | "oneOf" => {
                    let branches = wanted.as_array().expect("array");
                    let fit = branches
                        .iter()
                        .filter(|s| self.matches(s, value).is_ok())
                        .count();
                    if rule == "anyOf" { fit > 0 } else { fit == 1 }
                }
                other => {
                    return fail(&format!(
                        "meets a keyword that the test does not know: {other}"
                    ));
                }
            };
            if !ok {
                return fail(&format!("breaks `{rule}`: {wanted}"));
            }
        }
        Ok(())
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}
