//! Where the vault notes what there is: a file of its own, or a database.

use super::{Checker, Fields};
use crate::keys;
use crate::profile::{Catalogue, Database, MongoAddress};
use crate::tree::{Kind, Node};

const FORM: &str =
    "write `sqlite`, `{ mongodb: deploy }` or `{ mongodb: \"mongodb://HOST/NAME\" }`";
const ADDRESS: &str = "write `mongodb://HOST[:PORT]/DATABASE`, with more hosts after commas, `?replicaSet=NAME` and \
     `tls=true`";

/// What MongoDB takes is longer; ours is a name of one site's.
const MOST_NAME: usize = 60;

impl Checker<'_> {
    pub(super) fn catalogue(&mut self, node: &Node) -> Option<Catalogue> {
        if !matches!(node.kind, Kind::Map(_)) {
            let text = self.text(node, "catalogue")?;
            if text == "sqlite" {
                return Some(Catalogue::Sqlite);
            }
            let message = format!("{} is not a catalogue", super::shown(node, text));
            self.error(node.at, "catalogue", message, FORM);
            return None;
        }
        let before = self.found.len();
        let fields = self.fields(node, "catalogue", keys::CATALOGUE)?;
        let credentials = fields
            .get("credentials")
            .map(|node| self.credentials(node, "catalogue.credentials"));
        let Some(place) = fields.get("mongodb") else {
            if self.found.len() == before {
                self.missing(fields.at, "catalogue", "mongodb", FORM);
            }
            return None;
        };
        if self.text(place, "catalogue.mongodb")? == "deploy" {
            return self.deployed(&fields);
        }
        let address = self.address(place)?;
        Some(Catalogue::Mongodb(Database::External {
            address,
            credentials: credentials.map_or(Some(None), |c| c.map(Some))?,
        }))
    }

    fn deployed(&mut self, fields: &Fields<'_>) -> Option<Catalogue> {
        if fields.has("credentials") {
            self.error(
                fields.key_place("credentials"),
                "catalogue.credentials",
                "a database that is deployed knows the vault by its certificate",
                "take `credentials` out, or name the database that they are for",
            );
            return None;
        }
        Some(Catalogue::Mongodb(Database::Deploy))
    }

    /// The part of MongoDB's connection strings that a site needs. Nothing of a wrong one is shown.
    fn address(&mut self, node: &Node) -> Option<MongoAddress> {
        const PATH: &str = "catalogue.mongodb";
        let text = self.text(node, PATH)?;
        let (message, help) = match read(text) {
            Ok(address) => {
                if !address.tls {
                    self.warn(
                        node.at,
                        PATH,
                        "catalogue and login travel to the database without encryption",
                        "add `tls=true` to the address if the database speaks TLS",
                    );
                }
                return Some(address);
            }
            Err(Fault::Login) => (
                "the database's address must not hold a user or password",
                "take `user:password@` out and give the login by `credentials`",
            ),
            Err(Fault::Lookup) => (
                "addresses that begin with mongodb+srv:// are not looked up",
                "write the hosts out, with `replicaSet` and `tls=true`",
            ),
            Err(Fault::Form) => ("this is neither `deploy` nor a database's address", ADDRESS),
            Err(Fault::Host) => ("the database's address names no host", ADDRESS),
            Err(Fault::Name) => ("the database's address names no database", ADDRESS),
            Err(Fault::Option) => (
                "the database's address has an option other than `replicaSet` and `tls`",
                "take it out; the vault chooses the others itself",
            ),
        };
        self.error(node.at, PATH, message, help);
        None
    }
}

enum Fault {
    Form,
    Lookup,
    Login,
    Host,
    Name,
    Option,
}

fn read(text: &str) -> Result<MongoAddress, Fault> {
    if text.starts_with("mongodb+srv://") {
        return Err(Fault::Lookup);
    }
    let rest = text.strip_prefix("mongodb://").ok_or(Fault::Form)?;
    if rest.contains('@') {
        return Err(Fault::Login);
    }
    let (hosts, rest) = rest.split_once('/').ok_or(Fault::Name)?;
    let (database, options) = rest.split_once('?').unwrap_or((rest, ""));
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, "1"));
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        !name.is_empty() && name.chars().all(fine) && port.parse::<u16>().is_ok_and(|p| p > 0)
    };
    if !hosts.split(',').all(is_host) {
        return Err(Fault::Host);
    }
    let is_name = |name: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=MOST_NAME).contains(&name.len()) && name.chars().all(fine)
    };
    if !is_name(database) {
        return Err(Fault::Name);
    }
    let mut address = MongoAddress {
        hosts: hosts.split(',').map(str::to_owned).collect(),
        database: database.to_owned(),
        replica_set: None,
        tls: false,
    };
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("replicaSet", name)) if is_name(name) => {
                address.replica_set = Some(name.to_owned());
            }
            Some(("tls", "true")) => address.tls = true,
            Some(("tls", "false")) => address.tls = false,
            _ => return Err(Fault::Option),
        }
    }
    Ok(address)
}
