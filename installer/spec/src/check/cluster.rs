//! What may be done to a cluster.

use std::net::IpAddr;

use super::Checker;
use crate::keys::{self, Words};
use crate::profile::{Addons, ClusterMeans};
use crate::tree::Node;

const ADDONS: Words<Addons> = Words {
    known: &[("tell", Addons::Tell), ("enable", Addons::Enable)],
    later: &[],
};

impl Checker<'_> {
    pub(super) fn cluster(&mut self, node: &Node) -> Option<ClusterMeans> {
        let fields = self.fields(node, "cluster", keys::CLUSTER)?;
        let addons = match fields.get("addons") {
            Some(node) => self.word(node, "cluster.addons", ADDONS),
            None => Some(Addons::Tell),
        };
        let addresses = match fields.get("addresses") {
            Some(node) => self.addresses(node, "cluster.addresses").map(Some),
            None => Some(None),
        };
        Some(ClusterMeans {
            addons: addons?,
            addresses: addresses?,
        })
    }

    /// `FIRST-LAST`: it becomes part of a command.
    fn addresses(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        let ends = text.split_once('-');
        let ends = ends.and_then(|(first, last)| {
            let parse = |text: &str| text.parse::<IpAddr>().ok();
            Some((parse(first)?, parse(last)?))
        });
        if ends.is_some_and(|(first, last)| first.is_ipv4() == last.is_ipv4() && first <= last) {
            return Some(text.to_owned());
        }
        self.error(
            node.at,
            path,
            "this is no range of addresses",
            "write the first and the last one: `192.168.1.240-192.168.1.250`",
        );
        None
    }
}
