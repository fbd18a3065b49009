//! What a configuration may not say although it can be read.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use url::Url;
use vault_api::{CatalogueConfig, ProviderConfig, TlsConfig, VaultConfig};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "integration `{name}` is there twice; each needs a name of its own, by which its deliveries are counted"
    )]
    Twice { name: String },
    #[error("the address of {object} is not {known}")]
    Scheme { object: String, known: String },
    #[error("the address of {object} holds a user or a password; they belong into a file")]
    UserInfo { object: String },
    #[error("the address of {object} names no host")]
    Host { object: String },
    #[error("MQTT integration `{name}` cannot publish to topic `{topic}`")]
    Topic { name: String, topic: String },
    #[error("AMQP integration `{name}` has an exchange or a queue without a name")]
    Unnamed { name: String },
    #[error("hand-off directory `{path}` is not an absolute path")]
    Relative { path: Utf8PathBuf },
    #[error("account `{account}` writes to `{directory}`, which is neither `*` nor one plain name")]
    Directory { account: String, directory: String },
    #[error("bucket `{bucket}` is no name that a bucket can have")]
    Bucket { bucket: String },
    #[error("prefix `{prefix}` of bucket `{bucket}` is not names with `/` in between")]
    Prefix { bucket: String, prefix: String },
    #[error("provider `s3` needs a region; any word will do for a server that knows none")]
    Region,
    #[error("a provider without a disk can keep no `reserve_bytes` free; say `quota_bytes`")]
    Reserve,
    #[error("database `{database}` is no name that a catalogue can have")]
    Database { database: String },
    #[error("option `{option}` in the address of the catalogue is said beside it, or not at all")]
    Option { option: String },
    #[error("the catalogue's certificates mean nothing without `tls`")]
    NoTls,
    #[error("ACME needs at least one domain")]
    NoDomain,
    #[error("`{domain}` is no name that an ACME authority could prove")]
    Domain { domain: String },
}

/// Judges what the types of `vault-api` leave open. A fault never holds a secret.
pub(crate) fn judge(config: &VaultConfig) -> Result<(), Fault> {
    judge_integrations(config)?;
    judge_provider(config)?;
    judge_catalogue(&config.catalogue)?;
    let public = config.public.as_ref().map(|public| &public.tls);
    for tls in config.tls.iter().chain(public) {
        let TlsConfig::Acme {
            directory, domains, ..
        } = tls
        else {
            continue;
        };
        judge_address("the ACME authority", directory, &["https"])?;
        if domains.is_empty() {
            return Err(Fault::NoDomain);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let named = |domain: &&String| domain.is_empty() || !domain.chars().all(plain);
        if let Some(domain) = domains.iter().find(named) {
            let domain = domain.clone();
            return Err(Fault::Domain { domain });
        }
    }
    let account = &config.account;
    if let Some(path) = account.handoff.iter().find(|path| !path.is_absolute()) {
        return Err(Fault::Relative { path: path.clone() });
    }
    let directory = account.directory.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let one_name = !directory.is_empty() && directory.chars().all(plain);
    if directory != "*" && (!one_name || directory.starts_with('.')) {
        return Err(Fault::Directory {
            account: account.name.clone(),
            directory: directory.to_owned(),
        });
    }
    Ok(())
}

fn judge_integrations(config: &VaultConfig) -> Result<(), Fault> {
    let mut names = BTreeSet::new();
    let mut once = |name: &String| {
        let name = name.clone();
        if names.insert(name.clone()) {
            return Ok(());
        }
        Err(Fault::Twice { name })
    };
    for webhook in &config.webhooks {
        let object = format!("webhook `{}`", webhook.name);
        judge_address(&object, &webhook.url, &["http", "https"])?;
        once(&webhook.name)?;
    }
    for mqtt in &config.mqtt {
        let object = format!("MQTT integration `{}`", mqtt.name);
        judge_address(&object, &mqtt.url, &["mqtt", "mqtts"])?;
        once(&mqtt.name)?;
        // MQTT 3.1.1, section 4.7: wildcards are for subscribers.
        let bad = |topic: &&String| topic.is_empty() || topic.contains(['#', '+', '\0']);
        if let Some(topic) = mqtt.topic.as_ref().filter(bad) {
            let (name, topic) = (mqtt.name.clone(), topic.clone());
            return Err(Fault::Topic { name, topic });
        }
    }
    for amqp in &config.amqp {
        let object = format!("AMQP integration `{}`", amqp.name);
        judge_address(&object, &amqp.url, &["amqp", "amqps"])?;
        once(&amqp.name)?;
        // To the broker, no name is one that it chooses.
        let named = [&amqp.exchange, &amqp.queue];
        if named.into_iter().flatten().any(String::is_empty) {
            let name = amqp.name.clone();
            return Err(Fault::Unnamed { name });
        }
    }
    Ok(())
}

fn judge_provider(config: &VaultConfig) -> Result<(), Fault> {
    let ProviderConfig::S3 {
        endpoint,
        region,
        bucket,
        prefix,
        ..
    } = &config.provider
    else {
        return Ok(());
    };
    if let Some(endpoint) = endpoint {
        judge_address("provider `s3`", endpoint, &["http", "https"])?;
    }
    // Amazon's rules for names; other servers take no others.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(plain) {
        let bucket = bucket.clone();
        return Err(Fault::Bucket { bucket });
    }
    let name = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
    };
    if let Some(prefix) = prefix
        .as_ref()
        .filter(|prefix| !prefix.split('/').all(name))
    {
        let (bucket, prefix) = (bucket.clone(), prefix.clone());
        return Err(Fault::Prefix { bucket, prefix });
    }
    if region.is_empty() {
        return Err(Fault::Region);
    }
    if config
        .retention
        .reserve_bytes
        .is_some_and(|bytes| bytes > 0)
    {
        return Err(Fault::Reserve);
    }
    Ok(())
}

fn judge_catalogue(catalogue: &CatalogueConfig) -> Result<(), Fault> {
    let CatalogueConfig::Mongodb {
        uri,
        database,
        tls,
        ca_file,
        identity,
        ..
    } = catalogue
    else {
        return Ok(());
    };
    let object = || "the catalogue".to_owned();
    // Several hosts, so no URL as others know it.
    let Some(rest) = uri.strip_prefix("mongodb://") else {
        return Err(Fault::Scheme {
            object: object(),
            known: "mongodb".to_owned(),
        });
    };
    if rest.contains('@') {
        return Err(Fault::UserInfo { object: object() });
    }
    let (hosts, options) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    if hosts
        .split(',')
        .any(|host| host.is_empty() || host.starts_with(':'))
    {
        return Err(Fault::Host { object: object() });
    }
    // What weakens the connection, or what this vault decides itself.
    let known = [
        "replicaset",
        "authsource",
        "authmechanism",
        "directconnection",
    ];
    let options = options.trim_start_matches('?').split('&');
    let names = options.map(|option| option.split('=').next().unwrap_or_default());
    for name in names.filter(|name| !name.is_empty()) {
        if !known.contains(&name.to_ascii_lowercase().as_str()) {
            let option = name.to_owned();
            return Err(Fault::Option { option });
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !(1..=60).contains(&database.len()) || !database.chars().all(plain) {
        let database = database.clone();
        return Err(Fault::Database { database });
    }
    if !tls && (ca_file.is_some() || identity.is_some()) {
        return Err(Fault::NoTls);
    }
    Ok(())
}

fn judge_address(object: &str, url: &Url, schemes: &[&str]) -> Result<(), Fault> {
    let object = object.to_owned();
    if !schemes.contains(&url.scheme()) {
        return Err(Fault::Scheme {
            object,
            known: schemes.join(" or "),
        });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::UserInfo { object });
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::Host { object });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &str, handoff: &str, urls: &[&str]) -> VaultConfig {
        let webhooks: Vec<_> = urls
            .iter()
            .map(|url| serde_json::json!({"name": "hook", "url": url, "secret_file": "/s"}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "version": 1, "site": "s", "listen": "127.0.0.1:1", "data": "/d",
            "admin_token_file": "/a", "retention": {}, "webhooks": webhooks,
            "provider": {"filesystem": {"path": "/p"}},
            "account": {"name": "a", "directory": directory, "access_key_file": "/k",
                        "secret_key_file": "/k", "handoff": [handoff]},
        }))
        .unwrap()
    }

    #[test]
    fn a_fault_names_its_object_and_no_secret() {
        let fine = "https://example.org/x?token=1";
        for (config, wanted) in [
            (config("site", "/h", &[fine]), None),
            (config("*", "/h", &[]), None),
            (config("site", "/h", &[fine, fine]), Some("twice")),
            (
                config("site", "/h", &["ftp://example.org/"]),
                Some("not http"),
            ),
            (
                config("site", "/h", &["http://me:hidden@example.org/"]),
                Some("password"),
            ),
            (config("site", "h", &[]), Some("absolute")),
            (config("../x", "/h", &[]), Some("plain name")),
            (config(".staging", "/h", &[]), Some("plain name")),
        ] {
            let said = judge(&config).err().map(|fault| fault.to_string());
            assert_eq!(said.is_some(), wanted.is_some(), "{said:?}");
            let said = said.unwrap_or_default();
            assert!(
                said.contains(wanted.unwrap_or_default()) && !said.contains("hidden"),
                "{said}"
            );
        }
    }
    #[test]
    fn every_kind_of_part_is_judged() {
        let s3 = |patch: &[(&str, &str)]| {
            let mut s3 = serde_json::json!({"region": "r", "bucket": "site-7",
                "identity": {"keys": {"access_key_file": "/k", "secret_key_file": "/k"}}});
            for (name, value) in patch {
                s3[name] = (*value).into();
            }
            ("provider", serde_json::json!({ "s3": s3 }))
        };
        let broker = |kind, url: &str, topic: Option<&str>| {
            let mut broker = serde_json::json!({"name": "b", "url": url});
            if let Some(topic) = topic {
                broker["topic"] = topic.into();
            }
            (kind, serde_json::json!([broker]))
        };
        let acme = |directory: &str, domains: &[&str]| {
            let acme =
                serde_json::json!({"directory": directory, "domains": domains, "cache": "/c"});
            ("tls", serde_json::json!({ "acme": acme }))
        };
        let public = |(tls, value): (&str, serde_json::Value)| {
            let public = serde_json::json!({"listen": "0.0.0.0:8444", tls: value});
            ("public", public)
        };
        let mongo = |uri: &str, patch: &[(&str, &str)]| {
            let mut mongodb = serde_json::json!({"uri": uri, "database": "stakeout", "tls": true,
                "ca_file": "/ca"});
            for (name, value) in patch {
                let off = value.is_empty();
                mongodb[name] = if off { false.into() } else { (*value).into() };
            }
            ("catalogue", serde_json::json!({ "mongodb": mongodb }))
        };
        for ((part, value), wanted) in [
            (public(acme("https://a/dir", &["v.example.org"])), None),
            (public(acme("https://a/dir", &[])), Some("domain")),
            (
                s3(&[("prefix", "a/b"), ("endpoint", "https://h:9000")]),
                None,
            ),
            (s3(&[("bucket", "Site_7")]), Some("bucket")),
            (s3(&[("prefix", "a//b")]), Some("prefix")),
            (s3(&[("prefix", "../b")]), Some("prefix")),
            (s3(&[("region", "")]), Some("region")),
            (
                s3(&[("endpoint", "http://hidden:hidden@h/")]),
                Some("password"),
            ),
            (broker("mqtt", "mqtts://h:8883", None), None),
            (
                broker("mqtt", "tcp://h:8883", None),
                Some("not mqtt or mqtts"),
            ),
            (broker("mqtt", "mqtt://:hidden@h", None), Some("password")),
            (broker("mqtt", "mqtt://h", Some("a/#")), Some("topic")),
            (broker("amqp", "amqps://h/vhost", None), None),
            (
                (
                    "amqp",
                    serde_json::json!([{"name": "b", "url": "amqp://h", "queue": ""}]),
                ),
                Some("without a name"),
            ),
            (broker("amqp", "http://h", None), Some("not amqp")),
            (broker("amqp", "amqp:///vhost", None), Some("host")),
            (mongo("mongodb://a:1,b/?replicaSet=r", &[]), None),
            (mongo("mongodb://a", &[("tls", "")]), Some("mean nothing")),
            (mongo("mongodb+srv://a", &[]), Some("not mongodb")),
            (mongo("mongodb://me:hidden@a", &[]), Some("password")),
            (mongo("mongodb://a,:1", &[]), Some("no host")),
            (mongo("mongodb://", &[]), Some("no host")),
            (
                mongo("mongodb://a/?tlsInsecure=true", &[]),
                Some("`tlsInsecure`"),
            ),
            (mongo("mongodb://a", &[("database", "a/b")]), Some("`a/b`")),
            (acme("https://a/dir", &["v.example.org"]), None),
            (acme("http://a/dir", &["v.example.org"]), Some("not https")),
            (acme("https://a/dir", &[]), Some("domain")),
            (
                acme("https://a/dir", &["*.example.org"]),
                Some("`*.example.org`"),
            ),
        ] {
            let mut text = serde_json::to_value(config("site", "/h", &[])).unwrap();
            text[part] = value;
            let config: VaultConfig = serde_json::from_value(text).unwrap();
            let said = judge(&config).err().map(|fault| fault.to_string());
            assert_eq!(said.is_some(), wanted.is_some(), "{said:?}");
            let said = said.unwrap_or_default();
            let named = said.contains(wanted.unwrap_or_default());
            assert!(named && !said.contains("hidden"), "{said}");
        }
    }
}
