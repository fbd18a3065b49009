//! The bucket, and what is in it.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_bucket_tagging::GetBucketTaggingOutput;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ObjectOwnership, OwnershipControls, ServerSideEncryption,
};
use installer_engine::EffectError;

use crate::account::Account;
use crate::error::{code, failed, status};
use crate::facts::{BucketFact, BucketState, Encryption, LifecycleRule, Tags};
use crate::lifecycle;
use crate::plan::Holdings;
use crate::policy::Document;
use crate::wanted::Wanted;

/// In every answer about a bucket, also in one that says that it is elsewhere.
const REGION_HEADER: &str = "x-amz-bucket-region";
/// The region that S3 does not name.
const FIRST_REGION: &str = "us-east-1";

/// An answer, or nothing where `absent` says that there is none.
fn optional<T, E>(
    answer: Result<T, SdkError<E>>,
    absent: &str,
    action: &str,
    bucket: &str,
) -> Result<Option<T>, EffectError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if code(&error) == absent => Ok(None),
        Err(error) => Err(failed(
            action,
            &format!("look at bucket `{bucket}`"),
            &error,
        )),
    }
}

impl Account {
    pub(super) async fn bucket(
        &self,
        wanted: &Wanted,
        account: &str,
    ) -> Result<BucketFact, EffectError> {
        let name = &wanted.bucket.name;
        // S3 answers 403 as well when somebody else's bucket would let us in.
        let asked = self
            .s3
            .head_bucket()
            .bucket(name)
            .expected_bucket_owner(account);
        let region = match asked.send().await {
            Ok(answer) => answer.bucket_region().unwrap_or(FIRST_REGION).to_owned(),
            Err(error) => {
                let header = error
                    .raw_response()
                    .and_then(|a| a.headers().get(REGION_HEADER));
                match (status(&error), header) {
                    (Some(404), _) => return Ok(BucketFact::Missing),
                    (Some(403), _) => return Ok(BucketFact::Taken),
                    (Some(301 | 400), Some(region)) => region.to_owned(),
                    _ => {
                        let operation = format!("look at bucket `{name}`");
                        return Err(failed("s3:ListBucket", &operation, &error));
                    }
                }
            }
        };
        if region != wanted.region {
            return Ok(BucketFact::Elsewhere { region });
        }
        let (tags, blocks_public, owner_enforced, encryption, lifecycle, policy, versioned) = tokio::try_join!(
            self.bucket_tags(name),
            self.blocks_public(name),
            self.owner_enforced(name),
            self.encryption(name),
            self.rules(name),
            self.bucket_policy(name),
            self.versioned(name),
        )?;
        Ok(BucketFact::Here(Box::new(BucketState {
            tags,
            blocks_public,
            owner_enforced,
            encryption,
            lifecycle,
            policy,
            versioned,
        })))
    }

    pub(crate) async fn bucket_tags(&self, name: &str) -> Result<Tags, EffectError> {
        let answer = self.s3.get_bucket_tagging().bucket(name).send().await;
        let found = optional(answer, "NoSuchTagSet", "s3:GetBucketTagging", name)?;
        let tags = found.iter().flat_map(GetBucketTaggingOutput::tag_set);
        Ok(tags
            .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
            .collect())
    }

    async fn blocks_public(&self, name: &str) -> Result<bool, EffectError> {
        let answer = self.s3.get_public_access_block().bucket(name).send().await;
        let absent = "NoSuchPublicAccessBlockConfiguration";
        let found = optional(answer, absent, "s3:GetBucketPublicAccessBlock", name)?;
        let found = found.and_then(|answer| answer.public_access_block_configuration);
        Ok(found.is_some_and(|found| {
            [
                found.block_public_acls,
                found.ignore_public_acls,
                found.block_public_policy,
                found.restrict_public_buckets,
            ]
            .iter()
            .all(|block| *block == Some(true))
        }))
    }

    async fn owner_enforced(&self, name: &str) -> Result<bool, EffectError> {
        let answer = self
            .s3
            .get_bucket_ownership_controls()
            .bucket(name)
            .send()
            .await;
        let absent = "OwnershipControlsNotFoundError";
        let found = optional(answer, absent, "s3:GetBucketOwnershipControls", name)?;
        let found = found.and_then(|answer| answer.ownership_controls);
        let mut rules = found.iter().flat_map(OwnershipControls::rules);
        Ok(rules.any(|rule| *rule.object_ownership() == ObjectOwnership::BucketOwnerEnforced))
    }

    async fn encryption(&self, name: &str) -> Result<Option<Encryption>, EffectError> {
        let answer = self.s3.get_bucket_encryption().bucket(name).send().await;
        let absent = "ServerSideEncryptionConfigurationNotFoundError";
        let found = optional(answer, absent, "s3:GetEncryptionConfiguration", name)?;
        let found = found.and_then(|answer| answer.server_side_encryption_configuration);
        let Some(rule) = found.as_ref().and_then(|found| found.rules().first()) else {
            return Ok(None);
        };
        let default = rule.apply_server_side_encryption_by_default();
        Ok(default.and_then(|default| match default.sse_algorithm() {
            ServerSideEncryption::Aes256 => Some(Encryption::S3),
            ServerSideEncryption::AwsKms => Some(Encryption::Kms {
                key: default.kms_master_key_id().map(str::to_owned),
                bucket_key: rule.bucket_key_enabled() == Some(true),
            }),
            _ => None,
        }))
    }

    async fn rules(&self, name: &str) -> Result<Vec<LifecycleRule>, EffectError> {
        let found = self.lifecycle(name).await?;
        Ok(found.iter().map(lifecycle::read).collect())
    }

    /// The rules as they are, so that others' can be written back.
    pub(crate) async fn lifecycle(
        &self,
        name: &str,
    ) -> Result<Vec<aws_sdk_s3::types::LifecycleRule>, EffectError> {
        let answer = self
            .s3
            .get_bucket_lifecycle_configuration()
            .bucket(name)
            .send()
            .await;
        let absent = "NoSuchLifecycleConfiguration";
        let found = optional(answer, absent, "s3:GetLifecycleConfiguration", name)?;
        Ok(found.and_then(|answer| answer.rules).unwrap_or_default())
    }

    async fn bucket_policy(
        &self,
        name: &str,
    ) -> Result<Option<Result<Document, String>>, EffectError> {
        let answer = self.s3.get_bucket_policy().bucket(name).send().await;
        let found = optional(answer, "NoSuchBucketPolicy", "s3:GetBucketPolicy", name)?;
        let text = found.and_then(|answer| answer.policy);
        Ok(text.map(|text| Document::parse(&text).map_err(|error| error.to_string())))
    }

    async fn versioned(&self, name: &str) -> Result<bool, EffectError> {
        let answer = self.s3.get_bucket_versioning().bucket(name).send().await;
        let found = optional(answer, "NoSuchBucket", "s3:GetBucketVersioning", name)?;
        let status = found.and_then(|answer| answer.status);
        // A suspended bucket keeps the versions that it has.
        Ok(matches!(
            status,
            Some(BucketVersioningStatus::Enabled | BucketVersioningStatus::Suspended)
        ))
    }

    /// Counts what is in the bucket, for whoever is about to remove it.
    pub async fn holdings(&self, wanted: &Wanted) -> Result<Holdings, EffectError> {
        let (name, prefix) = (&wanted.bucket.name, wanted.key_prefix());
        let operation = format!("count what is in bucket `{name}`");
        let mut holdings = Holdings::default();
        let (mut key, mut version) = (None, None);
        loop {
            let asked = self.s3.list_object_versions().bucket(name);
            let asked = asked.set_key_marker(key).set_version_id_marker(version);
            let page = asked.send().await;
            let page = page.map_err(|error| failed("s3:ListBucketVersions", &operation, &error))?;
            let markers = page
                .delete_markers()
                .iter()
                .filter_map(|marker| marker.key());
            holdings.others |= markers.into_iter().any(|key| !key.starts_with(&prefix));
            for object in page.versions() {
                if !object.key().is_some_and(|key| key.starts_with(&prefix)) {
                    holdings.others = true;
                    continue;
                }
                holdings.objects += 1;
                holdings.bytes += object
                    .size()
                    .and_then(|size| size.try_into().ok())
                    .unwrap_or(0);
                let Some(at) = object.last_modified().and_then(|at| at.to_millis().ok()) else {
                    continue;
                };
                holdings.oldest_ms = Some(holdings.oldest_ms.map_or(at, |oldest| oldest.min(at)));
                holdings.newest_ms = Some(holdings.newest_ms.map_or(at, |newest| newest.max(at)));
            }
            if page.is_truncated() != Some(true) {
                return Ok(holdings);
            }
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
        }
    }
}
