//! That the documents of this crate are enough for a vault and for nothing else, as IAM enforces
//! them in moto.

use installer_aws::policy::{
    Answer, Rights, answers, bucket_policy, pod_identity_questions, vault_questions,
};
use installer_aws::{Deletes, POLICY};
use vault_testkit::Part;

use crate::world::{ACCOUNT, World};

async fn enforce(moto: &Part) {
    let url = format!("{}/moto-api/reset-auth", moto.url);
    let answer = reqwest::Client::new()
        .post(url)
        .body("0")
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
}

/// Everything that the role is asked for at S3 and IAM, without the vault.
async fn asked(world: &World, keys: &[String; 3]) -> Vec<(String, bool)> {
    let [key, secret, session] = keys;
    let who =
        aws_sdk_s3::config::Credentials::new(key, secret, Some(session.clone()), None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new(world.wanted.region.clone()))
        .endpoint_url(&world.moto)
        .credentials_provider(who.clone())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .force_path_style(true)
        .build();
    let s3 = aws_sdk_s3::Client::from_conf(config);
    let iam = aws_sdk_iam::Config::builder()
        .behavior_version(aws_sdk_iam::config::BehaviorVersion::latest())
        .region(aws_sdk_iam::config::Region::new(
            world.wanted.region.clone(),
        ))
        .endpoint_url(&world.moto)
        .credentials_provider(who)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let iam = aws_sdk_iam::Client::from_conf(iam);
    let bucket = &world.wanted.bucket.name;
    let own = format!("{}/1.mp4", world.wanted.bucket.prefix.as_ref().unwrap());
    let mut found = Vec::new();
    // Told apart by IAM's word alone: what is allowed may fail for another reason.
    macro_rules! ask {
        ($what:expr, $call:expr) => {
            let answer = $call.send().await;
            let code = answer.as_ref().err().and_then(|error| {
                aws_sdk_s3::error::ProvideErrorMetadata::code(error).map(str::to_owned)
            });
            let status = answer
                .as_ref()
                .err()
                .and_then(|e| e.raw_response())
                .map(|a| a.status().as_u16());
            let denied = status == Some(403);
            assert!(denied || answer.is_ok(), "{}: {code:?} {status:?}", $what);
            found.push(($what.to_owned(), !denied));
        };
    }
    ask!("put own", s3.put_object().bucket(bucket).key(&own));
    ask!("get own", s3.get_object().bucket(bucket).key(&own));
    ask!(
        "list own",
        s3.list_objects_v2()
            .bucket(bucket)
            .prefix(format!("sites/{}/", world.wanted.site))
    );
    ask!("delete own", s3.delete_object().bucket(bucket).key(&own));
    ask!(
        "put beside",
        s3.put_object().bucket(bucket).key("sites/other/1.mp4")
    );
    ask!(
        "get beside",
        s3.get_object().bucket(bucket).key("beside/1.mp4")
    );
    ask!(
        "delete beside",
        s3.delete_object().bucket(bucket).key("beside/1.mp4")
    );
    ask!(
        "list beside",
        s3.list_objects_v2().bucket(bucket).prefix("sites/")
    );
    ask!("list all", s3.list_objects_v2().bucket(bucket));
    ask!("list versions", s3.list_object_versions().bucket(bucket));
    ask!("list buckets", s3.list_buckets());
    ask!("make a bucket", s3.create_bucket().bucket("of-the-vault"));
    ask!("read the policy", s3.get_bucket_policy().bucket(bucket));
    ask!(
        "remove the policy",
        s3.delete_bucket_policy().bucket(bucket)
    );
    ask!("remove the bucket", s3.delete_bucket().bucket(bucket));
    ask!(
        "another bucket",
        s3.list_objects_v2().bucket("of-others").prefix(&own)
    );
    ask!("list roles", iam.list_roles());
    ask!("itself", iam.get_role().role_name(world.wanted.role_name()));
    found
}

/// Keys of the role, as a pod gets them.
async fn keys(world: &World) -> [String; 3] {
    let role = format!(
        "arn:aws:iam::{ACCOUNT}:role/stakeout/{}",
        world.wanted.role_name()
    );
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.append_pair("Action", "AssumeRoleWithWebIdentity")
        .append_pair("Version", "2011-06-15");
    body.append_pair("RoleArn", &role)
        .append_pair("RoleSessionName", "test");
    body.append_pair("WebIdentityToken", "a token that moto does not look at");
    let answer = reqwest::Client::new()
        .post(&world.moto)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.finish())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|name| {
        let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap();
        rest.split_once("</").unwrap().0.to_owned()
    })
}

#[tokio::test]
async fn the_role_is_enough_for_a_vault_and_ends_there() {
    let part = tokio::task::spawn_blocking(|| Part::start("moto", &[]))
        .await
        .unwrap();
    let world = World::at(&part.url, "proved").await;
    world.apply().await.unwrap();
    let mut second = World::at(&part.url, "kept").await;
    second.wanted.deletes = Deletes::Bucket;
    second.apply().await.unwrap();
    let bucket = world.wanted.bucket.name.clone();
    world
        .send(
            "s3",
            "PUT",
            &format!("{bucket}/beside/1.mp4"),
            "film",
            ACCOUNT,
        )
        .await;
    let other = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                 </CreateBucketConfiguration>";
    world.send("s3", "PUT", "of-others", other, ACCOUNT).await;

    // What IAM holds is what was proved of the documents, and who may have the role as well.
    let facts = world.observe().await;
    let role = facts.role.clone().unwrap();
    let policy = role.inline[POLICY].clone().unwrap();
    let resource = bucket_policy(&world.wanted, "aws");
    let identity = [policy];
    let rights = Rights {
        identity: &identity,
        boundary: None,
        resource: Some(&resource),
    };
    let questions = vault_questions(&world.wanted, "aws");
    assert!(answers(&rights, &questions).iter().all(Answer::is_right));
    let trust = [role.trust.unwrap()];
    let trust = Rights {
        identity: &trust,
        ..Rights::default()
    };
    let questions = pod_identity_questions(&world.wanted, &facts.cluster.names);
    assert!(answers(&trust, &questions).iter().all(Answer::is_right));

    enforce(&part).await;
    let found = Box::pin(asked(&world, &keys(&world).await)).await;
    let allowed: Vec<_> = found
        .iter()
        .filter(|(_, allowed)| *allowed)
        .map(|(w, _)| w)
        .collect();
    assert_eq!(
        allowed,
        ["put own", "get own", "list own", "delete own"],
        "{found:?}"
    );
    assert_eq!(found.len(), 18);

    // A vault whose bucket forgets by itself deletes nothing.
    let found = Box::pin(asked(&second, &keys(&second).await)).await;
    let allowed: Vec<_> = found
        .iter()
        .filter(|(_, allowed)| *allowed)
        .map(|(w, _)| w)
        .collect();
    assert_eq!(allowed, ["put own", "get own", "list own"], "{found:?}");
}
