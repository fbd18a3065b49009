//! Who may do what, asked of the cluster itself.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use installer_plan::kubernetes::Right;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use crate::connect::Connection;
use crate::error::KubernetesError;

/// Reviews change nothing and are cheap.
const AT_ONCE: usize = 16;

/// Whose rights are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// Whoever this connection belongs to.
    Me,
    ServiceAccount {
        namespace: &'a str,
        name: &'a str,
    },
}

/// Whether each of these is allowed, in their order; nothing where we may not ask about others.
pub async fn review(
    connection: &Connection,
    subject: Subject<'_>,
    rights: &[Right],
) -> Result<Option<Vec<bool>>, KubernetesError> {
    let answers = stream::iter(rights)
        .map(|right| ask(connection, subject, right))
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>();
    match answers.await {
        Ok(answers) => Ok(Some(answers)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(source) => Err(KubernetesError::Read {
            what: "who may do what".to_owned(),
            source: source.into(),
        }),
    }
}

/// Whether the cluster asks for rights at all: nobody has given this account any, so that it has some
/// only where all have. Nothing where we may not ask about others.
pub async fn asks_for_rights(connection: &Connection) -> Result<Option<bool>, KubernetesError> {
    let nobody = Subject::ServiceAccount {
        namespace: "default",
        name: "stakeout-nobody",
    };
    let right = Right {
        verb: "create".to_owned(),
        group: "rbac.authorization.k8s.io".to_owned(),
        resource: "clusterrolebindings".to_owned(),
        namespace: None,
        name: None,
        optional: false,
    };
    let answers = review(connection, nobody, &[right]).await?;
    Ok(answers.map(|answers| !answers.contains(&true)))
}

async fn ask(
    connection: &Connection,
    subject: Subject<'_>,
    right: &Right,
) -> Result<bool, kube::Error> {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (right.resource.as_str(), None),
    };
    let attributes = ResourceAttributes {
        verb: Some(right.verb.clone()),
        group: Some(right.group.clone()),
        resource: Some(resource.to_owned()),
        subresource,
        namespace: right.namespace.clone(),
        name: right.name.clone(),
        ..ResourceAttributes::default()
    };
    let client = connection.client.clone();
    let options = PostParams::default();
    let answer = match subject {
        Subject::Me => {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(attributes),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let api: Api<SelfSubjectAccessReview> = Api::all(client);
            api.create(&options, &review).await.map(|done| done.status)
        }
        Subject::ServiceAccount { namespace, name } => {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    resource_attributes: Some(attributes),
                    user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                    // As the API server knows every such account.
                    groups: Some(vec![
                        "system:serviceaccounts".to_owned(),
                        format!("system:serviceaccounts:{namespace}"),
                        "system:authenticated".to_owned(),
                    ]),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let api: Api<SubjectAccessReview> = Api::all(client);
            api.create(&options, &review).await.map(|done| done.status)
        }
    };
    Ok(answer?.is_some_and(|status| status.allowed))
}
