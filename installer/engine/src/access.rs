//! Files beside the profile that `access` names, and who holds the address.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use camino::Utf8Path;
use installer_pki::{Pair, Secret, check_own, is_for};
use installer_plan::{AccessFacts, AddressFact, OwnCertificate, OwnFact, Standing};
use installer_spec::{Access, AccessTls, Profile};
use jiff::{Timestamp, ToSpan};

/// Warned of for so long before its end.
const FORTNIGHT_HOURS: i64 = 14 * 24;

/// LISTEN in `/proc/net/tcp` (proc(5)).
const LISTENING: &str = "0A";

/// The owner's certificate and key, where the profile names them and they belong together; and
/// facts for planning but for the address. `kept` is the pair that the site has.
pub fn read_access(
    profile: &Profile,
    folder: &Utf8Path,
    kept: Option<&Pair>,
) -> (AccessFacts, Option<Pair>) {
    let mut facts = AccessFacts::default();
    let Some(access) = &profile.access else {
        return (facts, None);
    };
    let read = |path: &Utf8Path| {
        let path = folder.join(path);
        fs::read_to_string(&path).map_err(|error| format!("cannot read `{path}`: {error}"))
    };
    match &access.tls {
        AccessTls::Internal | AccessTls::CertManager(_) => (facts, None),
        AccessTls::Acme(acme) => {
            let roots = acme.ca_file.as_deref().map(|path| {
                let text = read(path)?;
                let fine = installer_pki::read_facts(&text).map(|_| text);
                fine.map_err(|error| format!("`{path}`: {error}"))
            });
            facts.roots = roots;
            (facts, None)
        }
        AccessTls::Files { certificate, key } => {
            let texts = read(certificate)
                .map_err(|error| format!("`access.tls.certificate`: {error}"))
                .and_then(|text| {
                    let key = read(key).map_err(|error| format!("`access.tls.key`: {error}"))?;
                    Ok((text, key))
                });
            let pair = texts.map(|(certificate, key)| Pair {
                certificate,
                key: Secret::new(key),
            });
            let judged = pair.and_then(|pair| {
                let fact = judge(&pair, access, kept).map_err(|error| {
                    format!("`access.tls`: `{certificate}` and `{key}`: {error}")
                })?;
                Ok((fact, pair))
            });
            let (own, pair) = match judged {
                Ok((fact, pair)) => (OwnCertificate::Usable(fact), Some(pair)),
                Err(reason) => (OwnCertificate::Unusable(reason), None),
            };
            facts.own = Some(own);
            (facts, pair)
        }
    }
}

fn judge(
    pair: &Pair,
    access: &Access,
    kept: Option<&Pair>,
) -> Result<OwnFact, installer_pki::PkiError> {
    let facts = check_own(pair)?;
    let now = Timestamp::now();
    let soon = now.checked_add(FORTNIGHT_HOURS.hours()).unwrap_or(now);
    let mut uncovered = BTreeSet::new();
    for name in access.needed_names() {
        if !is_for(&pair.certificate, &name)? {
            uncovered.insert(name);
        }
    }
    Ok(OwnFact {
        fingerprint: facts.fingerprint.to_string(),
        not_after: facts.not_after.to_string(),
        standing: if facts.not_after <= now {
            Standing::Ended
        } else if facts.not_before > now {
            Standing::NotYet
        } else if facts.not_after <= soon {
            Standing::EndsSoon
        } else {
            Standing::Valid
        },
        uncovered,
        in_place: kept == Some(pair),
    })
}

/// Whether two listeners would be in each other's way.
pub fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |address: SocketAddr| address.ip().is_unspecified();
    one.port() == other.port() && (one.ip() == other.ip() || everywhere(one) || everywhere(other))
}

/// Whether something of this machine could listen there now; nothing where only the owner of low
/// ports can tell.
pub fn look_at_address(address: SocketAddr) -> Option<AddressFact> {
    match TcpListener::bind(address) {
        Ok(_) => Some(AddressFact::Free),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => {
                let holder = holder(address).map(|name| format!("program `{name}`"));
                let holder = holder.unwrap_or_else(|| "another program".to_owned());
                Some(AddressFact::Taken(holder))
            }
            io::ErrorKind::AddrNotAvailable => Some(AddressFact::Foreign),
            _ => None,
        },
    }
}

/// The program that listens there, if this user may know.
fn holder(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let inodes: BTreeSet<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let held = parse_local(local)?;
            (*state == LISTENING && collide(held, address)).then(|| format!("socket:[{inode}]"))
        })
        .collect();
    let processes = Utf8Path::new("/proc").read_dir_utf8().ok()?;
    for process in processes.flatten() {
        let files = process.path().join("fd");
        let mut links = files
            .read_dir_utf8()
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| file.path().read_link_utf8().ok());
        if links.any(|link| inodes.contains(link.as_str())) {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(name.trim().to_owned());
        }
    }
    None
}

/// `0100007F:1F90`: each four bytes in the machine's order, which is little-endian on all of ours.
fn parse_local(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = hex::decode(address).ok()?;
    for word in bytes.chunks_mut(4) {
        word.reverse();
    }
    let ip: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some(SocketAddr::new(
        ip.to_canonical(),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_an_address_is_named() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let Some(AddressFact::Taken(holder)) = look_at_address(address) else {
            panic!("it is held");
        };
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(holder, format!("program `{}`", own.trim()));
        drop(held);
        assert_eq!(look_at_address(address), Some(AddressFact::Free));
        let foreign = "192.0.2.1:8443".parse().unwrap();
        assert_eq!(look_at_address(foreign), Some(AddressFact::Foreign));
    }

    #[test]
    fn the_kernels_addresses_are_read() {
        let at = |text: &str| parse_local(text).unwrap().to_string();
        assert_eq!(at("0100007F:1F90"), "127.0.0.1:8080");
        assert_eq!(at("0000000000000000FFFF00000100007F:01BB"), "127.0.0.1:443");
        assert_eq!(at("00000000000000000000000000000000:0050"), "[::]:80");
    }
}
