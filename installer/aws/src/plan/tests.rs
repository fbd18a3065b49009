use super::*;
use crate::facts::{
    AgentFact, AssociationFact, BucketFact, BucketState, Caller, ClusterFact, Encryption,
    LifecycleRule, RoleFact,
};
use crate::policy::{
    ClusterNames, Document, Effect, Statement, bucket_policy, pod_identity_trust, vault_policy,
};
use crate::wanted::tests::wanted;
use crate::wanted::{POLICY, WantedBinding};

const ARN: &str = "arn:aws:eks:eu-west-1:123456789012:cluster/cameras";
const ROLE: &str = "arn:aws:iam::123456789012:role/stakeout/stakeout-cameras-one";

/// A cluster with Pod Identity, and nothing else.
fn nothing() -> Facts {
    Facts {
        caller: Caller::of(
            "123456789012",
            "arn:aws:sts::123456789012:assumed-role/admin/me",
        ),
        cluster: ClusterFact {
            names: ClusterNames {
                arn: ARN.to_owned(),
                account: "123456789012".to_owned(),
                issuer: Some("https://oidc.eks.eu-west-1.amazonaws.com/id/ABC".to_owned()),
            },
            agent: AgentFact::Addon("ACTIVE".to_owned()),
        },
        bucket: BucketFact::Missing,
        role: None,
        provider: false,
        association: None,
    }
}

fn tags() -> Tags {
    let tags = [(SITE_TAG, "one"), (MANAGED_TAG, "made"), (CLUSTER_TAG, ARN)];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// All that is wanted is there.
fn everything() -> Facts {
    let mut facts = nothing();
    facts.bucket = BucketFact::Here(Box::new(BucketState {
        tags: tags(),
        blocks_public: true,
        owner_enforced: true,
        encryption: Some(Encryption::S3),
        lifecycle: vec![LifecycleRule {
            id: "stakeout-one".to_owned(),
            enabled: true,
            prefix: "sites/one/".to_owned(),
            expire_days: Some(30),
            replaced_days: None,
            abort_days: Some(1),
            more: false,
        }],
        policy: Some(Ok(bucket_policy(&wanted(), "aws"))),
        versioned: false,
    }));
    facts.role = Some(RoleFact {
        arn: ROLE.to_owned(),
        path: "/stakeout/".to_owned(),
        tags: tags(),
        trust: Ok(pod_identity_trust(&wanted(), &facts.cluster.names)),
        inline: [(POLICY.to_owned(), Ok(vault_policy(&wanted(), "aws")))].into(),
        attached: Vec::new(),
        boundary: None,
    });
    facts.association = Some(AssociationFact {
        id: "a-1".to_owned(),
        arn: "arn:aws:eks:eu-west-1:123456789012:podidentityassociation/cameras/a-1".to_owned(),
        role: ROLE.to_owned(),
        tags: tags(),
    });
    facts
}

fn bucket(facts: &mut Facts) -> &mut BucketState {
    match &mut facts.bucket {
        BucketFact::Here(state) => state,
        other => panic!("{other:?}"),
    }
}

fn role(facts: &mut Facts) -> &mut RoleFact {
    facts.role.as_mut().unwrap()
}

fn shown(wanted: &Wanted, facts: &Facts) -> Vec<String> {
    let plan = plan(wanted, facts).unwrap();
    plan.steps.iter().map(ToString::to_string).collect()
}

fn refused(wanted: &Wanted, facts: &Facts) -> Vec<String> {
    let refusals = plan(wanted, facts).unwrap_err();
    refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn a_site_is_made_from_nothing() {
    assert_eq!(
        shown(&wanted(), &nothing()),
        [
            "+ bucket footage in eu-west-1",
            "~ bucket footage: no public access",
            "~ bucket footage: its owner owns what is in it",
            "~ bucket footage: encrypted by keys of S3",
            "~ bucket footage: objects expire after 30 days, uploads that nobody ends after 1",
            "~ bucket footage: refuses whoever talks without TLS",
            "+ role stakeout-cameras-one",
            "~ role stakeout-cameras-one: what it may do (stakeout-vault)",
            "+ association of stakeout-one/vault in cameras",
        ]
    );
    let plan = plan(&wanted(), &nothing()).unwrap();
    assert_eq!(plan.role_arn, ROLE);
    assert_eq!(plan.chosen.why, "its add-on eks-pod-identity-agent runs");
    assert_eq!(plan.annotation(), None);
}

#[test]
fn what_is_as_it_has_to_be_is_left_alone() {
    assert_eq!(shown(&wanted(), &everything()), [""; 0]);
}

#[test]
fn each_drift_is_mended_by_one_step() {
    type Change = fn(&mut Facts);
    let drifts: [(Change, &str); 16] = [
        (
            |f| drop(bucket(f).tags.remove(MANAGED_TAG)),
            "~ bucket footage: its tags",
        ),
        (
            |f| bucket(f).blocks_public = false,
            "~ bucket footage: no public access",
        ),
        (
            |f| bucket(f).owner_enforced = false,
            "~ bucket footage: its owner owns what is in it",
        ),
        (
            |f| bucket(f).encryption = None,
            "~ bucket footage: encrypted by keys of S3",
        ),
        (
            |f| bucket(f).lifecycle[0].expire_days = Some(3),
            "~ bucket footage: objects expire after 30 days, uploads that nobody ends after 1",
        ),
        (
            |f| bucket(f).lifecycle[0].enabled = false,
            "~ bucket footage: objects expire after 30 days, uploads that nobody ends after 1",
        ),
        (
            |f| bucket(f).policy = None,
            "~ bucket footage: refuses whoever talks without TLS",
        ),
        (
            |f| drop(role(f).tags.remove(CLUSTER_TAG)),
            "~ role stakeout-cameras-one: its tags",
        ),
        (
            |f| role(f).trust = Err("not JSON".to_owned()),
            "~ role stakeout-cameras-one: who may have it",
        ),
        (
            |f| role(f).boundary = Some("arn:aws:iam::1:policy/b".to_owned()),
            "~ role stakeout-cameras-one: without a boundary",
        ),
        (
            |f| role(f).inline.clear(),
            "~ role stakeout-cameras-one: what it may do (stakeout-vault)",
        ),
        (
            |f| {
                let own = role(f).inline.get_mut(POLICY).unwrap();
                let more = Statement::new(Effect::Allow, ["s3:PutBucketPolicy"]).on(["*"]);
                own.as_mut().unwrap().statements.push(more);
            },
            "~ role stakeout-cameras-one: what it may do (stakeout-vault)",
        ),
        (
            |f| {
                let more = ("more".to_owned(), Ok(Document::default()));
                role(f).inline.extend([more]);
            },
            "- policy more of role stakeout-cameras-one",
        ),
        (
            |f| {
                role(f)
                    .attached
                    .push("arn:aws:iam::aws:policy/AmazonS3FullAccess".to_owned());
            },
            "- arn:aws:iam::aws:policy/AmazonS3FullAccess of role stakeout-cameras-one",
        ),
        (
            |f| f.association = None,
            "+ association of stakeout-one/vault in cameras",
        ),
        (
            |f| f.association.as_mut().unwrap().role.push('2'),
            "~ association a-1: to arn:aws:iam::123456789012:role/stakeout/stakeout-cameras-one",
        ),
    ];
    for (change, mended) in drifts {
        let mut facts = everything();
        change(&mut facts);
        assert_eq!(shown(&wanted(), &facts), [mended]);
    }
}

#[test]
fn what_others_wrote_into_the_bucket_stays() {
    let mut facts = everything();
    let mut wanted = wanted();
    wanted.bucket.adopt = true;
    let theirs = Statement::new(Effect::Allow, ["s3:GetObject"])
        .named("Auditors")
        .by("AWS", "arn:aws:iam::1:root")
        .on(["arn:aws:s3:::footage/*"]);
    let state = bucket(&mut facts);
    state.tags = [("team".to_owned(), "x".to_owned())].into();
    state.policy = Some(Ok(Document::new([theirs.clone()])));
    let steps = plan(&wanted, &facts).unwrap().steps;
    let [
        Step::TagBucket { tags, .. },
        Step::SetBucketPolicy { document, .. },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    assert_eq!(
        (tags["team"].as_str(), tags[MANAGED_TAG].as_str()),
        ("x", "adopted")
    );
    assert!(document.statements.contains(&theirs));
    assert_eq!(document.statements.len(), 2);
}

#[test]
fn what_is_not_the_sites_is_refused_and_named() {
    type Change = fn(&mut Facts, &mut Wanted);
    let cases: [(Change, &str); 10] = [
        (
            |f, _| bucket(f).tags.clear(),
            "bucket `footage`: it is there and not marked as a site's",
        ),
        (
            |f, w| {
                w.bucket.adopt = true;
                bucket(f).tags.insert(SITE_TAG.to_owned(), "two".to_owned());
            },
            "bucket `footage`: it is of site `two`",
        ),
        (
            |f, _| f.bucket = BucketFact::Taken,
            "bucket `footage`: the name is taken in another account, or \
             arn:aws:sts::123456789012:assumed-role/admin/me may not see it",
        ),
        (
            |f, _| {
                f.bucket = BucketFact::Elsewhere {
                    region: "us-east-1".to_owned(),
                }
            },
            "bucket `footage`: it lies in us-east-1, and the profile says eu-west-1",
        ),
        (
            |f, w| {
                w.bucket.adopt = true;
                f.bucket = BucketFact::Missing;
            },
            "bucket `footage`: it is to be adopted and is not there",
        ),
        (
            |f, _| role(f).tags.clear(),
            "role `stakeout-cameras-one`: it carries no mark of a site",
        ),
        (
            |f, _| {
                let other = (CLUSTER_TAG.to_owned(), "arn:other".to_owned());
                role(f).tags.extend([other]);
            },
            "role `stakeout-cameras-one`: it is of site `one` of arn:other",
        ),
        (
            |f, _| {
                let found = f.association.as_mut().unwrap();
                found.tags.clear();
                found.role.push('2');
            },
            "association `a-1` of cameras: it gives stakeout-one/vault the role \
             arn:aws:iam::123456789012:role/stakeout/stakeout-cameras-one2, and is not marked as \
             this site's",
        ),
        (
            |f, w| {
                w.binding = WantedBinding::PodIdentity;
                f.cluster.agent = AgentFact::Addon("CREATE_FAILED".to_owned());
            },
            "cluster `cameras`: its add-on eks-pod-identity-agent is CREATE_FAILED",
        ),
        (
            |f, _| {
                f.cluster.agent = AgentFact::Missing;
                f.cluster.names.issuer = None;
            },
            "cluster `cameras`: it has no issuer of tokens",
        ),
    ];
    for (change, why) in cases {
        let (mut facts, mut wanted) = (everything(), wanted());
        change(&mut facts, &mut wanted);
        assert_eq!(refused(&wanted, &facts), [why]);
    }
}

#[test]
fn without_an_agent_the_clusters_own_tokens_are_used_and_that_stays() {
    let mut facts = nothing();
    facts.cluster.agent = AgentFact::Missing;
    let made = plan(&wanted(), &facts).unwrap();
    let shown: Vec<_> = made.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown[6..],
        [
            "+ identity provider https://oidc.eks.eu-west-1.amazonaws.com/id/ABC",
            "+ role stakeout-cameras-one",
            "~ role stakeout-cameras-one: what it may do (stakeout-vault)",
        ]
    );
    assert_eq!(
        made.annotation(),
        Some(("eks.amazonaws.com/role-arn", ROLE))
    );
    let Step::MakeRole { trust, .. } = &made.steps[7] else {
        panic!("{shown:?}");
    };

    let mut facts = everything();
    facts.provider = true;
    facts.association = None;
    role(&mut facts).trust = Ok(trust.clone());
    let again = plan(&wanted(), &facts).unwrap();
    assert_eq!(
        (again.steps, again.chosen.binding),
        (Vec::new(), Binding::Irsa)
    );
    assert_eq!(again.notes.len(), 1);
    // Until somebody says so; the other way round the association goes.
    let mut changed = wanted();
    changed.binding = WantedBinding::PodIdentity;
    let steps = plan(&changed, &facts).unwrap().steps;
    assert!(matches!(
        &steps[..],
        [Step::SetTrust { .. }, Step::MakeAssociation { .. }]
    ));
    changed.binding = WantedBinding::Irsa;
    let steps = plan(&changed, &everything()).unwrap().steps;
    let expected = [
        "+ identity provider https://oidc.eks.eu-west-1.amazonaws.com/id/ABC",
        "~ role stakeout-cameras-one: who may have it",
        "- association a-1",
    ];
    assert_eq!(
        steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_removal_takes_what_is_the_sites_and_leaves_the_rest() {
    let removed = |facts: &Facts, level, holdings: Option<&Holdings>| {
        let removal = removal(&wanted(), facts, level, holdings);
        let steps = removal.steps.iter().map(ToString::to_string);
        let stays = removal.stays.iter().map(|stays| format!("= {stays}"));
        steps.chain(stays).collect::<Vec<_>>()
    };
    let rights = [
        "- association a-1",
        "- policy stakeout-vault of role stakeout-cameras-one",
        "- role stakeout-cameras-one",
    ];
    let kept = ["= bucket footage: it holds footage"];
    assert_eq!(
        removed(&everything(), Level::Rights, None),
        [&rights[..], &kept].concat()
    );
    assert_eq!(
        removed(&everything(), Level::Data, None),
        [&rights[..], &kept].concat()
    );

    let mut holdings = Holdings {
        objects: 2,
        bytes: 9,
        ..Holdings::default()
    };
    let data = [
        "- everything in bucket footage below `sites/one/`",
        "- bucket footage",
    ];
    let all = removed(&everything(), Level::Data, Some(&holdings));
    assert_eq!(all, [&rights[..], &data].concat());
    holdings.others = true;
    let shared = [
        data[0],
        "~ bucket footage: without our rule",
        "~ bucket footage: ours no more",
        "= bucket footage: it holds what is not the site's",
    ];
    let all = removed(&everything(), Level::Data, Some(&holdings));
    assert_eq!(all[3..], shared);

    let mut facts = everything();
    bucket(&mut facts).tags.clear();
    role(&mut facts).tags.clear();
    facts.association.as_mut().unwrap().tags.clear();
    assert_eq!(
        removed(&facts, Level::Data, Some(&holdings)),
        [
            "= association a-1: it is not marked as the site's",
            "= role stakeout-cameras-one: it is not marked as the site's",
            "= bucket footage: it is not marked as the site's",
        ]
    );
    assert_eq!(removed(&nothing(), Level::Data, Some(&holdings)), [""; 0]);
}
