//! A site is made, left alone, mended, and taken away.

use installer_aws::{BucketFact, Level, Made, Step, removal};

use crate::world::{ACCOUNT, SOON, World};

fn arns(made: &[Made]) -> Vec<&str> {
    made.iter().map(|made| made.arn.as_str()).collect()
}

#[tokio::test]
async fn a_site_is_made_once_and_then_nothing_is_written() {
    let world = World::start("made").await;
    let made = world.apply().await.unwrap();
    let [bucket, role, association] = &arns(&made)[..] else {
        panic!("{made:?}");
    };
    assert_eq!(*bucket, "arn:aws:s3:::footage-of-made");
    assert_eq!(
        *role,
        format!("arn:aws:iam::{ACCOUNT}:role/stakeout/stakeout-cluster-made-made")
    );
    assert!(association.contains(":podidentityassociation/cluster-made/"));
    assert_eq!(
        world.standin.writes(),
        [
            "PUT bucket",
            "PUT ?publicAccessBlock",
            "PUT ?ownershipControls",
            "PUT ?encryption",
            "PUT ?lifecycle",
            "PUT ?policy",
            "CreateRole",
            "PutRolePolicy",
            "POST pod-identity-associations",
        ]
    );
    assert_eq!(world.apply().await.unwrap(), []);
    assert_eq!(world.standin.writes(), [""; 0]);
}

#[tokio::test]
async fn without_an_agent_the_issuer_is_made_known_once() {
    let world = World::start("irsa").await;
    world.standin.addon(None);
    let made = world.apply().await.unwrap();
    assert_eq!(made.len(), 3);
    assert!(
        made[1]
            .arn
            .contains(":oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/")
    );
    let plan = world.plan().await;
    let (name, role) = plan.annotation().unwrap();
    assert_eq!(
        (name, role),
        ("eks.amazonaws.com/role-arn", made[2].arn.as_str())
    );
    assert_eq!(world.standin.associations().len(), 0);
    world.standin.writes();
    // Also when the add-on comes later.
    world.standin.addon(Some("ACTIVE"));
    assert_eq!(world.apply().await.unwrap(), []);
    assert_eq!(world.standin.writes(), [""; 0]);
}

#[tokio::test]
async fn each_drift_is_mended_by_one_write() {
    let mut world = World::start("drift").await;
    world.wanted.boundary = Some("limit".to_owned());
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    for name in ["limit", "other"] {
        let words = [("PolicyName", name), ("PolicyDocument", document)];
        world.iam("CreatePolicy", &words).await;
    }
    world.apply().await.unwrap();
    world.standin.writes();

    let bucket = world.wanted.bucket.name.clone();
    let role = world.wanted.role_name();
    let tags = "<Tagging><TagSet><Tag><Key>stakeout:site</Key><Value>drift</Value></Tag><Tag>\
                <Key>team</Key><Value>x</Value></Tag></TagSet></Tagging>";
    let open = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>\
                <BlockPublicPolicy>false</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    let forever = "<LifecycleConfiguration><Rule><ID>theirs</ID><Status>Enabled</Status><Filter>\
                   <Prefix>logs/</Prefix></Filter><Expiration><Days>9</Days></Expiration></Rule>\
                   </LifecycleConfiguration>";
    let theirs = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Theirs","Effect":"Deny","Principal":"*",
            "Action":"s3:DeleteBucket","Resource":"arn:aws:s3:::{bucket}"}}]}}"#
    );
    for (query, method, body, mended) in [
        ("tagging", "PUT", tags, "PUT ?tagging"),
        ("publicAccessBlock", "PUT", open, "PUT ?publicAccessBlock"),
        ("publicAccessBlock", "DELETE", "", "PUT ?publicAccessBlock"),
        ("ownershipControls", "DELETE", "", "PUT ?ownershipControls"),
        ("encryption", "DELETE", "", "PUT ?encryption"),
        ("lifecycle", "PUT", forever, "PUT ?lifecycle"),
        ("lifecycle", "DELETE", "", "PUT ?lifecycle"),
        ("policy", "PUT", &theirs, "PUT ?policy"),
        ("policy", "DELETE", "", "PUT ?policy"),
    ] {
        world
            .send("s3", method, &format!("{bucket}?{query}"), body, ACCOUNT)
            .await;
        world.apply().await.unwrap();
        assert_eq!(world.standin.writes(), [mended], "{method} {query}");
        // What others wrote is still there.
        let kept = world
            .send("s3", "GET", &format!("{bucket}?{query}"), "", ACCOUNT)
            .await;
        assert!(!body.contains("team") || kept.contains("team"), "{kept}");
        assert!(
            !body.contains("theirs") || kept.contains("theirs"),
            "{kept}"
        );
        assert!(
            !body.contains("Theirs") || kept.contains("Theirs"),
            "{kept}"
        );
    }
    let limit = format!("arn:aws:iam::{ACCOUNT}:policy/limit");
    let other = format!("arn:aws:iam::{ACCOUNT}:policy/other");
    let anybody = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}"#;
    let wide = document.replace("s3:*", "s3:DeleteBucket");
    let inline = |name: &'static str| vec![("PolicyName", name), ("PolicyDocument", wide.as_str())];
    type Words<'a> = Vec<(&'a str, &'a str)>;
    let changes: [(&str, Words<'_>, &str); 7] = [
        (
            "UntagRole",
            vec![("TagKeys.member.1", "stakeout:managed")],
            "TagRole",
        ),
        (
            "UpdateAssumeRolePolicy",
            vec![("PolicyDocument", anybody)],
            "UpdateAssumeRolePolicy",
        ),
        ("PutRolePolicy", inline("stakeout-vault"), "PutRolePolicy"),
        ("PutRolePolicy", inline("more"), "DeleteRolePolicy"),
        (
            "AttachRolePolicy",
            vec![("PolicyArn", &other)],
            "DetachRolePolicy",
        ),
        (
            "DeleteRolePermissionsBoundary",
            vec![],
            "PutRolePermissionsBoundary",
        ),
        (
            "PutRolePermissionsBoundary",
            vec![("PermissionsBoundary", &other)],
            "PutRolePermissionsBoundary",
        ),
    ];
    for (action, mut words, mended) in changes {
        words.push(("RoleName", &role));
        world.iam(action, &words).await;
        world.apply().await.unwrap();
        assert_eq!(world.standin.writes(), [mended], "{action}");
    }
    world
        .standin
        .tamper(|one| one["roleArn"] = format!("arn:aws:iam::{ACCOUNT}:role/x").into());
    world.apply().await.unwrap();
    assert_eq!(world.standin.writes(), ["POST pod-identity-associations"]);
    assert_eq!(world.observe().await.role.unwrap().boundary, Some(limit));
}

#[tokio::test]
async fn a_removal_takes_rights_first_and_footage_only_when_told() {
    let world = World::start("removed").await;
    world.apply().await.unwrap();
    let bucket = &world.wanted.bucket.name;
    for key in [
        "sites/removed/gate/1.mp4",
        "sites/removed/gate/2.mp4",
        "theirs/1",
    ] {
        world
            .send("s3", "PUT", &format!("{bucket}/{key}"), "film", ACCOUNT)
            .await;
    }
    world.standin.writes();
    let remove = async |level| {
        let facts = world.observe().await;
        let holdings = Box::pin(world.account.holdings(&world.wanted))
            .await
            .unwrap();
        let removal = removal(&world.wanted, &facts, level, Some(&holdings));
        for step in &removal.steps {
            Box::pin(world.account.perform(step, SOON, |_| ()))
                .await
                .unwrap();
        }
        (holdings, removal.stays)
    };
    let (holdings, stays) = remove(Level::Rights).await;
    assert_eq!(stays, [format!("bucket {bucket}: it holds footage")]);
    assert_eq!(
        (holdings.objects, holdings.bytes, holdings.others),
        (2, 8, true)
    );
    assert!(holdings.oldest_ms <= holdings.newest_ms && holdings.oldest_ms.is_some());
    assert_eq!(
        world.standin.writes(),
        [
            "DELETE pod-identity-associations",
            "DeleteRolePolicy",
            "DeleteRole"
        ]
    );
    let facts = world.observe().await;
    assert_eq!((facts.role, facts.association), (None, None));

    // Something else lies in it, so the bucket itself stays, and is ours no more.
    let (_, stays) = remove(Level::Data).await;
    assert_eq!(
        stays,
        [format!("bucket {bucket}: it holds what is not the site's")]
    );
    assert_eq!(
        world.standin.writes(),
        ["POST ?delete", "DELETE ?lifecycle", "DELETE ?tagging"]
    );
    world
        .send("s3", "GET", &format!("{bucket}/theirs/1"), "", ACCOUNT)
        .await;
    let (_, stays) = remove(Level::Data).await;
    assert_eq!(
        stays,
        [format!("bucket {bucket}: it is not marked as the site's")]
    );
    assert_eq!(world.standin.writes(), [""; 0]);

    let world = World::start("emptied").await;
    world.apply().await.unwrap();
    let key = format!("{}/sites/emptied/1.mp4", world.wanted.bucket.name);
    world.send("s3", "PUT", &key, "film", ACCOUNT).await;
    let facts = world.observe().await;
    let holdings = Box::pin(world.account.holdings(&world.wanted))
        .await
        .unwrap();
    let removal = removal(&world.wanted, &facts, Level::Data, Some(&holdings));
    assert!(removal.steps.iter().any(Step::loses_data));
    // Twice, as after a crash whose receipt knows nothing of it.
    for _ in 0..2 {
        for step in &removal.steps {
            Box::pin(world.account.perform(step, SOON, |_| ()))
                .await
                .unwrap();
        }
    }
    let facts = world.observe().await;
    assert_eq!((facts.bucket, facts.role), (BucketFact::Missing, None));
}
