//! A site of its own in an account that all tests share.

use std::sync::LazyLock;
use std::time::Duration;

use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};
use installer_aws::{
    Account, Connection, Deletes, Facts, Made, Plan, Wanted, WantedBinding, WantedBucket, plan,
};
use installer_engine::EffectError;
use vault_testkit::Part;

use crate::standin::StandIn;

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const ACCOUNT: &str = "123456789012";

static MOTO: LazyLock<Part> = LazyLock::new(|| Part::start("moto", &[]));

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) moto: String,
    pub(crate) standin: StandIn,
    pub(crate) account: Account,
    pub(crate) wanted: Wanted,
}

pub(crate) fn wanted(site: &str) -> Wanted {
    Wanted {
        site: site.to_owned(),
        region: REGION.to_owned(),
        bucket: WantedBucket {
            name: format!("footage-of-{site}"),
            prefix: Some(format!("sites/{site}")),
            retention_days: Some(30),
            key: None,
            adopt: false,
        },
        boundary: None,
        deletes: Deletes::Vault,
        cluster: format!("cluster-{site}"),
        namespace: format!("stakeout-{site}"),
        service_account: "vault".to_owned(),
        binding: WantedBinding::Choose,
    }
}

/// Keys that nobody looks at until rights count.
pub(crate) async fn connect(url: &str, key: &str, secret: &str) -> Account {
    let connection = Connection {
        region: REGION.to_owned(),
        profile: None,
        endpoint: Some(url.parse().unwrap()),
    };
    let who = SharedCredentialsProvider::new(Credentials::new(key, secret, None, None, "test"));
    Account::connect_as(&connection, who).await.unwrap()
}

impl World {
    pub(crate) async fn start(site: &str) -> Self {
        let moto = tokio::task::spawn_blocking(|| MOTO.url.clone())
            .await
            .unwrap();
        Self::at(&moto, site).await
    }

    pub(crate) async fn at(moto: &str, site: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let standin = StandIn::start(moto).await;
        let world = Self {
            account: connect(&standin.url, "nobody", "nothing").await,
            moto: moto.to_owned(),
            standin,
            wanted: wanted(site),
        };
        let cluster = serde_json::json!({
            "name": world.wanted.cluster, "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/eks"),
            "resourcesVpcConfig": { "subnetIds": ["subnet-1"] },
        });
        world
            .send("eks", "POST", "clusters", &cluster.to_string(), ACCOUNT)
            .await;
        world
    }

    /// As `account`, past the door.
    pub(crate) async fn send(
        &self,
        service: &str,
        method: &str,
        path: &str,
        body: &str,
        account: &str,
    ) -> String {
        let scope = format!("nobody/20260101/{REGION}/{service}/aws4_request");
        let kind = match service {
            "iam" => "application/x-www-form-urlencoded",
            "eks" => "application/json",
            _ => "application/xml",
        };
        let answer = reqwest::Client::new()
            .request(method.parse().unwrap(), format!("{}/{path}", self.moto))
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            )
            .header("content-type", kind)
            .header("x-moto-account-id", account)
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status} {text}");
        text
    }

    pub(crate) async fn iam(&self, action: &str, words: &[(&str, &str)]) -> String {
        let mut body = url::form_urlencoded::Serializer::new(format!("Action={action}"));
        body.append_pair("Version", "2010-05-08")
            .extend_pairs(words);
        self.send("iam", "POST", "", &body.finish(), ACCOUNT).await
    }

    pub(crate) async fn observe(&self) -> Facts {
        Box::pin(self.account.observe(&self.wanted)).await.unwrap()
    }

    pub(crate) async fn plan(&self) -> Plan {
        plan(&self.wanted, &self.observe().await).unwrap()
    }

    pub(crate) async fn refused(&self) -> Vec<String> {
        let refusals = plan(&self.wanted, &self.observe().await).unwrap_err();
        refusals.iter().map(ToString::to_string).collect()
    }

    /// Everything that is missing, and what was made.
    pub(crate) async fn apply(&self) -> Result<Vec<Made>, EffectError> {
        let mut made = Vec::new();
        for step in &self.plan().await.steps {
            made.extend(Box::pin(self.account.perform(step, SOON, |_| ())).await?);
        }
        Box::pin(self.account.settle(&self.wanted, SOON, |_| ())).await?;
        Ok(made)
    }
}

pub(crate) const SOON: Duration = Duration::from_secs(20);
