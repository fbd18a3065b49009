//! What kind of cluster it is, by several signs, none of which is believed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::AddonMarket;

const TEXT: &str = include_str!("../../../../manifests/kubernetes/flavours.yaml");

/// Signs that weigh less are no more than a guess.
const ENOUGH: u32 = 2;

static FLAVOURS: LazyLock<Vec<Flavour>> =
    LazyLock::new(|| serde_saphyr::from_str(TEXT).expect("invariant: the flavours are tested"));

/// What was seen of a cluster that may tell its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signs {
    pub version: String,
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// Of nodes, as `KEY=VALUE`; those of [`telling_labels`].
    pub labels: BTreeSet<String>,
    /// What nodes' provider IDs begin with, up to the colon.
    pub providers: BTreeSet<String>,
    /// Of storage classes.
    pub provisioners: BTreeSet<String>,
}

/// A kind of cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flavour {
    pub name: String,
    pub title: String,
    signs: Vec<Weighed>,
    /// What to do where no storage class is the default.
    pub storage: String,
    /// How images come to nodes without a registry.
    pub images: String,
    /// The client of its nodes' containerd, with all options that it needs; absent where nodes are
    /// never the machine that we run on.
    #[serde(default)]
    pub import: Option<Vec<String>>,
    /// How its load balancers are spoken to; absent where it comes without any.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// How to get a way in from outside.
    #[serde(default)]
    pub way_in: Option<String>,
    /// What it turns on by a command of its own.
    #[serde(default)]
    pub addons: Option<AddonMarket>,
}

/// What a flavour's own load balancers want to hear.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// At which people come in where the profile does not say.
    pub port: u16,
    /// Of the Service.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Weighed {
    #[serde(flatten)]
    sign: Sign,
    weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sign {
    Label(String),
    Provider(String),
    Version(String),
    Provisioner(String),
    Context(String),
    Server(String),
}

/// Which flavour a cluster is of, and why that is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    pub name: String,
    pub title: String,
    pub signs: Vec<String>,
}

impl Sign {
    /// What of it was seen, in words.
    fn seen(&self, signs: &Signs) -> Option<String> {
        let host = signs.server.split("://").last().unwrap_or_default();
        let host = host.split(['/', ':']).next().unwrap_or_default();
        match self {
            Self::Label(wanted) => {
                let found = signs.labels.iter().find(|label| {
                    let key = label.split('=').next();
                    *label == wanted || key == Some(wanted)
                })?;
                Some(format!("a node has the label {found}"))
            }
            Self::Provider(wanted) => {
                let wanted = wanted.trim_end_matches(':');
                let found = signs.providers.contains(wanted);
                found.then(|| format!("nodes are of provider {wanted}"))
            }
            Self::Version(wanted) => {
                let found = signs.version.contains(wanted.as_str());
                found.then(|| format!("its version is {}", signs.version))
            }
            Self::Provisioner(wanted) => {
                let found = signs.provisioners.contains(wanted);
                found.then(|| format!("a storage class is of {wanted}"))
            }
            Self::Context(wanted) => {
                let found = signs.context.starts_with(wanted.as_str());
                found.then(|| format!("its context is called {}", signs.context))
            }
            Self::Server(wanted) => {
                let found = host.ends_with(wanted.as_str());
                found.then(|| format!("it answers at {host}"))
            }
        }
    }
}

impl Flavour {
    fn weigh(&self, signs: &Signs) -> (u32, Vec<String>) {
        let seen = self.signs.iter();
        let seen = seen.filter_map(|one| Some((one.weight, one.sign.seen(signs)?)));
        seen.fold((0, Vec::new()), |(sum, mut words), (weight, word)| {
            words.push(word);
            (sum + weight, words)
        })
    }
}

/// All that are known.
#[cfg(test)]
pub(super) fn flavours() -> &'static [Flavour] {
    &FLAVOURS
}

/// Keys of labels that tell something; others need not be kept.
pub fn telling_labels() -> BTreeSet<&'static str> {
    let signs = FLAVOURS.iter().flat_map(|flavour| &flavour.signs);
    let key = |one: &'static Weighed| match &one.sign {
        Sign::Label(label) => label.split('=').next(),
        _ => None,
    };
    signs.filter_map(key).collect()
}

/// The flavour whose signs weigh most, with those signs.
pub fn judge(signs: &Signs) -> Option<(&'static Flavour, Judgement)> {
    let mut best: Option<(u32, &Flavour, Vec<String>)> = None;
    for flavour in FLAVOURS.iter() {
        let (weight, words) = flavour.weigh(signs);
        if weight >= ENOUGH && best.as_ref().is_none_or(|(most, ..)| weight > *most) {
            best = Some((weight, flavour, words));
        }
    }
    let (_, flavour, words) = best?;
    let judgement = Judgement {
        name: flavour.name.clone(),
        title: flavour.title.clone(),
        signs: words,
    };
    Some((flavour, judgement))
}

/// The client of the containerd of a node of such a cluster, on that node; else why there is none.
pub fn importer(signs: &Signs) -> Result<Vec<String>, String> {
    const PLAIN: [&str; 3] = ["ctr", "--namespace", "k8s.io"];
    match judge(signs) {
        None => Ok(PLAIN.map(str::to_owned).to_vec()),
        Some((flavour, _)) => flavour.import.clone().ok_or_else(|| {
            let (title, images) = (&flavour.title, &flavour.images);
            format!("a node of {title} is no machine that this runs on; its way is {images}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_flavour_is_found_by_its_signs() {
        // Version, context, labels, providers, provisioners; as such clusters show them.
        let cases = [
            (
                "v1.32.9",
                "anything",
                &["microk8s.io/cluster=true"][..],
                "",
                "microk8s.io/hostpath",
                "microk8s",
            ),
            (
                "v1.31.2+k3s1",
                "default",
                &[
                    "node.kubernetes.io/instance-type=k3s",
                    "node-role.kubernetes.io/control-plane=true",
                ],
                "k3s",
                "rancher.io/local-path",
                "k3s",
            ),
            ("v1.30.4+rke2r1", "default", &[], "", "", "rke2"),
            (
                "v1.34.0",
                "kind-test",
                &["node-role.kubernetes.io/control-plane="],
                "kind",
                "rancher.io/local-path",
                "kind",
            ),
            (
                "v1.33.1",
                "minikube",
                &[
                    "minikube.k8s.io/version=v1.36.0",
                    "node-role.kubernetes.io/control-plane=",
                ],
                "",
                "k8s.io/minikube-hostpath",
                "minikube",
            ),
            (
                "v1.32.3-eks-7f9249a",
                "arn",
                &["eks.amazonaws.com/nodegroup=a"],
                "aws",
                "ebs.csi.aws.com",
                "eks",
            ),
            (
                "v1.32.4",
                "site",
                &[
                    "kubernetes.azure.com/role=agent",
                    "kubernetes.azure.com/cluster=c",
                ],
                "azure",
                "disk.csi.azure.com",
                "aks",
            ),
            (
                "v1.32.4-gke.1106006",
                "gke_p_z_c",
                &["cloud.google.com/gke-nodepool=p"],
                "gce",
                "pd.csi.storage.gke.io",
                "gke",
            ),
            (
                "v1.34.4",
                "kubernetes-admin@kubernetes",
                &["node-role.kubernetes.io/control-plane="],
                "",
                "",
                "kubeadm",
            ),
            // Nodes at Amazon are not yet EKS, and a name is no proof.
            ("v1.32.3", "kops", &[], "aws", "", ""),
            ("v1.32.3", "minikube", &[], "", "", ""),
        ];
        for (version, context, labels, provider, provisioner, wanted) in cases {
            let signs = Signs {
                version: version.into(),
                context: context.into(),
                server: "https://10.0.0.1:6443".into(),
                labels: set(labels),
                providers: set(&[provider]),
                provisioners: set(&[provisioner]),
            };
            let found = judge(&signs).map(|(_, judgement)| judgement);
            let name = found.as_ref().map_or("", |one| one.name.as_str());
            assert_eq!(name, wanted, "{signs:?} {found:?}");
        }
    }

    #[test]
    fn an_address_counts_by_its_host() {
        let sign = Sign::Server(".azmk8s.io".into());
        let at = |server: &str| {
            sign.seen(&Signs {
                server: server.into(),
                ..Signs::default()
            })
        };
        assert!(at("https://a.hcp.westeurope.azmk8s.io:443").is_some());
        assert!(at("https://azmk8s.io.example:443/x").is_none());
    }
}
