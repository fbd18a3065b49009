//! Rules of a bucket, between S3's words and ours.

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule as Theirs,
    LifecycleRuleFilter, NoncurrentVersionExpiration,
};

use crate::facts::LifecycleRule;

pub(crate) fn read(rule: &Theirs) -> LifecycleRule {
    let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok());
    let filter = rule.filter();
    let prefix = filter.and_then(|filter| filter.prefix());
    let expiration = rule.expiration();
    let replaced = rule.noncurrent_version_expiration();
    let abort = rule.abort_incomplete_multipart_upload();
    let narrower = filter.is_some_and(|filter| {
        filter.tag().is_some()
            || filter.and().is_some()
            || filter.object_size_greater_than().is_some()
            || filter.object_size_less_than().is_some()
    });
    LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        enabled: *rule.status() == ExpirationStatus::Enabled,
        prefix: prefix.unwrap_or_default().to_owned(),
        expire_days: days(expiration.and_then(LifecycleExpiration::days)),
        replaced_days: days(replaced.and_then(NoncurrentVersionExpiration::noncurrent_days)),
        abort_days: days(abort.and_then(AbortIncompleteMultipartUpload::days_after_initiation)),
        more: narrower
            || !rule.transitions().is_empty()
            || !rule.noncurrent_version_transitions().is_empty()
            || expiration.is_some_and(|expiration| expiration.date().is_some())
            || replaced.is_some_and(|replaced| replaced.newer_noncurrent_versions().is_some()),
    }
}

pub(crate) fn written(rule: &LifecycleRule) -> Result<Theirs, BuildError> {
    let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
    let expiration = rule
        .expire_days
        .map(|of| LifecycleExpiration::builder().days(days(of)).build());
    let replaced = rule.replaced_days.map(|of| {
        NoncurrentVersionExpiration::builder()
            .noncurrent_days(days(of))
            .build()
    });
    let abort = rule.abort_days.map(|of| {
        AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(days(of))
            .build()
    });
    Theirs::builder()
        .id(&rule.id)
        .status(if rule.enabled {
            ExpirationStatus::Enabled
        } else {
            ExpirationStatus::Disabled
        })
        .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build())
        .set_expiration(expiration)
        .set_noncurrent_version_expiration(replaced)
        .set_abort_incomplete_multipart_upload(abort)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_was_written_and_more_is_seen() {
        let rule = LifecycleRule {
            id: "stakeout-one".to_owned(),
            enabled: true,
            prefix: "sites/one/".to_owned(),
            expire_days: Some(30),
            replaced_days: Some(1),
            abort_days: Some(1),
            more: false,
        };
        let mut theirs = written(&rule).unwrap();
        assert_eq!(read(&theirs), rule);
        theirs.filter = Some(
            LifecycleRuleFilter::builder()
                .object_size_greater_than(9)
                .build(),
        );
        let other = read(&theirs);
        assert!(other.more && other.prefix.is_empty());
    }
}
