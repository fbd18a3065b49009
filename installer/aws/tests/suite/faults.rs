//! What goes wrong at Amazon, and how a run ends then.

use installer_aws::{Step, plan};
use installer_engine::{EffectError, ErrorKind};

use crate::standin::Fault;
use crate::world::{ACCOUNT, SOON, World, connect};

fn source(error: &EffectError) -> String {
    error
        .source
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[tokio::test]
async fn throttling_and_what_is_not_known_everywhere_are_waited_for() {
    let world = World::start("slow").await;
    let door = &world.standin;
    // More often than the SDK asks again by itself.
    door.fault(Fault::query("CreateRole", 7, 400, "Throttling"));
    door.fault(Fault::s3("PUT bucket", 3, 503, "SlowDown"));
    door.fault(Fault::s3("PUT ?encryption", 2, 404, "NoSuchBucket"));
    door.fault(Fault::s3("PUT ?policy", 2, 409, "OperationAborted"));
    door.fault(Fault::query("PutRolePolicy", 2, 404, "NoSuchEntity"));
    let call = "POST pod-identity-associations";
    door.fault(Fault::eks(
        call,
        2,
        "TooManyRequestsException",
        "rate exceeded",
    ));
    let young = "Role provided in the request cannot be assumed yet";
    door.fault(Fault::eks(call, 3, "InvalidParameterException", young));
    let mut said = Vec::new();
    for step in &world.plan().await.steps {
        let heard = |why: &str| said.push(why.to_owned());
        Box::pin(world.account.perform(step, SOON, heard))
            .await
            .unwrap();
    }
    assert!(
        said.iter().any(|why| why.contains("cannot be assumed yet")),
        "{said:?}"
    );
    // Lists still show what was there before.
    door.blind(2);
    let mut said = Vec::new();
    let heard = |why: &str| said.push(why.to_owned());
    Box::pin(world.account.settle(&world.wanted, SOON, heard))
        .await
        .unwrap();
    assert_eq!(
        said,
        ["not seen yet: + association of stakeout-slow/vault in cluster-slow"]
    );
    assert_eq!(door.writes().len(), 9);
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_nothing_twice() {
    let world = World::start("lost").await;
    world.standin.addon(None);
    for call in [
        "PUT bucket",
        "CreateOpenIDConnectProvider",
        "CreateRole",
        "PutRolePolicy",
    ] {
        let mut fault = Fault::query(call, 1, 500, "InternalFailure");
        fault.done = true;
        world.standin.fault(fault);
    }
    let made = world.apply().await.unwrap();
    assert_eq!(made.len(), 3, "{made:?}");

    let world = World::start("lost-too").await;
    let mut fault = Fault::eks("POST pod-identity-associations", 1, "ServerException", "?");
    (fault.done, fault.status) = (true, 500);
    world.standin.fault(fault);
    let made = world.apply().await.unwrap();
    assert_eq!(made.len(), 3, "{made:?}");
    assert_eq!(world.standin.associations().len(), 1);
}

#[tokio::test]
async fn a_run_that_is_killed_after_any_effect_is_ended_by_the_next() {
    let whole = World::start("killed-0").await.plan().await.steps.len();
    assert_eq!(whole, 9);
    for done in 1..whole {
        let mut world = World::start(&format!("killed-{done}")).await;
        for step in world.plan().await.steps.iter().take(done) {
            Box::pin(world.account.perform(step, SOON, |_| ()))
                .await
                .unwrap();
        }
        // Nothing is known any more but what Amazon says.
        world.account = connect(&world.standin.url, "nobody", "nothing").await;
        world.apply().await.unwrap();
        assert_eq!(world.standin.writes().len(), whole, "after {done}");
        assert_eq!(world.standin.associations().len(), 1);
    }
}

#[tokio::test]
async fn whoever_may_not_or_is_logged_out_is_told_what_was_denied() {
    let world = World::start("denied").await;
    let steps = world.plan().await.steps;
    let role = steps
        .iter()
        .find(|step| matches!(step, Step::MakeRole { .. }))
        .unwrap();
    for (code, told) in [
        (
            "AccessDenied",
            "cannot make role `stakeout-cluster-denied-denied`: iam:CreateRole is not allowed",
        ),
        (
            "ExpiredToken",
            "cannot make role `stakeout-cluster-denied-denied`: the login at AWS is over or wrong (iam:CreateRole)",
        ),
    ] {
        world
            .standin
            .fault(Fault::query("CreateRole", 1, 403, code));
        let error = Box::pin(world.account.perform(role, SOON, |_| ()))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (ErrorKind::Forbidden, told)
        );
        assert_eq!(source(&error), format!("{code}: as it is with {code}"));
    }
    world
        .standin
        .fault(Fault::query("GetCallerIdentity", 1, 403, "ExpiredToken"));
    let error = Box::pin(world.account.observe(&world.wanted))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    let denied = Fault::eks(
        "GET cluster",
        1,
        "AccessDeniedException",
        "no eks:DescribeCluster",
    );
    world.standin.fault(denied);
    let error = Box::pin(world.account.observe(&world.wanted))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains("eks:DescribeCluster"), "{error}");
    assert_eq!(world.standin.writes(), [""; 0]);
}

#[tokio::test]
async fn a_bucket_of_somebody_else_is_left_alone() {
    let mut world = World::start("foreign").await;
    let bucket = world.wanted.bucket.name.clone();
    let here = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                </CreateBucketConfiguration>";

    // Somebody half made it, in this account.
    world.send("s3", "PUT", &bucket, here, ACCOUNT).await;
    let refused = format!("bucket `{bucket}`: it is there and not marked as a site's");
    assert_eq!(world.refused().await, [refused]);
    world.wanted.bucket.adopt = true;
    world.apply().await.unwrap();
    let writes = world.standin.writes();
    assert_eq!((writes.len(), writes[0].as_str()), (9, "PUT ?tagging"));
    world.wanted.bucket.adopt = false;
    assert_eq!(world.apply().await.unwrap(), []);

    // In another region, as S3 says it of one that it reaches and of one that it does not.
    "footage-of-elsewhere".clone_into(&mut world.wanted.bucket.name);
    for status in [200, 301] {
        let mut moved = Fault::new("HEAD bucket", 1, status, "");
        moved.header = Some(("x-amz-bucket-region", "us-west-2".to_owned()));
        world.standin.fault(moved);
        let refused = "bucket `footage-of-elsewhere`: it lies in us-west-2, and the profile says \
                       eu-west-1";
        assert_eq!(world.refused().await, [refused]);
    }

    // In another account, seen at once, or only when it is to be made.
    let taken = "footage-of-others";
    taken.clone_into(&mut world.wanted.bucket.name);
    world.send("s3", "PUT", taken, here, "210987654321").await;
    world.standin.fault(Fault::new("HEAD bucket", 1, 403, ""));
    let refused = world.refused().await;
    assert!(
        refused[0].contains("the name is taken in another account"),
        "{refused:?}"
    );
    world.standin.fault(Fault::new("HEAD bucket", 1, 404, ""));
    let facts = world.observe().await;
    let steps = plan(&world.wanted, &facts).unwrap().steps;
    world.standin.writes();
    let error = Box::pin(world.account.perform(&steps[0], SOON, |_| ()))
        .await
        .unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Conflict,
        "{error} {}",
        source(&error)
    );

    // Made by somebody else of this account between plan and apply.
    let raced = "footage-of-racers";
    raced.clone_into(&mut world.wanted.bucket.name);
    let steps = world.plan().await.steps;
    world.send("s3", "PUT", raced, here, ACCOUNT).await;
    let error = Box::pin(world.account.perform(&steps[0], SOON, |_| ()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(
        error
            .to_string()
            .contains("somebody else made it meanwhile"),
        "{error}"
    );
}

#[tokio::test]
async fn a_role_that_somebody_else_makes_meanwhile_is_left_alone() {
    let world = World::start("raced").await;
    let steps = world.plan().await.steps;
    let role = steps
        .iter()
        .find(|step| matches!(step, Step::MakeRole { .. }))
        .unwrap();
    let name = world.wanted.role_name();
    let words = [
        ("RoleName", name.as_str()),
        ("AssumeRolePolicyDocument", "{}"),
    ];
    world.iam("CreateRole", &words).await;
    let error = Box::pin(world.account.perform(role, SOON, |_| ()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    let refused = format!("role `{name}`: it carries no mark of a site");
    assert_eq!(world.refused().await, [refused]);
}
