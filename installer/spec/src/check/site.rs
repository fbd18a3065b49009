//! Everything of a profile but its cameras.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::store::ProviderWord;
use super::{Checker, DurationLimits, Fields};
use crate::keys::{self, Words};
use crate::profile::{
    Agents, Buffer, Catalogue, ClusterMeans, Isolation, Keeper, Monitoring, Profile, Provider,
    Storage, TargetChoice, Vault,
};
use crate::tree::{Kind, Node};

const TARGETS: Words<TargetChoice> = Words {
    known: &[
        ("auto", TargetChoice::Auto),
        ("host", TargetChoice::Host),
        ("docker", TargetChoice::Docker),
        ("kubernetes", TargetChoice::Kubernetes),
    ],
    later: &[],
};
const ISOLATIONS: Words<Isolation> = Words {
    known: &[("camera", Isolation::Camera), ("group", Isolation::Group)],
    later: &[],
};
const BUFFERS: Words<Buffer> = Words {
    known: &[("disposable", Buffer::Disposable), ("claim", Buffer::Claim)],
    later: &[],
};
const KEEPERS: Words<Keeper> = Words {
    known: &[("vault", Keeper::Vault), ("agent", Keeper::Agent)],
    later: &[],
};
const PROVIDERS: Words<ProviderWord> = Words {
    known: &[
        ("filesystem", ProviderWord::Filesystem),
        ("minio", ProviderWord::Minio),
        ("s3", ProviderWord::S3),
    ],
    later: &["azure", "gcs"],
};

const RETENTION: DurationLimits = DurationLimits {
    least: Duration::from_hours(1),
    most: None,
    help: "keep footage for at least 1h, for example 30d",
};
/// Below this one camera would lose footage within minutes.
const LEAST_QUOTA: u64 = 100_000_000;

impl Checker<'_> {
    pub(super) fn profile(&mut self, root: &Node) -> Option<Profile> {
        // Another version has other keys: nothing else that we could say would be true.
        if let Some(version) = root.entry("version").filter(|v| !is_version_1(&v.value)) {
            let (at, found) = (version.value.at, version.value.text());
            let message = match found.filter(|v| v.chars().all(|c| c.is_ascii_digit())) {
                Some("1") => "the version is a number, not text".to_owned(),
                Some(other) => {
                    format!("version {other} is not supported; this program reads version 1")
                }
                None => "this is not a version; this program reads version 1".to_owned(),
            };
            self.error(at, "version", message, "write `version: 1`");
            return None;
        }
        let fields = self.fields(root, "", keys::PROFILE)?;
        if !fields.has("version") {
            self.missing(
                fields.at,
                "",
                "version",
                "start the profile with `version: 1`",
            );
        }
        if !fields.has("site") {
            self.missing(
                fields.at,
                "",
                "site",
                "name the site, for example `site: warehouse-7`",
            );
        }
        let site = fields.get("site").and_then(|node| self.name(node, "site"));
        let target = fields
            .get("target")
            .map(|node| self.word(node, "target", TARGETS));
        let agents = fields.get("agents").map(|node| self.agents(node));
        let cameras = self.cameras(&fields);
        let storage = match fields.get("storage") {
            Some(node) => self.storage(node),
            None => Some(Storage {
                path: None,
                provider: Provider::Filesystem,
                keeper: Keeper::Vault,
                retention: None,
                quota: None,
            }),
        };
        let events = fields
            .get("events")
            .map_or(Some(Vec::new()), |node| self.events(node));
        let access = fields.get("access").map(|node| self.access(node));
        let catalogue = fields
            .get("catalogue")
            .map_or(Some(Catalogue::Sqlite), |node| self.catalogue(node));
        let vault = fields
            .get("vault")
            .map_or(Some(Vault::default()), |node| self.vault(node));
        let charts = fields
            .get("charts")
            .map_or(Some(Vec::new()), |node| self.charts(node, site.as_deref()));
        let monitoring = fields
            .get("monitoring")
            .map_or(Some((Monitoring::Auto, BTreeMap::new())), |node| {
                self.monitoring(node)
            });
        let cluster = fields
            .get("cluster")
            .map_or(Some(ClusterMeans::default()), |node| self.cluster(node));
        self.check_keeper(&fields, storage.as_ref());
        self.check_charts(&fields, target.flatten());
        if let Some(vault) = vault {
            let beside = (
                storage.as_ref(),
                catalogue.as_ref(),
                access.as_ref().and_then(Option::as_ref),
            );
            self.check_vault(&fields, vault, target.flatten(), beside);
        }
        if let (Some(charts), Some(storage)) = (&charts, &storage) {
            self.check_reaches(&fields, charts, storage.keeper);
        }
        let (monitoring, monitoring_labels) = monitoring?;
        Some(Profile {
            site: site?,
            target: target.unwrap_or(Some(TargetChoice::Auto))?,
            agents: agents.unwrap_or(Some(Agents {
                isolation: Isolation::Camera,
                buffer: Buffer::Disposable,
            }))?,
            cameras: cameras?,
            storage: storage?,
            catalogue: catalogue?,
            vault: vault?,
            events: events?,
            access: access.map_or(Some(None), |a| a.map(Some))?,
            charts: charts?,
            monitoring,
            monitoring_labels,
            cluster: cluster?,
        })
    }

    /// Names become directories, units and objects.
    pub(super) fn name(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let inner_dashes = !text.starts_with('-') && !text.ends_with('-');
        if !text.is_empty() && text.len() <= 40 && text.chars().all(fine) && inner_dashes {
            return Some(text.to_owned());
        }
        let shown = super::shown(node, text);
        let help = match slug(text).filter(|_| shown.starts_with('`')) {
            Some(slug) => format!("use a-z, 0-9 and inner dashes, at most 40: `{slug}`"),
            None => "use a-z, 0-9 and inner dashes, at most 40: `front-door`".to_owned(),
        };
        self.error(node.at, path, format!("{shown} cannot be a name"), help);
        None
    }

    fn agents(&mut self, node: &Node) -> Option<Agents> {
        let fields = self.fields(node, "agents", keys::AGENTS)?;
        let isolation = match fields.get("isolation") {
            Some(node) => self.word(node, "agents.isolation", ISOLATIONS)?,
            None => Isolation::Camera,
        };
        let buffer = match fields.get("buffer") {
            Some(node) => self.word(node, "agents.buffer", BUFFERS)?,
            None => Buffer::Disposable,
        };
        Some(Agents { isolation, buffer })
    }

    fn storage(&mut self, node: &Node) -> Option<Storage> {
        let fields = self.fields(node, "storage", keys::STORAGE)?;
        let provider = fields
            .get("provider")
            .map(|n| self.word(n, "storage.provider", PROVIDERS));
        let path = fields
            .get("path")
            .map(|n| self.directory(n, "storage.path"));
        let keeper = fields
            .get("keeper")
            .map(|n| self.word(n, "storage.keeper", KEEPERS));
        let retention = fields
            .get("retention")
            .map(|n| self.duration(n, "storage.retention", RETENTION));
        let quota = fields
            .get("quota")
            .map(|n| self.bytes(n, "storage.quota", LEAST_QUOTA));
        let word = provider.unwrap_or(Some(ProviderWord::Filesystem));
        let provider = self.provider(&fields, word);
        if let Some(word) = word
            && word != ProviderWord::Filesystem
            && keeper == Some(Some(Keeper::Agent))
        {
            self.error(
                fields.key_place("provider"),
                "storage.provider",
                "the vault writes to object stores, and `storage.keeper: agent` leaves it out",
                "write `keeper: vault`, or `provider: filesystem`",
            );
        }
        Some(Storage {
            path: path.map_or(Some(None), |p| p.map(Some))?,
            provider: provider?,
            keeper: keeper.unwrap_or(Some(Keeper::Vault))?,
            retention: retention.map_or(Some(None), |r| r.map(Some))?,
            quota: quota.map_or(Some(None), |q| q.map(Some))?,
        })
    }

    fn directory(&mut self, node: &Node, path: &str) -> Option<Utf8PathBuf> {
        let text = self.text(node, path)?;
        let directory = Utf8Path::new(text);
        let message = if !directory.is_absolute() {
            "the path is not absolute"
        } else if directory
            .components()
            .any(|part| part == Utf8Component::ParentDir)
        {
            "the path holds `..`"
        } else if text.chars().any(char::is_control) {
            "the path holds a control character"
        } else if directory.parent().is_none() {
            "the path is the root directory"
        } else {
            return Some(directory.to_owned());
        };
        self.error(
            node.at,
            path,
            message,
            "write a directory of its own, for example /srv/stakeout",
        );
        None
    }

    /// Only the vault sends events, has a catalogue and is reached from elsewhere.
    fn check_keeper(&mut self, fields: &Fields<'_>, storage: Option<&Storage>) {
        let without_vault = storage.is_some_and(|s| s.keeper == Keeper::Agent);
        let wants_events = fields
            .get("events")
            .is_some_and(|node| matches!(&node.kind, Kind::List(items) if !items.is_empty()));
        if without_vault && fields.has("catalogue") {
            self.error(
                fields.key_place("catalogue"),
                "catalogue",
                "the catalogue is the vault's, and `storage.keeper: agent` leaves it out",
                "write `keeper: vault`, or take `catalogue` out",
            );
        }
        if without_vault && wants_events {
            self.error(
                fields.key_place("events"),
                "events",
                "events are sent by the vault, and `storage.keeper: agent` leaves it out",
                "write `keeper: vault`, or take `events` out",
            );
        }
        if without_vault && fields.has("access") {
            self.error(
                fields.key_place("access"),
                "access",
                "it is the vault that is reached, and `storage.keeper: agent` leaves it out",
                "write `keeper: vault`, or take `access` out",
            );
        }
    }
}

/// `version:` without a value is left to the general rule for that.
fn is_version_1(node: &Node) -> bool {
    match &node.kind {
        Kind::Plain(text) => text == "1",
        Kind::Null => true,
        _ => false,
    }
}

/// `Front Door` → `front-door`.
fn slug(text: &str) -> Option<String> {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.trim_matches('-').chars().take(40).collect();
    let slug = slug.trim_end_matches('-').to_owned();
    (!slug.is_empty()).then_some(slug)
}
