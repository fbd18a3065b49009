//! Whether the nodes hold what the plan wants of them, computed before anything is asked of them.

use installer_render::Role;
use installer_render::kubernetes::{Site, Workload};
use installer_spec::{Isolation, Profile};

use super::{KubernetesFacts, Room, milli, units};
use crate::check::{Finding, Severity};
use crate::show::human_bytes;

impl Room {
    fn holds(&self, wanted: &Self) -> bool {
        self.pods >= wanted.pods
            && self.cpu_milli >= wanted.cpu_milli
            && self.memory_bytes >= wanted.memory_bytes
            && self.ephemeral_bytes >= wanted.ephemeral_bytes
    }

    fn minus(&self, taken: &Self) -> Self {
        Self {
            pods: self.pods.saturating_sub(taken.pods),
            cpu_milli: self.cpu_milli.saturating_sub(taken.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(taken.memory_bytes),
            ephemeral_bytes: self.ephemeral_bytes.saturating_sub(taken.ephemeral_bytes),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            pods: self.pods + other.pods,
            cpu_milli: self.cpu_milli + other.cpu_milli,
            memory_bytes: self.memory_bytes + other.memory_bytes,
            ephemeral_bytes: self.ephemeral_bytes + other.ephemeral_bytes,
        }
    }
}

/// Puts every pod on a node in thought, the biggest first, each on the emptiest that holds it, as
/// the scheduler does by default.
pub(super) fn findings(profile: &Profile, facts: &KubernetesFacts, site: &Site) -> Vec<Finding> {
    if facts.cluster.nodes.is_empty() {
        return vec![Finding::new(
            Severity::Warning,
            "nodes-unknown",
            "the cluster does not let us see its nodes",
            "see to it yourself that they have room for the site's pods",
        )];
    }
    let mut rooms: Vec<Room> = facts
        .cluster
        .nodes
        .values()
        .filter(|node| node.usable)
        .map(|node| node.room.minus(&node.taken))
        .collect();
    let all = rooms
        .iter()
        .fold(Room::default(), |sum, room| sum.plus(room));
    let mut wanted: Vec<(Room, &Workload)> = site
        .workloads
        .iter()
        .flat_map(|one| std::iter::repeat_n((requests(one), one), replicas(one)))
        .collect();
    wanted.sort_by_key(|(room, one)| {
        let size = (room.memory_bytes, room.cpu_milli);
        (std::cmp::Reverse(size), one.service.clone())
    });
    let mut homeless = 0_usize;
    let mut first: Option<(&Room, &Workload)> = None;
    for (want, workload) in &wanted {
        let fits = rooms.iter_mut().filter(|room| room.holds(want));
        match fits.max_by_key(|room| (room.pods, room.memory_bytes)) {
            Some(room) => *room = room.minus(want),
            None => {
                homeless += 1;
                first = first.or(Some((want, workload)));
            }
        }
    }
    let Some((want, workload)) = first else {
        return Vec::new();
    };
    let sum = wanted
        .iter()
        .fold(Room::default(), |sum, (room, _)| sum.plus(room));
    let usable = facts
        .cluster
        .nodes
        .values()
        .filter(|node| node.usable)
        .count();
    let message = format!(
        "{homeless} of {} pods have no place, `{}` among them: the site asks for {}, and {usable} \
         usable nodes have {} left",
        wanted.len(),
        workload.service,
        words(&sum),
        words(&all)
    );
    let agents = site
        .workloads
        .iter()
        .filter(|one| one.role == Role::Agent)
        .count();
    let alone = want.pods == 1 && agents > 1;
    let help = if alone && profile.agents.isolation == Isolation::Camera {
        "write `agents: { isolation: group }`: one agent for all cameras takes far less; or add nodes"
    } else {
        "add nodes, or take something else off them"
    };
    vec![Finding::new(Severity::Error, "capacity", message, help)]
}

fn words(room: &Room) -> String {
    format!(
        "{} pods, {:.1} CPUs, {} of memory and {} of local disk",
        room.pods,
        room.cpu_milli as f64 / 1000.0,
        human_bytes(room.memory_bytes),
        human_bytes(room.ephemeral_bytes)
    )
}

fn replicas(workload: &Workload) -> usize {
    let manifest = workload.object.value();
    let replicas = manifest["spec"]["replicas"].as_u64();
    replicas.map_or(1, |replicas| {
        usize::try_from(replicas).unwrap_or(usize::MAX)
    })
}

/// What the scheduler sets aside for the pod.
fn requests(workload: &Workload) -> Room {
    let manifest = workload.object.value();
    let pod = &manifest["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().map(Vec::as_slice);
    let mut sum = Room {
        pods: 1,
        ..Room::default()
    };
    for container in containers.unwrap_or_default() {
        let amount = |what: &str, of: fn(&str) -> Option<u64>| {
            let text = container["resources"]["requests"][what].as_str();
            text.and_then(of).unwrap_or_default()
        };
        sum.cpu_milli += amount("cpu", milli);
        sum.memory_bytes += amount("memory", units);
        sum.ephemeral_bytes += amount("ephemeral-storage", units);
    }
    sum
}
