//! Changes at the bucket.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration, Delete,
    ObjectIdentifier, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, Tagging,
};
use installer_engine::{EffectError, ErrorKind};

use super::Made;
use crate::account::Account;
use crate::error::{code, failed};
use crate::facts::{Encryption, LifecycleRule, Tags};
use crate::lifecycle;
use crate::step::Step;

/// The region that must not be named when a bucket is made in it.
const FIRST_REGION: &str = "us-east-1";

/// Something was put together wrongly before anybody was asked.
fn bug(error: impl std::error::Error + Send + Sync + 'static) -> EffectError {
    EffectError::new(ErrorKind::Bug, "cannot write down a request to S3").because(error)
}

fn tag_set(tags: &Tags) -> Result<Vec<Tag>, EffectError> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect::<Result<_, _>>().map_err(bug)
}

fn done<T, E>(
    answer: Result<T, SdkError<E>>,
    step: &Step,
    operation: &str,
) -> Result<Option<Made>, EffectError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => Ok(None),
        // It was made a moment ago; what is gone for good, the next observation says.
        Err(error) if code(&error) == "NoSuchBucket" => {
            let mut missing = failed(step.action(), operation, &error);
            missing.kind = ErrorKind::Transient;
            Err(missing)
        }
        Err(error) => Err(failed(step.action(), operation, &error)),
    }
}

impl Account {
    pub(super) async fn change_bucket(&self, step: &Step) -> Result<Option<Made>, EffectError> {
        let s3 = &self.s3;
        let doing = |what: &str, bucket: &str| format!("{what} bucket `{bucket}`");
        match step {
            Step::MakeBucket { .. } => self.make_bucket(step).await,
            Step::TagBucket { bucket, tags } | Step::ReleaseBucket { bucket, tags } => {
                let operation = doing("tag", bucket);
                if tags.is_empty() {
                    let answer = s3.delete_bucket_tagging().bucket(bucket).send().await;
                    return done(answer, step, &operation);
                }
                let tagging = Tagging::builder().set_tag_set(Some(tag_set(tags)?)).build();
                let asked = s3
                    .put_bucket_tagging()
                    .bucket(bucket)
                    .tagging(tagging.map_err(bug)?);
                done(asked.send().await, step, &operation)
            }
            Step::BlockPublic { bucket } => {
                let blocks = PublicAccessBlockConfiguration::builder()
                    .block_public_acls(true)
                    .ignore_public_acls(true)
                    .block_public_policy(true)
                    .restrict_public_buckets(true)
                    .build();
                let asked = s3.put_public_access_block().bucket(bucket);
                let answer = asked.public_access_block_configuration(blocks).send().await;
                done(answer, step, &doing("keep the public from", bucket))
            }
            Step::EnforceOwner { bucket } => {
                let rule = OwnershipControlsRule::builder()
                    .object_ownership(ObjectOwnership::BucketOwnerEnforced)
                    .build();
                let controls = OwnershipControls::builder()
                    .rules(rule.map_err(bug)?)
                    .build();
                let asked = s3.put_bucket_ownership_controls().bucket(bucket);
                let answer = asked
                    .ownership_controls(controls.map_err(bug)?)
                    .send()
                    .await;
                done(answer, step, &doing("say who owns what is in", bucket))
            }
            Step::Encrypt { bucket, with } => {
                let asked = s3.put_bucket_encryption().bucket(bucket);
                let rules = encryption(with)?;
                let answer = asked
                    .server_side_encryption_configuration(rules)
                    .send()
                    .await;
                done(answer, step, &doing("encrypt", bucket))
            }
            Step::SetLifecycle {
                bucket,
                rules,
                ours,
            } => self.set_lifecycle(step, bucket, rules, ours).await,
            Step::SetBucketPolicy { bucket, document } => {
                let asked = s3
                    .put_bucket_policy()
                    .bucket(bucket)
                    .policy(document.text());
                done(
                    asked.send().await,
                    step,
                    &doing("say who may not use", bucket),
                )
            }
            Step::EmptyBucket { bucket, prefix } => self.empty(bucket, prefix).await.map(|()| None),
            Step::RemoveBucket { bucket } => match s3.delete_bucket().bucket(bucket).send().await {
                Err(error) if code(&error) == "NoSuchBucket" => Ok(None),
                answer => done(answer, step, &doing("remove", bucket)),
            },
            _ => Err(EffectError::new(
                ErrorKind::Bug,
                format!("`{step}` is of no bucket"),
            )),
        }
    }

    /// Its mark is part of it from the beginning, so that a run that ends here leaves nothing that
    /// looks like somebody else's.
    async fn make_bucket(&self, step: &Step) -> Result<Option<Made>, EffectError> {
        let Step::MakeBucket {
            bucket,
            arn,
            region,
            tags,
        } = step
        else {
            return Ok(None);
        };
        let elsewhere = Some(region.as_str()).filter(|region| *region != FIRST_REGION);
        let configuration = CreateBucketConfiguration::builder()
            .set_location_constraint(elsewhere.map(BucketLocationConstraint::from))
            .set_tags(Some(tag_set(tags)?))
            .build();
        let asked = self.s3.create_bucket().bucket(bucket);
        let answer = asked
            .create_bucket_configuration(configuration)
            .send()
            .await;
        let operation = format!("make bucket `{bucket}`");
        match answer {
            // A try before this one, whose answer was lost.
            Err(error) if code(&error) == "BucketAlreadyOwnedByYou" => {}
            Err(error) => return Err(failed(step.action(), &operation, &error)),
            Ok(_) => {}
        }
        // The first region says the same of a bucket that it made now and of one that was there.
        let found = self.bucket_tags(bucket).await?;
        if tags
            .iter()
            .all(|(key, value)| found.get(key) == Some(value))
        {
            return Ok(Some(Made { arn: arn.clone() }));
        }
        let why = format!("cannot {operation}: somebody else made it meanwhile");
        Err(EffectError::new(ErrorKind::Conflict, why))
    }

    async fn set_lifecycle(
        &self,
        step: &Step,
        bucket: &str,
        rules: &[LifecycleRule],
        ours: &[String],
    ) -> Result<Option<Made>, EffectError> {
        let operation = format!("say how long bucket `{bucket}` keeps what is in it");
        let mut all = self.lifecycle(bucket).await?;
        all.retain(|rule| {
            !rule
                .id()
                .is_some_and(|id| ours.iter().any(|ours| ours == id))
        });
        for rule in rules {
            all.push(lifecycle::written(rule).map_err(bug)?);
        }
        if all.is_empty() {
            let answer = self
                .s3
                .delete_bucket_lifecycle()
                .bucket(bucket)
                .send()
                .await;
            return done(answer, step, &operation);
        }
        let whole = BucketLifecycleConfiguration::builder()
            .set_rules(Some(all))
            .build();
        let asked = self.s3.put_bucket_lifecycle_configuration().bucket(bucket);
        let answer = asked
            .lifecycle_configuration(whole.map_err(bug)?)
            .send()
            .await;
        done(answer, step, &operation)
    }

    /// Every version of every object below `prefix`, a thousand at once, and uploads that were not
    /// ended.
    async fn empty(&self, bucket: &str, prefix: &str) -> Result<(), EffectError> {
        let operation = format!("empty bucket `{bucket}`");
        loop {
            // What was listed is gone the next time.
            let asked = self.s3.list_object_versions().bucket(bucket).prefix(prefix);
            let page = match asked.send().await {
                Ok(page) => page,
                Err(error) if code(&error) == "NoSuchBucket" => return Ok(()),
                Err(error) => return Err(failed("s3:ListBucketVersions", &operation, &error)),
            };
            let versions = page
                .versions()
                .iter()
                .map(|one| (one.key(), one.version_id()));
            let markers = page
                .delete_markers()
                .iter()
                .map(|one| (one.key(), one.version_id()));
            let all = versions.chain(markers).filter_map(|(key, version)| {
                let object = ObjectIdentifier::builder().key(key?);
                Some(object.set_version_id(version.map(str::to_owned)).build())
            });
            let all: Vec<_> = all.collect::<Result<_, _>>().map_err(bug)?;
            if all.is_empty() {
                break;
            }
            let delete = Delete::builder().set_objects(Some(all)).quiet(true).build();
            let asked = self
                .s3
                .delete_objects()
                .bucket(bucket)
                .delete(delete.map_err(bug)?);
            let answer = asked.send().await;
            let answer = answer.map_err(|error| failed("s3:DeleteObject", &operation, &error))?;
            if let Some(kept) = answer.errors().first() {
                let (key, code) = (
                    kept.key().unwrap_or_default(),
                    kept.code().unwrap_or_default(),
                );
                let why = format!("cannot {operation}: `{key}` stays ({code})");
                let kind = if code == "AccessDenied" {
                    ErrorKind::Forbidden
                } else {
                    ErrorKind::Transient
                };
                return Err(EffectError::new(kind, why));
            }
        }
        self.give_up_uploads(bucket, prefix, &operation).await
    }

    async fn give_up_uploads(
        &self,
        bucket: &str,
        prefix: &str,
        operation: &str,
    ) -> Result<(), EffectError> {
        let asked = self
            .s3
            .list_multipart_uploads()
            .bucket(bucket)
            .prefix(prefix);
        let listed = asked.send().await;
        let listed =
            listed.map_err(|error| failed("s3:ListBucketMultipartUploads", operation, &error))?;
        for upload in listed.uploads() {
            let asked = self.s3.abort_multipart_upload().bucket(bucket);
            let asked = asked.set_key(upload.key().map(str::to_owned));
            match asked
                .set_upload_id(upload.upload_id().map(str::to_owned))
                .send()
                .await
            {
                Ok(_) => {}
                Err(error) if code(&error) == "NoSuchUpload" => {}
                Err(error) => return Err(failed("s3:AbortMultipartUpload", operation, &error)),
            }
        }
        Ok(())
    }
}

fn encryption(with: &Encryption) -> Result<ServerSideEncryptionConfiguration, EffectError> {
    let (algorithm, key, bucket_key) = match with {
        Encryption::S3 => (ServerSideEncryption::Aes256, None, false),
        Encryption::Kms { key, bucket_key } => {
            (ServerSideEncryption::AwsKms, key.clone(), *bucket_key)
        }
    };
    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(algorithm)
        .set_kms_master_key_id(key)
        .build();
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(default.map_err(bug)?)
        .bucket_key_enabled(bucket_key)
        .build();
    ServerSideEncryptionConfiguration::builder()
        .rules(rule)
        .build()
        .map_err(bug)
}
