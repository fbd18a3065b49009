//! Profiles that are right: what they mean, that the samples hold, and that writing reads back.

use std::time::Duration;

use crate::files::{Folder, message};
use installer_spec::{
    Access, AccessTls, Acme, Addons, Agents, Broker, Buffer, Camera, Catalogue, ClusterAccess,
    ClusterMeans, Credentials, Database, EventSink, Exposure, Isolation, Issuer, IssuerKind,
    Keeper, Login, MemoryLists, MongoAddress, Monitoring, Parsed, Profile, Provider, Record, S3,
    S3Identity, Source, SourceFile, Storage, TargetChoice, TestSource, Vault, When, parse, to_yaml,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::schema::Schema;

#[track_caller]
fn good(text: &str) -> Parsed {
    good_with(text, &MemoryLists::default())
}

#[track_caller]
fn good_with(text: &str, lists: &MemoryLists) -> Parsed {
    let parsed = parse(
        &SourceFile {
            name: "stakeout.yaml",
            text,
        },
        lists,
    );
    parsed.map_err(|found| message(&found)).expect("accepted")
}

fn url(text: &str) -> url::Url {
    text.parse().expect("a URL")
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_sample_holds_without_a_warning() {
    let folder = Folder::of_crate("../../profiles");
    let names = folder.names("yaml");
    let wanted = [
        "cluster.yaml",
        "demo.yaml",
        "many-cameras.yaml",
        "motion.yaml",
        "no-vault.yaml",
        "one-camera.yaml",
        "published.yaml",
        "replicas.yaml",
        "stores.yaml",
    ];
    assert_eq!(names, wanted);
    for name in names {
        let parsed = parse(
            &SourceFile {
                name: &name,
                text: &folder.read(&name),
            },
            &folder,
        );
        let parsed = parsed.unwrap_or_else(|found| panic!("{}", message(&found)));
        assert_eq!(parsed.warnings, [], "{name}");
        assert_eq!(
            good(&to_yaml(&parsed.profile)).profile,
            parsed.profile,
            "{name}"
        );
    }
}

#[test]
fn everything_at_once() {
    let text = "\
version: 1
site: warehouse-7
target: kubernetes
agents: { isolation: group, buffer: claim }
cameras:
  - name: gate
    rtsp: rtsp://10.0.3.11:8554/main?x=1
    sub: rtsp://10.0.3.11/sub
    credentials: { file: gate.login }
    record: { when: motion, pre: 5s, post: 1m, longest: 5m }
  - { name: a1, rtsp: \"rtsp://cam.lan/\", credentials: 'env:A_1' }
  - { name: a2, rtsp: \"rtsp://[fe80::1]/\", credentials: { env: A_2 }, record: both }
  - { name: a3, rtsp: \"rtsp://h/\", credentials: ask }
  - { name: a4, rtsp: \"rtsp://h/\", credentials: 'file:/etc/a4' }
  - { name: t1, test: scene }
  - { name: t2, test: media/car.MP4 }
storage: { provider: filesystem, path: /srv/stakeout, keeper: vault, retention: 30d, quota: 2TiB }
events: [ { webhook: \"https://h/x\" } ]
access: { address: 192.168.1.5:8443, names: [ Vault.example.org, 10.0.0.1 ], tls: internal }
monitoring: { when: off, labels: { release: \"7\" } }
";
    let rtsp = |main: &str, credentials| Source::Rtsp {
        main: url(main),
        sub: None,
        credentials,
    };
    let camera = |name: &str, source| Camera {
        name: name.to_owned(),
        source,
        record: Record::default(),
    };
    let wanted = Profile {
        site: "warehouse-7".to_owned(),
        target: TargetChoice::Kubernetes,
        agents: Agents {
            isolation: Isolation::Group,
            buffer: Buffer::Claim,
        },
        cameras: vec![
            Camera {
                name: "gate".to_owned(),
                source: Source::Rtsp {
                    main: url("rtsp://10.0.3.11:8554/main?x=1"),
                    sub: Some(url("rtsp://10.0.3.11/sub")),
                    credentials: Some(Credentials::File("gate.login".into())),
                },
                record: Record {
                    when: When::Motion,
                    pre: 5 * SECOND,
                    post: 60 * SECOND,
                    longest: 300 * SECOND,
                },
            },
            camera(
                "a1",
                rtsp(
                    "rtsp://cam.lan/",
                    Some(Credentials::Environment("A_1".into())),
                ),
            ),
            Camera {
                record: Record {
                    when: When::Both,
                    ..Record::default()
                },
                ..camera(
                    "a2",
                    rtsp(
                        "rtsp://[fe80::1]/",
                        Some(Credentials::Environment("A_2".into())),
                    ),
                )
            },
            camera("a3", rtsp("rtsp://h/", Some(Credentials::Ask))),
            camera(
                "a4",
                rtsp("rtsp://h/", Some(Credentials::File("/etc/a4".into()))),
            ),
            camera("t1", Source::Test(TestSource::Scene)),
            camera("t2", Source::Test(TestSource::File("media/car.MP4".into()))),
        ],
        storage: Storage {
            path: Some("/srv/stakeout".into()),
            provider: Provider::Filesystem,
            keeper: Keeper::Vault,
            retention: Some(30 * 86_400 * SECOND),
            quota: Some(2 << 40),
        },
        catalogue: Catalogue::Sqlite,
        vault: Vault::default(),
        events: vec![EventSink::Webhook {
            url: url("https://h/x"),
        }],
        access: Some(Access {
            address: Some("192.168.1.5:8443".parse().expect("an address")),
            cluster: ClusterAccess::default(),
            names: vec!["vault.example.org".to_owned(), "10.0.0.1".to_owned()],
            tls: AccessTls::Internal,
        }),
        charts: Vec::new(),
        monitoring: Monitoring::Off,
        monitoring_labels: [("release".to_owned(), "7".to_owned())].into(),
        cluster: ClusterMeans::default(),
    };
    let parsed = good(text);
    assert_eq!(
        parsed,
        Parsed {
            profile: wanted,
            warnings: vec![]
        }
    );
    let written = to_yaml(&parsed.profile);
    assert_eq!(good(&written).profile, parsed.profile);
    insta::with_settings!({ snapshot_path => "../good", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("written", written);
    });
}

#[test]
fn the_least_profile_gets_the_defaults() {
    let text = "version: 1\nsite: s\ncameras: [ { name: a, test: scene } ]";
    let Profile {
        target,
        agents,
        storage,
        events,
        cameras,
        ..
    } = good(text).profile;
    assert_eq!(target, TargetChoice::Auto);
    assert_eq!(agents.isolation, Isolation::Camera);
    assert_eq!(cameras[0].record.when, When::Continuous);
    assert_eq!(storage.keeper, Keeper::Vault);
    assert_eq!((storage.retention, storage.quota), (None, None));
    assert_eq!(storage.path, None);
    assert_eq!(storage.provider, Provider::Filesystem);
    assert_eq!(events, []);
}

#[test]
fn stores_are_deployed_or_named() {
    let text = "version: 1\nsite: s\ncameras: [ { name: a, test: scene } ]\n\
                storage: { provider: s3, bucket: footage, endpoint: \"https://s3.local:9000\", \
                credentials: { env: S3 } }\n\
                events: [ { mqtt: deploy, topic: a/b }, \
                { amqp: \"amqps://mq/site\", exchange: x, credentials: { file: mq.login } } ]\n";
    let Profile {
        storage, events, ..
    } = good(text).profile;
    let wanted = S3 {
        endpoint: Some(url("https://s3.local:9000")),
        region: "us-east-1".to_owned(),
        bucket: "footage".to_owned(),
        prefix: None,
        identity: S3Identity::Keys(Credentials::Environment("S3".to_owned())),
    };
    assert_eq!(storage.provider, Provider::S3(Box::new(wanted)));
    let mqtt = EventSink::Mqtt {
        broker: Broker::Deploy,
        topic: Some("a/b".to_owned()),
    };
    let amqp = EventSink::Amqp {
        broker: Broker::External {
            url: url("amqps://mq/site"),
            credentials: Some(Credentials::File("mq.login".into())),
        },
        exchange: Some("x".to_owned()),
        queue: None,
    };
    assert_eq!(events, [mqtt, amqp]);
}

#[test]
fn a_catalogue_is_a_file_or_a_database() {
    let catalogue = |text: &str| {
        let least = "version: 1\nsite: s\ncameras: [ { name: a, test: scene } ]\ncatalogue: ";
        good(&format!("{least}{text}\n"))
    };
    assert_eq!(catalogue("sqlite").profile.catalogue, Catalogue::Sqlite);
    let deployed = catalogue("{ mongodb: deploy }").profile.catalogue;
    assert_eq!(deployed, Catalogue::Mongodb(Database::Deploy));
    let external = catalogue(
        "{ mongodb: \"mongodb://a,b.lan:27018/site?replicaSet=rs0&tls=true\", credentials: ask }",
    );
    assert_eq!(external.warnings, []);
    let wanted = Database::External {
        address: MongoAddress {
            hosts: vec!["a".to_owned(), "b.lan:27018".to_owned()],
            database: "site".to_owned(),
            replica_set: Some("rs0".to_owned()),
            tls: true,
        },
        credentials: Some(Credentials::Ask),
    };
    assert_eq!(external.profile.catalogue, Catalogue::Mongodb(wanted));
    let plain = catalogue("{ mongodb: \"mongodb://a/site\" }").warnings;
    assert!(message(&plain).contains("without encryption"), "{plain:?}");
}

#[test]
fn a_login_in_a_url_is_taken_out_decoded_and_warned_of() {
    let text = "version: 1\nsite: s\ncameras:\n  \
                - { name: a, rtsp: \"rtsp://ad%40min:p%2Fw%20@10.0.0.1/main\", \
                sub: \"rtsp://ad%40min:p%2Fw%20@10.0.0.1/sub\" }\n";
    let parsed = good(text);
    let login = Login {
        user: "ad@min".to_owned(),
        password: "p/w ".to_owned(),
    };
    let wanted = Source::Rtsp {
        main: url("rtsp://10.0.0.1/main"),
        sub: Some(url("rtsp://10.0.0.1/sub")),
        credentials: Some(Credentials::Inline(login)),
    };
    assert_eq!(parsed.profile.cameras[0].source, wanted);
    let told = "stakeout.yaml:4:22: warning: cameras[0].rtsp: a password stands in this file; it \
                is moved into the site's secret store\n  \
                help: take it out of the file and use `credentials:`";
    assert_eq!(message(&parsed.warnings), told);
    assert!(!format!("{parsed:?}").contains("p/w"));
    assert!(
        !to_yaml(&parsed.profile).contains("min"),
        "nothing of the login is written"
    );
}

#[test]
fn a_list_stands_for_its_rows() {
    let list = "\u{feff}RTSP;Name;user;password;when;longest\r\n\
                rtsp://h/a;a;admin;\"p;\"\"w\";motion;2m\r\n\r\n\
                \"rtsp://h/b\";b\r\n";
    let lists = MemoryLists([("x.csv".into(), list.as_bytes().to_vec())].into());
    let text = "version: 1\nsite: s\ncameras:\n  - from: x.csv\n  - { name: c, test: scene }\n";
    let parsed = good_with(text, &lists);
    let names: Vec<_> = parsed
        .profile
        .cameras
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let first = &parsed.profile.cameras[0];
    let login = Login {
        user: "admin".to_owned(),
        password: "p;\"w".to_owned(),
    };
    let Source::Rtsp { credentials, .. } = &first.source else {
        panic!("{first:?}")
    };
    assert_eq!(*credentials, Some(Credentials::Inline(login)));
    assert_eq!(
        first.record,
        Record {
            when: When::Motion,
            longest: 120 * SECOND,
            ..Record::default()
        }
    );
    let told = "x.csv:2:20: warning: password: a password stands in this file; it is moved into \
                the site's secret store\n  help: take it out of the file and use `credentials:`";
    assert_eq!(message(&parsed.warnings), told);
}

#[test]
fn ten_thousand_cameras_are_the_most() {
    let row = |i: u32| format!("c{i},rtsp://10.0.0.1/{i}\n");
    let list = |rows| {
        MemoryLists(
            [(
                "x.csv".into(),
                format!("name,rtsp\n{}", (0..rows).map(row).collect::<String>()).into(),
            )]
            .into(),
        )
    };
    let text = "version: 1\nsite: s\ncameras: [ { from: x.csv } ]\n";
    assert_eq!(good_with(text, &list(10_000)).profile.cameras.len(), 10_000);
    let found = parse(&SourceFile { name: "s", text }, &list(10_001)).unwrap_err();
    assert_eq!(
        message(&found),
        "x.csv:10002:1: there are more than 10000 cameras\n  help: split the site"
    );
}

#[test]
fn an_alias_repeats_a_value() {
    let text = "version: 1\nsite: s\ncameras:\n  \
                - { name: a, rtsp: \"rtsp://h/a\", record: &often { when: motion, pre: 3s } }\n  \
                - { name: b, rtsp: \"rtsp://h/b\", record: *often }\n";
    let cameras = good(text).profile.cameras;
    assert_eq!(cameras[0].record, cameras[1].record);
    assert_eq!(cameras[1].record.pre, 3 * SECOND);
}

/// Any profile whose cameras have no login in their URL.
fn any_profile() -> impl Strategy<Value = Profile> {
    let name = || "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?";
    let camera = (any_source(), any_record());
    let storage = (
        proptest::option::of("/[a-zA-Z: #'\"\\\\é-]{0,8}[a-z]"),
        proptest::option::of(3600_u64..1 << 40),
        proptest::option::of(100_000_000_u64..),
        select(vec![Keeper::Vault, Keeper::Agent]),
        any_provider(),
    );
    let targets = [
        TargetChoice::Auto,
        TargetChoice::Host,
        TargetChoice::Docker,
        TargetChoice::Kubernetes,
    ];
    let isolation = select(vec![Isolation::Camera, Isolation::Group]);
    let cameras = proptest::collection::btree_map(name(), camera, 1..5);
    (
        name(),
        select(targets.to_vec()),
        isolation,
        cameras,
        storage,
        any_catalogue(),
        (
            proptest::collection::vec(any_event(), 0..3),
            proptest::option::of(any_access()),
        ),
        (
            select(vec![Buffer::Disposable, Buffer::Claim]),
            select(vec![Monitoring::Auto, Monitoring::On, Monitoring::Off]),
            proptest::collection::btree_map("[a-z]{1,9}", "[a-zA-Z0-9]{1,9}", 0..3),
            (
                select(vec![Addons::Tell, Addons::Enable]),
                proptest::option::of("10\\.0\\.0\\.[1-9]-10\\.0\\.0\\.1[0-9]"),
            ),
            1..=3_u32,
        ),
    )
        .prop_map(
            |(
                site,
                target,
                isolation,
                cameras,
                (path, retention, quota, keeper, provider),
                catalogue,
                (events, access),
                (buffer, monitoring, monitoring_labels, (addons, addresses), replicas),
            )| {
                let shares = keeper == Keeper::Vault
                    && provider != Provider::Filesystem
                    && catalogue != Catalogue::Sqlite
                    && matches!(target, TargetChoice::Auto | TargetChoice::Kubernetes)
                    && access
                        .as_ref()
                        .is_none_or(|access| !matches!(access.tls, AccessTls::Acme(_)));
                Profile {
                    vault: Vault {
                        replicas: if shares { replicas } else { 1 },
                    },
                    site,
                    target,
                    agents: Agents { isolation, buffer },
                    monitoring,
                    monitoring_labels,
                    cluster: ClusterMeans { addons, addresses },
                    cameras: cameras
                        .into_iter()
                        .map(|(name, (source, record))| Camera {
                            name,
                            source,
                            record,
                        })
                        .collect(),
                    storage: Storage {
                        path: path.map(Into::into),
                        // The vault alone writes to object stores, and it alone sends events.
                        provider: match keeper {
                            Keeper::Vault => provider,
                            Keeper::Agent => Provider::Filesystem,
                        },
                        keeper,
                        retention: retention.map(Duration::from_secs),
                        quota,
                    },
                    catalogue: match keeper {
                        Keeper::Vault => catalogue,
                        Keeper::Agent => Catalogue::Sqlite,
                    },
                    events: match keeper {
                        Keeper::Vault => events,
                        Keeper::Agent => Vec::new(),
                    },
                    access: access.filter(|_| keeper == Keeper::Vault),
                    charts: Vec::new(),
                }
            },
        )
}

fn any_catalogue() -> impl Strategy<Value = Catalogue> {
    let address = (
        proptest::collection::vec("[a-z][a-z0-9.-]{0,8}(:[1-9][0-9]{3})?", 1..4),
        "[a-zA-Z0-9_-]{1,12}",
        proptest::option::of("[a-z0-9]{1,6}"),
        any::<bool>(),
    );
    let address = address.prop_map(|(hosts, database, replica_set, tls)| MongoAddress {
        hosts,
        database,
        replica_set,
        tls,
    });
    prop_oneof![
        Just(Catalogue::Sqlite),
        Just(Catalogue::Mongodb(Database::Deploy)),
        (address, proptest::option::of(any_credentials())).prop_map(|(address, credentials)| {
            Catalogue::Mongodb(Database::External {
                address,
                credentials,
            })
        }),
    ]
}

fn any_credentials() -> impl Strategy<Value = Credentials> {
    prop_oneof![
        Just(Credentials::Ask),
        "[A-Z_][A-Z0-9_]{0,5}".prop_map(Credentials::Environment),
        "\\PC{1,12}".prop_map(|file| Credentials::File(file.into())),
    ]
}

fn any_access() -> impl Strategy<Value = Access> {
    let address = (proptest::arbitrary::any::<std::net::IpAddr>(), 1_u16..);
    let address = address.prop_filter("one machine's", |(ip, _)| !ip.is_unspecified());
    let file = || "\\PC{1,12}".prop_map(camino::Utf8PathBuf::from);
    let name = "[a-z]([a-z0-9-]{0,5}[a-z])?\\.org";
    let names = proptest::collection::btree_set(name, 1..3);
    let acme = proptest::option::of(file()).prop_map(|ca_file| Acme {
        directory: url("https://authority/dir"),
        email: Some("owner@example.org".to_owned()),
        ca_file,
    });
    let tls = prop_oneof![
        Just(AccessTls::Internal),
        (file(), file()).prop_map(|(certificate, key)| AccessTls::Files { certificate, key }),
        acme.prop_map(AccessTls::Acme),
    ];
    let machine = (address, names.clone(), tls.clone()).prop_map(|(address, names, tls)| Access {
        address: Some(address.into()),
        cluster: ClusterAccess::default(),
        names: names.into_iter().collect(),
        tls,
    });
    let kinds = vec![IssuerKind::Issuer, IssuerKind::ClusterIssuer];
    let issuer = ("[a-z]{1,8}", select(kinds));
    let issuer = issuer.prop_map(|(name, kind)| AccessTls::CertManager(Issuer { name, kind }));
    let exposures = vec![
        Exposure::LoadBalancer,
        Exposure::Ingress,
        Exposure::Gateway,
        Exposure::NodePort,
    ];
    let place = (
        proptest::option::of(select(exposures)),
        proptest::option::of("[a-z]{1,8}(\\.io/[a-z]{1,4})?"),
        proptest::option::of("[a-z]{1,8}"),
        proptest::option::of(1_u16..),
    );
    let place = place.prop_map(|(exposure, class, namespace, port)| ClusterAccess {
        exposure,
        class,
        namespace,
        port,
    });
    let cluster =
        (place, names, prop_oneof![tls, issuer]).prop_map(|(cluster, names, tls)| Access {
            address: None,
            cluster,
            names: names.into_iter().collect(),
            tls,
        });
    prop_oneof![machine, cluster]
}

fn any_provider() -> impl Strategy<Value = Provider> {
    let endpoint = "https?://[a-z]{1,8}(:[1-9][0-9]{3})?/".prop_map(|text| url(&text));
    let s3 = (
        proptest::option::of(endpoint),
        "[a-z]{2}-[a-z]{4}-[1-9]",
        "[a-z0-9][a-z0-9-]{1,10}[a-z0-9]",
        proptest::option::of("[a-zA-Z0-9 _-]{1,8}(/[a-z]{1,4})?"),
        prop_oneof![
            any_credentials().prop_map(S3Identity::Keys),
            Just(S3Identity::Platform),
        ],
    );
    prop_oneof![
        Just(Provider::Filesystem),
        Just(Provider::Minio),
        s3.prop_map(|(endpoint, region, bucket, prefix, identity)| {
            Provider::S3(Box::new(S3 {
                endpoint,
                region,
                bucket,
                prefix,
                identity,
            }))
        }),
    ]
}

fn any_broker(scheme: &'static str) -> impl Strategy<Value = Broker> {
    let external = (
        "[a-z]{1,8}(:[1-9][0-9]{3})?",
        proptest::option::of(any_credentials()),
    );
    prop_oneof![
        Just(Broker::Deploy),
        external.prop_map(move |(host, credentials)| Broker::External {
            url: url(&format!("{scheme}://{host}")),
            credentials,
        }),
    ]
}

fn any_event() -> impl Strategy<Value = EventSink> {
    let name = || proptest::option::of("[a-z0-9/. -]{1,8}[a-z]");
    prop_oneof![
        (1_u16..9).prop_map(|i| EventSink::Webhook {
            url: url(&format!("http://h:{i}/?a=%20#{i}")),
        }),
        (any_broker("mqtts"), name()).prop_map(|(broker, topic)| EventSink::Mqtt { broker, topic }),
        (any_broker("amqp"), name(), name()).prop_map(|(broker, exchange, queue)| {
            EventSink::Amqp {
                broker,
                exchange,
                queue,
            }
        }),
    ]
}

fn any_source() -> impl Strategy<Value = Source> {
    let credentials = prop_oneof![
        Just(None),
        Just(Some(Credentials::Ask)),
        "[A-Z_][A-Z0-9_]{0,5}".prop_map(|name| Some(Credentials::Environment(name))),
        "\\PC{1,12}".prop_map(|file| Some(Credentials::File(file.into()))),
    ];
    let address = "rtsp://[a-z0-9]{1,5}[a-z](:[1-9][0-9]{0,3})?/[a-z0-9=&?,'{}\\[\\]!*%~-]{0,8}";
    let network = (address, proptest::option::of(address), credentials);
    prop_oneof![
        3 => network.prop_map(|(main, sub, credentials)| Source::Rtsp {
            main: url(&main),
            sub: sub.map(|sub| url(&sub)),
            credentials,
        }),
        1 => Just(Source::Test(TestSource::Scene)),
        1 => "\\PC{1,12}[a-z]\\.mp4".prop_map(|p| Source::Test(TestSource::File(p.into()))),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let when = select(vec![When::Continuous, When::Motion, When::Both]);
    let full = (
        when.clone(),
        0_u64..=60_000,
        0_u64..=600_000,
        5_000_u64..=3_600_000,
    );
    let ms = Duration::from_millis;
    prop_oneof![
        when.prop_map(|when| Record {
            when,
            ..Record::default()
        }),
        full.prop_map(move |(when, pre, post, longest)| Record {
            when,
            pre: ms(pre),
            post: ms(post),
            longest: ms(longest),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back_the_same(profile in any_profile()) {
        let text = to_yaml(&profile);
        let parsed = parse(&SourceFile { name: "x", text: &text }, &MemoryLists::default());
        let parsed = parsed.map_err(|f| TestCaseError::fail(message(&f) + "\n" + &text))?;
        prop_assert_eq!(parsed.profile, profile);
        let value = serde_saphyr::from_str(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(Schema::new().check(&value), Ok(()));
    }
}
