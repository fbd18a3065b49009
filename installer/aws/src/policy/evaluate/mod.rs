//! Whether documents allow a request, as IAM decides it.
//!
//! Source: AWS IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements: Condition
//! operators": an explicit deny ends it; else identity and boundary both have to allow; what nobody
//! allows is denied. An operator or an element that is not known here meets nothing in a statement
//! that allows and everything in one that denies, so an answer is never more lenient than IAM's.

use std::collections::BTreeMap;

use super::document::{Document, Effect, Statement, Words};

/// Who asks for what, of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Kind (`AWS`, `Service`, `Federated`) and name; a role's own policies do not ask.
    pub principal: Option<(String, String)>,
    pub action: String,
    /// Nothing for a role's trust.
    pub resource: Option<String>,
    /// Key in lower case → values.
    pub context: BTreeMap<String, Vec<String>>,
}

impl Request {
    pub fn new(action: &str, resource: &str) -> Self {
        Self {
            principal: None,
            action: action.to_owned(),
            resource: Some(resource.to_owned()),
            context: BTreeMap::new(),
        }
    }

    /// Somebody asks to become a role.
    pub fn assume(action: &str, kind: &str, who: &str) -> Self {
        Self {
            principal: Some((kind.to_owned(), who.to_owned())),
            action: action.to_owned(),
            resource: None,
            context: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        let values = self.context.entry(key.to_lowercase()).or_default();
        values.push(value.to_owned());
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// A statement says no.
    Denied,
    /// No statement says yes.
    NotAllowed,
}

/// What bears on a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rights<'a> {
    /// The role's inline and attached policies, or its trust.
    pub identity: &'a [Document],
    /// What the identity can be allowed at most.
    pub boundary: Option<&'a Document>,
    /// What a bucket says of itself; only its denials count, since ours allows nothing.
    pub resource: Option<&'a Document>,
}

impl Rights<'_> {
    pub fn decide(&self, request: &Request) -> Decision {
        let every = self
            .identity
            .iter()
            .chain(self.boundary)
            .chain(self.resource);
        let says = |documents: &[&Document], effect| {
            let statements = documents.iter().flat_map(|document| &document.statements);
            let mut statements = statements.filter(|statement| statement.effect == effect);
            statements.any(|statement| applies(statement, request))
        };
        if says(&every.collect::<Vec<_>>(), Effect::Deny) {
            return Decision::Denied;
        }
        let identity: Vec<_> = self.identity.iter().collect();
        let bounded = self
            .boundary
            .is_none_or(|boundary| says(&[boundary], Effect::Allow));
        if bounded && says(&identity, Effect::Allow) {
            Decision::Allowed
        } else {
            Decision::NotAllowed
        }
    }
}

fn applies(statement: &Statement, request: &Request) -> bool {
    let unknown = statement.effect == Effect::Deny;
    if !statement.others.is_empty() {
        return unknown;
    }
    let action = request.action.to_lowercase();
    let actions = statement
        .actions
        .iter()
        .map(|pattern| pattern.to_lowercase());
    actions
        .into_iter()
        .any(|pattern| matches(&pattern, &action))
        && asked_by(statement, request)
        && about(statement, request)
        && statement.conditions.iter().all(|(operator, keys)| {
            let mut keys = keys.iter();
            keys.all(|(key, wanted)| holds(operator, key, wanted, request).unwrap_or(unknown))
        })
}

fn asked_by(statement: &Statement, request: &Request) -> bool {
    if statement.principals.is_empty() {
        return true;
    }
    let Some((kind, who)) = &request.principal else {
        // A document of a bucket says whom it means; that everybody is meant needs no name.
        return statement
            .principals
            .get("AWS")
            .is_some_and(|who| who.contains("*"));
    };
    let named = statement.principals.get(kind);
    named.is_some_and(|named| named.contains(who) || (kind == "AWS" && named.contains("*")))
}

fn about(statement: &Statement, request: &Request) -> bool {
    match &request.resource {
        None => statement.resources.is_empty(),
        Some(resource) => {
            let mut patterns = statement.resources.iter();
            patterns.any(|pattern| matches(pattern, resource))
        }
    }
}

/// Whether a condition is met; nothing if the operator is not known.
fn holds(operator: &str, key: &str, wanted: &Words, request: &Request) -> Option<bool> {
    let found = request.context.get(&key.to_lowercase());
    let operator = operator.to_lowercase();
    if operator == "null" {
        let absent = found.is_none().to_string();
        return Some(wanted.iter().any(|word| word.eq_ignore_ascii_case(&absent)));
    }
    let (operator, lenient) = match operator.strip_suffix("ifexists") {
        Some(operator) => (operator, true),
        None => (operator.as_str(), false),
    };
    type Test = fn(&str, &str) -> bool;
    let (test, negated): (Test, bool) = match operator {
        "stringequals" => (|wanted, found| wanted == found, false),
        "stringnotequals" => (|wanted, found| wanted == found, true),
        "stringlike" => (matches, false),
        "stringnotlike" => (matches, true),
        "arnequals" | "arnlike" => (arn_matches, false),
        "arnnotequals" | "arnnotlike" => (arn_matches, true),
        "bool" => (str::eq_ignore_ascii_case, false),
        _ => return None,
    };
    let Some(found) = found else {
        // A key that is not there meets what is negated.
        return Some(lenient || negated);
    };
    let met = |found: &String| wanted.iter().any(|wanted| test(wanted, found));
    Some(found.iter().any(met) != negated)
}

/// `*` is any text, `?` any one character.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on after the last `*` took one character more.
    let mut again = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                again = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some(c) if text.get(t) == Some(c) => (p, t) = (p + 1, t + 1),
            _ => match again {
                Some((star, taken)) => {
                    again = Some((star, taken + 1));
                    (p, t) = (star + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Each of an ARN's six parts for itself, so that `*` does not pass a colon.
fn arn_matches(pattern: &str, arn: &str) -> bool {
    let (pattern, arn) = (pattern.splitn(6, ':'), arn.splitn(6, ':'));
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.collect(), arn.collect());
    pattern.len() == arn.len() && pattern.iter().zip(&arn).all(|(p, a)| matches(p, a))
}

#[cfg(test)]
mod tests;
