//! What a configuration may not say although it can be read.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use vault_api::VaultConfig;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "webhook `{name}` is there twice; each needs a name of its own, by which its deliveries are counted"
    )]
    Twice { name: String },
    #[error("the address of webhook `{name}` is neither http nor https")]
    Scheme { name: String },
    #[error(
        "the address of webhook `{name}` holds a user or a password; a signature tells it who calls"
    )]
    UserInfo { name: String },
    #[error("hand-off directory `{path}` is not an absolute path")]
    Relative { path: Utf8PathBuf },
    #[error("account `{account}` writes to `{directory}`, which is neither `*` nor one plain name")]
    Directory { account: String, directory: String },
}

/// Judges what the types of `vault-api` leave open. A fault never holds a secret.
pub(crate) fn judge(config: &VaultConfig) -> Result<(), Fault> {
    let mut names = BTreeSet::new();
    for webhook in &config.webhooks {
        let name = webhook.name.clone();
        if !matches!(webhook.url.scheme(), "http" | "https") {
            return Err(Fault::Scheme { name });
        }
        if !webhook.url.username().is_empty() || webhook.url.password().is_some() {
            return Err(Fault::UserInfo { name });
        }
        if !names.insert(&webhook.name) {
            return Err(Fault::Twice { name });
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
                Some("neither http"),
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
}
