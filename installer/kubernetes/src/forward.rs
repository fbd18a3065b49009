//! The way into a pod, through the API server: each connection asks anew which pod
//! is ready, so that it outlives a rollout.

use installer_engine::Forward;
use installer_plan::docker::label;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::connect::Connection;

/// Leads to `port` of whichever pod of `service` is ready.
pub async fn forward(
    connection: &Connection,
    namespace: &str,
    service: &str,
    port: u16,
) -> std::io::Result<Forward> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let service = service.to_owned();
    Forward::open(format!("port {port} of `{service}`"), move |stream| {
        let (pods, service) = (pods.clone(), service.clone());
        async move { carry(&pods, &service, port, stream).await }
    })
    .await
}

async fn carry(
    pods: &Api<Pod>,
    service: &str,
    port: u16,
    mut stream: TcpStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let named = ListParams::default().labels(&format!("{}={service}", label::SERVICE));
    let found = pods.list(&named).await?;
    let ready = found.items.into_iter().find(is_ready);
    let name = ready
        .and_then(|pod| pod.metadata.name)
        .ok_or("no pod of it is ready")?;
    let mut forwarder = pods.portforward(&name, &[port]).await?;
    let mut inner = forwarder.take_stream(port).ok_or("there is no way in")?;
    copy_bidirectional(&mut stream, &mut inner).await?;
    drop(inner);
    forwarder.join().await?;
    Ok(())
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
