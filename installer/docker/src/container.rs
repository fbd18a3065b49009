//! A planned container as the engine is told about it.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use installer_plan::docker::ContainerSpec;
use installer_render::docker::{MountAccess, Published};

const SECOND: i64 = 1_000_000_000;

/// An exec every half minute costs nothing that can be measured; `docker ps` shows the result.
const HEALTH_INTERVAL: i64 = 30 * SECOND;

/// Counted as the container's memory; for sockets and short logs.
const SCRATCH: &str = "rw,noexec,nosuid,nodev,size=16m,mode=0700";

/// The one address that was asked for: without one, an engine takes every address it finds.
fn bindings(published: Published) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding = PortBinding {
        host_ip: Some(published.address.ip().to_string()),
        host_port: Some(published.address.port().to_string()),
    };
    HashMap::from([(format!("{}/tcp", published.port), Some(vec![binding]))])
}

pub(crate) fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    let binds = spec.binds.iter().map(|bind| {
        let access = match bind.access {
            MountAccess::Read => "ro",
            MountAccess::Write => "rw",
        };
        format!("{}:{}:{access}", bind.source, bind.target)
    });
    let endpoint = EndpointSettings {
        aliases: Some(vec![spec.service.clone()]),
        ..EndpointSettings::default()
    };
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut test = vec!["CMD".to_owned()];
    test.extend(spec.health.iter().cloned());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        env: (!spec.environment.is_empty()).then(|| {
            let variables = spec.environment.iter();
            variables
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        }),
        user: Some(format!("{0}:{0}", spec.user)),
        labels: Some(spec.labels.clone().into_iter().collect()),
        hostname: Some(spec.service.clone()),
        stop_timeout: Some(signed(spec.stop_seconds)),
        healthcheck: Some(HealthConfig {
            test: Some(test),
            interval: Some(HEALTH_INTERVAL),
            // RabbitMQ's own tool starts a virtual machine first.
            timeout: Some(20 * SECOND),
            retries: Some(3),
            start_period: Some(60 * SECOND),
            start_interval: None,
        }),
        networking_config: spec.network.clone().map(|network| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        }),
        exposed_ports: spec
            .published
            .map(|published| vec![format!("{}/tcp", published.port)]),
        host_config: Some(HostConfig {
            port_bindings: spec.published.map(bindings),
            binds: Some(binds.collect()),
            network_mode: spec.network.clone().or_else(|| Some("none".to_owned())),
            readonly_rootfs: Some(true),
            tmpfs: (!spec.scratch.is_empty()).then(|| {
                let options = format!("{SCRATCH},uid={0},gid={0}", spec.user);
                let folders = spec.scratch.iter();
                folders
                    .map(|folder| (folder.to_string(), options.clone()))
                    .collect()
            }),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // The engine's own seccomp profile is in force as long as none is named.
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            memory: Some(signed(spec.limits.memory_mib << 20)),
            // No swap on top: a recorder that swaps loses frames.
            memory_swap: Some(signed(spec.limits.memory_mib << 20)),
            nano_cpus: Some(signed(spec.limits.cpu_milli) * 1_000_000),
            pids_limit: Some(signed(spec.limits.pids)),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), "8m".to_owned()),
                    ("max-file".to_owned(), "2".to_owned()),
                ])),
            }),
            // Not `unless-stopped`: an engine that was killed, as a power cut does it, forgets those
            // (seen with 20.10).
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::ALWAYS),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
