//! Systemd units: text that is not an object, so a strict template and a parse of the result.

use serde::Serialize;
use tera::{Context, Tera};

const TEMPLATE: &str = include_str!("../../../templates/service.unit.j2");

/// Everything the unit template may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitContext {
    pub site: String,
    pub service: String,
    pub description: String,
    /// Absolute program and its arguments.
    pub command: Vec<String>,
    pub user: String,
    /// Changes with program, arguments and configuration; read back from the running process.
    pub digest: String,
    /// The only directories that the service may write.
    pub writable: Vec<String>,
    /// Units that start first.
    pub after: Vec<String>,
    pub memory_max_mib: u64,
    /// Empty directories stand in for the homes of people, unless the site lies in one.
    pub protect_home: bool,
    /// The service talks to this host only.
    pub loopback_only: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("cannot render the unit of service `{service}`")]
    Template {
        service: String,
        source: tera::Error,
    },
    #[error("the unit of service `{service}` is not well-formed at line {line}: `{text}`")]
    Malformed {
        service: String,
        line: usize,
        text: String,
    },
    #[error("`{value}` of service `{service}` holds a character that a unit cannot carry")]
    Unquotable { service: String, value: String },
}

/// Renders one `.service` file (systemd.service(5), systemd.exec(5)).
pub fn render_unit(context: &UnitContext) -> Result<String, RenderError> {
    for value in context.command.iter().chain(&context.writable) {
        if value
            .chars()
            .any(|c| c.is_control() || "\"\\%$ ".contains(c))
        {
            let (service, value) = (context.service.clone(), value.clone());
            return Err(RenderError::Unquotable { service, value });
        }
    }
    let failed = |source| RenderError::Template {
        service: context.service.clone(),
        source,
    };
    let values = Context::from_serialize(context).map_err(failed)?;
    let text = Tera::one_off(TEMPLATE, &values, false).map_err(failed)?;
    check(&context.service, &text)?;
    Ok(text)
}

/// Every line is a section, a `Key=value`, a comment or empty, and nothing precedes a section.
fn check(service: &str, text: &str) -> Result<(), RenderError> {
    let mut section = false;
    for (index, line) in text.lines().enumerate() {
        let fine = if line.is_empty() || line.starts_with('#') {
            true
        } else if line.starts_with('[') {
            section = true;
            line.ends_with(']')
        } else {
            let key = line.split_once('=').map_or("", |(key, _)| key);
            section && !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric())
        };
        if !fine {
            let (service, text) = (service.to_owned(), line.to_owned());
            return Err(RenderError::Malformed {
                service,
                line: index + 1,
                text,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> UnitContext {
        UnitContext {
            site: "shop".into(),
            service: "agent-gate".into(),
            description: "stakeout agent of camera gate".into(),
            command: vec!["/srv/shop/bin/stakeout-agent".into(), "run".into()],
            user: "stakeout".into(),
            digest: "d1".into(),
            writable: vec!["/srv/shop/agents/agent-gate".into()],
            after: vec!["stakeout-shop-vault.service".into()],
            memory_max_mib: 256,
            protect_home: true,
            loopback_only: false,
        }
    }

    #[test]
    fn a_unit_names_its_command_user_and_the_only_place_it_writes() {
        let unit = render_unit(&context()).unwrap();
        for line in [
            "ExecStart=/srv/shop/bin/stakeout-agent run",
            "User=stakeout",
            "ReadWritePaths=/srv/shop/agents/agent-gate",
            "Environment=STAKEOUT_SERVICE_DIGEST=d1",
            "ProtectSystem=strict",
            "NoNewPrivileges=yes",
        ] {
            assert!(
                unit.lines().any(|l| l == line),
                "{line} is missing from\n{unit}"
            );
        }
    }

    #[test]
    fn a_path_that_systemd_would_expand_is_refused() {
        let mut bad = context();
        bad.writable = vec!["/srv/100%".into()];
        assert!(matches!(
            render_unit(&bad),
            Err(RenderError::Unquotable { .. })
        ));
    }
}
