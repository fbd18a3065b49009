use proptest::prelude::*;

use super::*;

fn rights(statements: &str) -> Document {
    Document::parse(&format!("{{\"Statement\":[{statements}]}}")).unwrap()
}

/// `condition` in a statement that allows `s3:GetObject` of everything.
fn allowed(condition: &str, request: &Request) -> bool {
    let statement = format!(
        r#"{{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{condition}}}"#
    );
    let identity = [rights(&statement)];
    let rights = Rights {
        identity: &identity,
        ..Rights::default()
    };
    rights.decide(request) == Decision::Allowed
}

fn get() -> Request {
    Request::new("s3:GetObject", "arn:aws:s3:::b/k")
}

#[test]
fn a_denial_wins_and_silence_denies() {
    let allow =
        r#"{"Effect":"Allow","Action":["s3:Get*","s3:PutObject"],"Resource":"arn:aws:s3:::b/*"}"#;
    let deny = r#"{"Effect":"Deny","Action":"s3:putobject","Resource":"*"}"#;
    let put = Request::new("s3:PutObject", "arn:aws:s3:::b/k");
    let decide = |identity: &[Document], request: &Request| {
        Rights {
            identity,
            ..Rights::default()
        }
        .decide(request)
    };
    let both = [rights(allow), rights(deny)];
    assert_eq!(decide(&both, &get()), Decision::Allowed);
    assert_eq!(decide(&both, &put), Decision::Denied);
    assert_eq!(decide(&[rights(allow)], &put), Decision::Allowed);
    assert_eq!(decide(&[], &get()), Decision::NotAllowed);
    let elsewhere = Request::new("s3:GetObject", "arn:aws:s3:::bb/k");
    assert_eq!(decide(&both, &elsewhere), Decision::NotAllowed);
    // Who is asked what has no resource is a role.
    let assume = Request::assume("s3:GetObject", "AWS", "x");
    assert_eq!(decide(&both, &assume), Decision::NotAllowed);
}

#[test]
fn a_boundary_and_a_bucket_take_away_and_never_give() {
    let identity = [rights(
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#,
    )];
    let boundary = rights(r#"{"Effect":"Allow","Action":"s3:Put*","Resource":"*"}"#);
    let bucket = rights(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*",
            "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
    );
    let all = Rights {
        identity: &identity,
        boundary: Some(&boundary),
        resource: Some(&bucket),
    };
    let put = || Request::new("s3:PutObject", "arn:aws:s3:::b/k");
    assert_eq!(all.decide(&get()), Decision::NotAllowed);
    assert_eq!(
        all.decide(&put().with("aws:SecureTransport", "true")),
        Decision::Allowed
    );
    assert_eq!(
        all.decide(&put().with("aws:SecureTransport", "false")),
        Decision::Denied
    );
    let nothing = Rights {
        identity: &[],
        ..all
    };
    assert_eq!(nothing.decide(&put()), Decision::NotAllowed);
}

#[test]
fn conditions_are_met_as_the_reference_says() {
    let request = get()
        .with("s3:prefix", "sites/one/a")
        .with("aws:SourceArn", "arn:aws:eks:r:1:cluster/c");
    for (condition, met) in [
        (
            r#"{"StringEquals":{"s3:prefix":["x","sites/one/a"]}}"#,
            true,
        ),
        (r#"{"StringEquals":{"S3:Prefix":"sites/one/A"}}"#, false),
        (r#"{"StringNotEquals":{"s3:prefix":"x"}}"#, true),
        (
            r#"{"StringNotEquals":{"s3:prefix":["x","sites/one/a"]}}"#,
            false,
        ),
        (r#"{"StringNotEquals":{"s3:other":"x"}}"#, true),
        (r#"{"StringLike":{"s3:prefix":"sites/one/*"}}"#, true),
        (r#"{"StringLike":{"s3:prefix":"sites/two/*"}}"#, false),
        (r#"{"StringLike":{"s3:other":"*"}}"#, false),
        (r#"{"StringLikeIfExists":{"s3:other":"x"}}"#, true),
        (r#"{"StringLikeIfExists":{"s3:prefix":"x"}}"#, false),
        (
            r#"{"ArnLike":{"aws:SourceArn":"arn:aws:eks:*:1:cluster/*"}}"#,
            true,
        ),
        (
            r#"{"ArnLike":{"aws:SourceArn":"arn:aws:*cluster/c"}}"#,
            false,
        ),
        (
            r#"{"ArnEquals":{"aws:SourceArn":"arn:aws:eks:r:2:cluster/c"}}"#,
            false,
        ),
        (r#"{"Null":{"s3:prefix":"false","s3:other":"true"}}"#, true),
        (r#"{"Null":{"s3:prefix":"true"}}"#, false),
        (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, false),
        (
            r#"{"StringLike":{"s3:prefix":"sites/*"},"Null":{"s3:other":"false"}}"#,
            false,
        ),
        // An operator that we do not know allows nothing.
        (r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, false),
    ] {
        assert_eq!(allowed(condition, &request), met, "{condition}");
    }
}

#[test]
fn what_is_not_known_denies() {
    let identity = [rights(
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"},
           {"Effect":"Deny","NotAction":"s3:Get*","Resource":"*"}"#,
    )];
    let rights = Rights {
        identity: &identity,
        ..Rights::default()
    };
    assert_eq!(rights.decide(&get()), Decision::Denied);
}

#[test]
fn wildcards_take_what_they_say() {
    for (pattern, text, met) in [
        ("*", "", true),
        ("a*", "a", true),
        ("a?", "a", false),
        ("a?c", "abc", true),
        ("*b*d", "abcbd", true),
        ("*b*d", "abcb", false),
        ("a.c", "abc", false),
        ("sites/one/*", "sites/one/", true),
        ("sites/one/*", "sites/one", false),
        ("sites/one/*", "sites/onetwo/x", false),
    ] {
        assert_eq!(matches(pattern, text), met, "{pattern} {text}");
    }
}

proptest! {
    /// The same question, asked of an engine that is not ours.
    #[test]
    fn wildcards_are_those_of_a_regular_expression(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        let expression = pattern.replace('*', ".*").replace('?', ".");
        let expression = regex::Regex::new(&format!("^{expression}$")).unwrap();
        prop_assert_eq!(matches(&pattern, &text), expression.is_match(&text));
    }
}
