//! Every key of the file, where it belongs, and what comes with a later version.

/// The keys of one mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// How the mapping is called in messages, and where a misplaced key is sent.
    pub(crate) owner: &'static str,
    pub(crate) known: &'static [&'static str],
    /// Part of the design, not of this version: key and what to do meanwhile.
    pub(crate) later: &'static [(&'static str, &'static str)],
}

pub(crate) const PROFILE: Keys = Keys {
    owner: "the top level",
    known: &[
        "version",
        "site",
        "target",
        "agents",
        "cameras",
        "storage",
        "catalogue",
        "vault",
        "events",
        "access",
        "charts",
        "monitoring",
        "cluster",
    ],
    later: &[],
};
pub(crate) const AGENTS: Keys = Keys {
    owner: "`agents`",
    known: &["isolation", "buffer"],
    later: &[],
};
pub(crate) const CAMERA: Keys = Keys {
    owner: "a camera",
    known: &[
        "name",
        "rtsp",
        "sub",
        "test",
        "credentials",
        "record",
        "from",
    ],
    later: &[],
};
pub(crate) const CREDENTIALS: Keys = Keys {
    owner: "`credentials`",
    known: &["file", "env"],
    later: &[],
};
pub(crate) const RECORD: Keys = Keys {
    owner: "`record`",
    known: &["when", "pre", "post", "longest"],
    later: &[],
};
pub(crate) const STORAGE: Keys = Keys {
    owner: "`storage`",
    known: &[
        "provider",
        "path",
        "keeper",
        "retention",
        "quota",
        "endpoint",
        "region",
        "bucket",
        "prefix",
        "credentials",
        "identity",
    ],
    later: &[],
};
pub(crate) const CATALOGUE: Keys = Keys {
    owner: "`catalogue`",
    known: &["mongodb", "credentials"],
    later: &[(
        "ferretdb",
        "write `mongodb: deploy`, which is FerretDB, or `mongodb: \"mongodb://HOST/NAME\"`",
    )],
};
pub(crate) const VAULT: Keys = Keys {
    owner: "`vault`",
    known: &["replicas"],
    later: &[],
};
const USE_OTHERS: &str = "use `webhook`, `mqtt` or `amqp`";
pub(crate) const EVENT: Keys = Keys {
    owner: "an entry of `events`",
    known: &[
        "webhook",
        "mqtt",
        "topic",
        "amqp",
        "exchange",
        "queue",
        "credentials",
    ],
    later: &[
        ("rabbitmq", "write `amqp: deploy` or `amqp: amqps://HOST`"),
        ("mosquitto", "write `mqtt: deploy` or `mqtt: mqtts://HOST`"),
        ("kafka", USE_OTHERS),
        ("nats", USE_OTHERS),
        ("sqs", USE_OTHERS),
    ],
};
pub(crate) const ACCESS: Keys = Keys {
    owner: "`access`",
    known: &[
        "address",
        "exposure",
        "class",
        "namespace",
        "port",
        "names",
        "tls",
    ],
    later: &[],
};
pub(crate) const TLS: Keys = Keys {
    owner: "`tls`",
    known: &["certificate", "key", "acme", "cert_manager"],
    later: &[],
};
pub(crate) const ACME: Keys = Keys {
    owner: "`acme`",
    known: &["directory", "email", "ca_file"],
    later: &[],
};
pub(crate) const CHART: Keys = Keys {
    owner: "an entry of `charts`",
    known: &["name", "chart", "version", "values", "secrets", "reaches"],
    later: &[],
};
pub(crate) const MONITORING: Keys = Keys {
    owner: "`monitoring`",
    known: &["when", "labels"],
    later: &[],
};
pub(crate) const CLUSTER: Keys = Keys {
    owner: "`cluster`",
    known: &["addons", "addresses"],
    later: &[],
};
pub(crate) const CERT_MANAGER: Keys = Keys {
    owner: "`cert_manager`",
    known: &["issuer", "kind"],
    later: &[],
};
pub(crate) const ALL: [Keys; 16] = [
    PROFILE,
    AGENTS,
    CAMERA,
    CREDENTIALS,
    RECORD,
    STORAGE,
    CATALOGUE,
    VAULT,
    EVENT,
    ACCESS,
    TLS,
    ACME,
    CHART,
    MONITORING,
    CLUSTER,
    CERT_MANAGER,
];

/// Columns of a CSV list.
pub(crate) const COLUMNS: [&str; 11] = [
    "name",
    "rtsp",
    "sub",
    "user",
    "password",
    "credentials",
    "when",
    "pre",
    "post",
    "longest",
    "test",
];

/// The words that a value may be, and those of later versions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<T: 'static> {
    pub(crate) known: &'static [(&'static str, T)],
    pub(crate) later: &'static [&'static str],
}

/// Returns the word of `known` that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Longer than any key: not a slip of the finger, and dear to compare.
    let word = Some(word.to_lowercase()).filter(|word| word.len() <= 32)?;
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_schema_has_the_keys_that_the_checker_knows() {
        let schema = crate::schema();
        let keys = |names: &[&str]| -> BTreeSet<String> {
            let mappings = names.iter().map(|name| match *name {
                "" => &schema,
                name => schema.pointer(&format!("/$defs/{name}")).expect("defined"),
            });
            let properties = mappings.flat_map(|m| m["properties"].as_object().expect("mapping"));
            properties
                .map(|(key, _): (&String, &Value)| key.clone())
                .collect()
        };
        for (known, names) in [
            (PROFILE, vec![""]),
            (AGENTS, vec!["Agents"]),
            (CAMERA, vec!["NetworkCamera", "TestCamera", "CameraList"]),
            (CREDENTIALS, vec!["LoginFile", "LoginVariable"]),
            (RECORD, vec!["RecordTimes"]),
            (STORAGE, vec!["Storage", "S3Storage"]),
            (CATALOGUE, vec!["Database"]),
            (EVENT, vec!["WebhookEvent", "MqttEvent", "AmqpEvent"]),
            (ACCESS, vec!["MachineAccess", "ClusterAccess"]),
            (
                TLS,
                vec!["OwnCertificate", "AcmeCertificate", "ManagedCertificate"],
            ),
            (ACME, vec!["Acme"]),
            (CHART, vec!["Chart"]),
            (MONITORING, vec!["Monitoring"]),
            (CLUSTER, vec!["Cluster"]),
            (CERT_MANAGER, vec!["Issuer"]),
        ] {
            let known: BTreeSet<String> = known.known.iter().map(ToString::to_string).collect();
            assert_eq!(keys(&names), known, "{names:?}");
        }
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        for (word, wanted) in [
            ("rstp", Some("rtsp")),
            ("RTSP", Some("rtsp")),
            ("recrod", Some("record")),
            ("x", None),
        ] {
            assert_eq!(
                nearest(word, CAMERA.known.iter().copied()),
                wanted,
                "{word}"
            );
        }
    }
}
