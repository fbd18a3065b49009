//! What the vault calls, and the policy that allows exactly that.

use super::document::{Document, Effect, Statement};
use crate::wanted::{Deletes, Wanted};

/// On what a right is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Bucket,
    /// The bucket, as far as keys below the site's prefix are asked for.
    Listing,
    Objects,
}

/// When the vault makes a call at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Uploads that nobody ended are looked for only where all of them are the site's.
    OwnPrefix,
    Deletes,
}

/// A right, and the calls of `vault-storage` that need it ("Actions defined by Amazon S3").
struct Need {
    action: &'static str,
    on: On,
    when: When,
}

/// The one list. A call that `vault/storage/src/s3` learns or forgets changes it, and nothing else.
const NEEDS: [Need; 6] = [
    // ListObjectsV2; and so that HeadObject of what is not there answers 404 instead of 403, for
    // which S3 asks with the object's key as prefix.
    need("s3:ListBucket", On::Listing, When::Always),
    // ListMultipartUploads; the vault asks without a prefix.
    need("s3:ListBucketMultipartUploads", On::Bucket, When::OwnPrefix),
    // GetObject, HeadObject.
    need("s3:GetObject", On::Objects, When::Always),
    // PutObject, CreateMultipartUpload, UploadPart, CompleteMultipartUpload.
    need("s3:PutObject", On::Objects, When::Always),
    need("s3:AbortMultipartUpload", On::Objects, When::Always),
    need("s3:DeleteObject", On::Objects, When::Deletes),
];

/// What S3 does in the vault's name when objects are encrypted by a key of KMS: one to write, the
/// other to read and to put parts together ("Protecting data using server-side encryption with AWS
/// KMS keys").
pub(super) const KEY_NEEDS: [&str; 2] = ["kms:Decrypt", "kms:GenerateDataKey"];

const fn need(action: &'static str, on: On, when: When) -> Need {
    Need { action, on, when }
}

fn needed(wanted: &Wanted, on: On) -> Vec<&'static str> {
    let made = |when| match when {
        When::Always => true,
        When::OwnPrefix => wanted.bucket.prefix.is_some(),
        When::Deletes => wanted.deletes == Deletes::Vault,
    };
    let needs = NEEDS.iter().filter(|need| need.on == on && made(need.when));
    needs.map(|need| need.action).collect()
}

/// Every action that the vault may do.
pub fn vault_actions(wanted: &Wanted) -> Vec<&'static str> {
    let mut actions = Vec::new();
    for on in [On::Bucket, On::Listing, On::Objects] {
        actions.extend(needed(wanted, on));
    }
    if wanted.bucket.key.is_some() {
        actions.extend(KEY_NEEDS);
    }
    actions.sort_unstable();
    actions
}

/// The narrowest policy with which the vault works.
pub fn vault_policy(wanted: &Wanted, partition: &str) -> Document {
    let bucket = bucket_arn(wanted, partition);
    let prefix = wanted.key_prefix();
    let allow = |sid, on| Statement::new(Effect::Allow, needed(wanted, on)).named(sid);
    let mut listing = allow("ListOwn", On::Listing).on([&bucket]);
    if !prefix.is_empty() {
        listing = listing.when("StringLike", "s3:prefix", format!("{prefix}*"));
    }
    let objects = allow("UseOwn", On::Objects).on([format!("{bucket}/{prefix}*")]);
    let uploads = allow("FindUnfinished", On::Bucket).on([&bucket]);
    let key = wanted.bucket.key.as_ref();
    let key = key.map(|key| {
        Statement::new(Effect::Allow, KEY_NEEDS)
            .named("UseKey")
            .on([key])
    });
    let uploads = Some(uploads).filter(|uploads| !uploads.actions.is_empty());
    Document::new([listing, objects].into_iter().chain(uploads).chain(key))
}

/// What the bucket says of itself: nobody may talk to it where others can listen.
pub fn bucket_policy(wanted: &Wanted, partition: &str) -> Document {
    let bucket = bucket_arn(wanted, partition);
    let deny = Statement::new(Effect::Deny, ["s3:*"])
        .named(PLAIN)
        .by("AWS", "*")
        .on([format!("{bucket}/*"), bucket])
        .when("Bool", "aws:SecureTransport", "false");
    Document::new([deny])
}

/// Names our statement in a bucket's policy; others stay as they are.
pub const PLAIN: &str = "StakeoutDenyPlain";

pub fn bucket_arn(wanted: &Wanted, partition: &str) -> String {
    format!("arn:{partition}:s3:::{}", wanted.bucket.name)
}
