//! What a certificate is valid for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls_pki_types::DnsName;

use crate::PkiError;

/// A DNS name in lower case, without a dot at its end, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    Dns(String),
    Ip(IpAddr),
}

impl FromStr for Name {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        // As URLs have IPv6 addresses too.
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        let plain = text.trim_end_matches('.').to_ascii_lowercase();
        match DnsName::try_from(plain.as_str()) {
            Ok(_) => Ok(Self::Dns(plain)),
            Err(_) => Err(PkiError::Name {
                name: text.to_owned(),
            }),
        }
    }
}

impl From<IpAddr> for Name {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Option<&str>) {
        let found = text.parse::<Name>().ok().map(|name| format!("{name:?}"));
        assert_eq!(found.as_deref(), wanted, "{text}");
    }

    #[test]
    fn names_are_told_from_addresses_and_made_equal() {
        check("Vault.Site.", Some("Dns(\"vault.site\")"));
        check("stakeout-vault_1", Some("Dns(\"stakeout-vault_1\")"));
        check("10.0.0.7", Some("Ip(10.0.0.7)"));
        check("[fd00::1]", Some("Ip(fd00::1)"));
        check("::ffff:10.0.0.7", Some("Ip(10.0.0.7)"));
        check("", None);
        check("a b", None);
        check("*.site", None);
        check("10.0.0", None);
    }
}
