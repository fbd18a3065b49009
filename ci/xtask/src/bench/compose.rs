//! Docker Compose with the same containers as a site of ours.

use std::process::Command;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};

use crate::engine::Engine;
use crate::process::read;
use crate::repository::Repository;

/// One compose file at one engine.
#[derive(Debug)]
pub(super) struct Compose {
    program: Utf8PathBuf,
    file: Utf8PathBuf,
    address: String,
}

impl Compose {
    /// Writes what makes the containers and networks of `prefix` as they are now: the same images,
    /// commands, mounts, networks, limits, health checks.
    pub(super) fn of(
        repository: &Repository,
        engine: &Engine,
        prefix: &str,
        folder: &Utf8Path,
    ) -> anyhow::Result<Self> {
        let script = repository.root.join("ci/parts/compose");
        let program = read(Command::new("bash").arg(script))?;
        let listed = |words: &[&str]| -> anyhow::Result<Vec<String>> {
            let names = engine.docker(words)?;
            let ours = names.lines().filter(|name| name.starts_with(prefix));
            Ok(ours.map(str::to_owned).collect())
        };
        let containers = listed(&["ps", "--format", "{{.Names}}"])?;
        let networks = listed(&["network", "ls", "--format", "{{.Name}}"])?;
        ensure!(
            !containers.is_empty() && !networks.is_empty(),
            "no site runs"
        );
        let key = |name: &Value| -> String {
            let name = name.as_str().unwrap_or_default();
            name.trim_start_matches('/')
                .trim_start_matches(prefix)
                .to_owned()
        };
        let services: Map<String, Value> = engine
            .inspect("container", &containers)?
            .iter()
            .map(|found| (key(&found["Name"]), service(found, prefix)))
            .collect();
        let networks: Map<String, Value> = engine
            .inspect("network", &networks)?
            .iter()
            .map(|found| {
                (
                    key(&found["Name"]),
                    json!({ "internal": found["Internal"] }),
                )
            })
            .collect();
        let document = json!({ "name": "peer", "services": services, "networks": networks });
        let file = folder.join("compose.json");
        // A dollar is a variable there.
        let text = document.to_string().replace('$', "$$");
        std::fs::write(&file, text).with_context(|| format!("cannot write `{file}`"))?;
        Ok(Self {
            program: program.trim().into(),
            file,
            address: engine.address(),
        })
    }

    /// `docker-compose ARGUMENTS` with the file.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--file", self.file.as_str()])
            .args(arguments)
            .env("DOCKER_HOST", &self.address);
        command
    }
}

fn service(found: &Value, prefix: &str) -> Value {
    let (config, host) = (&found["Config"], &found["HostConfig"]);
    let nanoseconds = |value: &Value| format!("{}ns", value.as_i64().unwrap_or(0));
    let networks = found["NetworkSettings"]["Networks"].as_object();
    let networks: Map<String, Value> = networks
        .into_iter()
        .flatten()
        .map(|(name, member)| {
            let name = name.trim_start_matches(prefix).to_owned();
            (name, json!({ "aliases": aliases(member, found) }))
        })
        .collect();
    let scratch = host["Tmpfs"].as_object().into_iter().flatten();
    let scratch: Vec<_> = scratch
        .map(|(path, options)| format!("{path}:{}", options.as_str().unwrap_or_default()))
        .collect();
    let health = &config["Healthcheck"];
    json!({
        "image": found["Image"],
        "pull_policy": "never",
        "command": config["Cmd"],
        "user": config["User"],
        "hostname": config["Hostname"],
        "labels": config["Labels"],
        "stop_grace_period": format!("{}s", config["StopTimeout"].as_i64().unwrap_or(10)),
        "read_only": host["ReadonlyRootfs"],
        "cap_drop": host["CapDrop"],
        "security_opt": host["SecurityOpt"],
        "mem_limit": host["Memory"],
        "memswap_limit": host["MemorySwap"],
        "cpus": host["NanoCpus"].as_f64().unwrap_or(0.0) / 1e9,
        "pids_limit": host["PidsLimit"],
        "tmpfs": scratch,
        "volumes": host["Binds"],
        "networks": networks,
        "restart": host["RestartPolicy"]["Name"],
        "logging": {
            "driver": host["LogConfig"]["Type"],
            "options": host["LogConfig"]["Config"],
        },
        "healthcheck": {
            "test": health["Test"],
            "interval": nanoseconds(&health["Interval"]),
            "timeout": nanoseconds(&health["Timeout"]),
            "retries": health["Retries"],
            "start_period": nanoseconds(&health["StartPeriod"]),
        },
    })
}

/// What the engine itself adds, the container's ID, is not asked for.
fn aliases(member: &Value, found: &Value) -> Vec<Value> {
    let id = found["Id"].as_str().unwrap_or_default();
    let all = member["Aliases"].as_array().cloned().unwrap_or_default();
    let own = |alias: &Value| alias.as_str().is_some_and(|alias| !id.starts_with(alias));
    all.into_iter().filter(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_becomes_a_service_with_the_same_limits_and_networks() {
        let found = json!({
            "Id": "0123456789ab0000", "Name": "/stakeout.s.vault", "Image": "sha256:aa",
            "Config": { "Cmd": ["run"], "User": "1:1", "Healthcheck": { "Interval": 30 } },
            "HostConfig": { "NanoCpus": 500_000_000, "Memory": 7, "Tmpfs": { "/tmp": "rw" } },
            "NetworkSettings": { "Networks": { "stakeout.s.one": {
                "Aliases": ["vault", "0123456789ab"] } } },
        });
        let made = service(&found, "stakeout.s.");
        assert_eq!(made["cpus"], 0.5);
        assert_eq!(made["mem_limit"], 7);
        assert_eq!(made["tmpfs"], json!(["/tmp:rw"]));
        assert_eq!(made["networks"], json!({ "one": { "aliases": ["vault"] } }));
        assert_eq!(made["healthcheck"]["interval"], "30ns");
    }
}
