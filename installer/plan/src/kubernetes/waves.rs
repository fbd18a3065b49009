//! New images reach agents in waves, each only after the cameras of the one before record again.

use std::collections::{BTreeMap, BTreeSet};

use installer_render::docker::Component;
use installer_render::kubernetes::Workload;
use installer_render::{agent_of, test_camera_of};
use installer_spec::{Profile, When};

use super::install::Draft;
use super::{KubernetesAction, Watched};
use crate::plan::{Action, Change, Condition, Plan};

/// A camera that is slow to be connected to again, and its first file.
const RECORD_SECONDS: u64 = 300;

/// One wave of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// From 1.
    pub number: usize,
    pub of: usize,
    /// What its agents record.
    pub cameras: BTreeSet<String>,
}

/// The wave that a step belongs to; nothing for what comes before the first.
pub fn wave_of(plan: &Plan, step: usize) -> Option<Wave> {
    let mut watched: BTreeMap<&str, &Watched> = BTreeMap::new();
    let mut waves = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        match &step.action {
            Action::Kubernetes(KubernetesAction::NoteCameras { agents }) => {
                watched.extend(agents.iter().map(|(agent, of_it)| (agent.as_str(), of_it)));
            }
            Action::Kubernetes(KubernetesAction::AwaitCameras { agents, unproven }) => {
                watched.extend(
                    unproven
                        .iter()
                        .map(|(agent, of_it)| (agent.as_str(), of_it)),
                );
                waves.push((index, agents.iter().chain(unproven.keys())));
            }
            _ => {}
        }
    }
    let of = waves.len();
    let mut waves = waves.into_iter().enumerate();
    let (index, (end, agents)) = waves.find(|(_, (end, _))| *end >= step)?;
    let agents: BTreeSet<_> = agents.map(String::as_str).collect();
    let waits_for = plan
        .steps
        .get(step..=end)?
        .iter()
        .find_map(|step| step.settle.as_ref());
    let is_of_it = match waits_for? {
        Condition::RolledOut { names, .. } => names.iter().any(|name| agents.contains(&**name)),
        condition => matches!(condition, Condition::Recording { .. }),
    };
    let cameras = agents.iter().filter_map(|agent| watched.get(agent));
    is_of_it.then(|| Wave {
        number: index + 1,
        of,
        cameras: cameras.flat_map(|of_it| of_it.cameras.clone()).collect(),
    })
}

impl Watched {
    /// The cameras of a service, as the profile has them.
    pub(crate) fn of(profile: &Profile, service: &str) -> Self {
        let of_it = profile
            .cameras
            .iter()
            .filter(|camera| agent_of(profile, camera) == service);
        let always = of_it
            .clone()
            .filter(|camera| matches!(camera.record.when, When::Continuous | When::Both));
        Self {
            continuous: always.map(|camera| camera.name.clone()).collect(),
            cameras: of_it.map(|camera| camera.name.clone()).collect(),
        }
    }
}

/// How many agents each wave has: one, a twentieth of all, a quarter, the rest.
fn sizes(count: usize) -> Vec<usize> {
    let ends = [1, count.div_ceil(20), count.div_ceil(4), count];
    let mut done = 0;
    let mut sizes = Vec::new();
    for end in ends {
        if end > done && end <= count {
            sizes.push(end - done);
            done = end;
        }
    }
    sizes
}

impl Draft<'_> {
    /// Whether agents that are there get another image than the one that was in force, or than the one
    /// that they run.
    pub(super) fn replaces_agents(&self, agents: &[&Workload]) -> bool {
        let now = self.agent_image();
        let is_other = |image: Option<&String>| image.zip(now).is_some_and(|(a, b)| a != b);
        is_other(self.image_in_force()) || agents.iter().any(|agent| is_other(self.image_of(agent)))
    }

    fn agent_image(&self) -> Option<&String> {
        let image = self.facts.images.get(&Component::Agent);
        image.map(|image| &image.reference)
    }

    /// The agents' image that the last run that ended has brought.
    fn image_in_force(&self) -> Option<&String> {
        let receipt = self.facts.receipt.as_ref()?;
        receipt.owned.images.get(Component::Agent.name())
    }

    /// What an agent runs now.
    fn image_of(&self, agent: &Workload) -> Option<&String> {
        let fact = self.facts.objects.get(&agent.object.id)?;
        fact.image.as_ref()
    }

    /// Whether a run that did not end, or somebody else, has brought what this agent runs: what its
    /// cameras do now is no measure.
    fn is_doubtful(&self, agent: &Workload) -> bool {
        let pair = self.image_of(agent).zip(self.image_in_force());
        pair.is_some_and(|(runs, in_force)| runs != in_force)
    }

    /// Whether agents that are as wanted may be so since a run that did not end. On the way back from
    /// one that was for another image, they were never touched.
    fn may_have_brought(&self) -> bool {
        let receipt = self.facts.receipt.as_ref();
        let pending = receipt.and_then(|receipt| receipt.pending.as_ref());
        let begun = pending.and_then(|p| p.owned.images.get(Component::Agent.name()));
        self.image_in_force() != self.agent_image() || begun == self.agent_image()
    }

    fn watched(&self, agents: &[&Workload]) -> BTreeMap<String, Watched> {
        let all = agents.iter().map(|agent| {
            let service = agent.service.clone();
            let watched = Watched::of(self.profile, &service);
            (service, watched)
        });
        all.collect()
    }

    /// Before anything else is replaced: a camera that does nothing only since the vault is new has to
    /// do it again, too.
    pub(super) fn note_cameras(&mut self, agents: &[Workload]) {
        let old: Vec<_> = agents
            .iter()
            .filter(|agent| !self.is_as_wanted(&agent.object) && !self.is_doubtful(agent))
            .collect();
        let agents = self.watched(&old);
        if !agents.is_empty() {
            let id = format!("what the cameras of {} do", counted(agents.len()));
            self.push(Change::Change, id, KubernetesAction::NoteCameras { agents });
        }
    }

    /// The agent that records each test camera: they share an image, and so a turn.
    pub(super) fn agents_of_test_cameras(&self) -> BTreeMap<String, String> {
        let cameras = self.profile.cameras.iter();
        let pairs = cameras
            .filter_map(|camera| Some((test_camera_of(camera)?, agent_of(self.profile, camera))));
        pairs.collect()
    }

    /// The test cameras of these agents, and then the agents.
    fn with_cameras(
        &mut self,
        agents: Vec<Workload>,
        cameras: &mut BTreeMap<String, Vec<Workload>>,
    ) {
        let mut all = Vec::new();
        for agent in &agents {
            all.extend(cameras.remove(&agent.service).unwrap_or_default());
        }
        all.extend(agents);
        self.together(all);
    }

    pub(super) fn waves(&mut self, agents: Vec<Workload>, test_cameras: Vec<Workload>) {
        let agent_of = self.agents_of_test_cameras();
        let mut cameras: BTreeMap<String, Vec<Workload>> = BTreeMap::new();
        for camera in test_cameras {
            if let Some(agent) = agent_of.get(&camera.service) {
                cameras.entry(agent.clone()).or_default().push(camera);
            }
        }
        // A run that did not end has brought these; whether they record, nobody has seen.
        let (brought, mut old): (Vec<_>, Vec<_>) = agents
            .into_iter()
            .partition(|agent| self.is_as_wanted(&agent.object));
        let mut unproven = if self.may_have_brought() {
            self.watched(&brought.iter().collect::<Vec<_>>())
        } else {
            BTreeMap::new()
        };
        self.with_cameras(brought, &mut cameras);
        // What may be broken is mended first.
        old.sort_by_key(|agent| !self.is_doubtful(agent));
        let mut sizes = sizes(old.len());
        if !unproven.is_empty() {
            sizes.insert(0, 0);
        }
        let of = sizes.len();
        for (index, size) in sizes.into_iter().enumerate() {
            let wave: Vec<_> = old.drain(..size).collect();
            let agents: BTreeSet<_> = wave.iter().map(|agent| agent.service.clone()).collect();
            let mut unproven = std::mem::take(&mut unproven);
            let doubtful: Vec<_> = wave.iter().filter(|one| self.is_doubtful(one)).collect();
            unproven.extend(self.watched(&doubtful));
            self.with_cameras(wave, &mut cameras);
            let awaited: BTreeSet<_> = agents.iter().chain(unproven.keys()).cloned().collect();
            let id = format!(
                "wave {} of {of}: the cameras of {} record again",
                index + 1,
                counted(awaited.len())
            );
            let action = KubernetesAction::AwaitCameras { agents, unproven };
            self.push(Change::Change, id, action).settle = Some(Condition::Recording {
                agents: awaited,
                deadline_seconds: RECORD_SECONDS,
            });
        }
    }
}

fn counted(agents: usize) -> String {
    match agents {
        1 => "1 agent".to_owned(),
        n => format!("{n} agents"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_grow() {
        for (count, wanted) in [
            (0, vec![]),
            (1, vec![1]),
            (2, vec![1, 1]),
            (4, vec![1, 3]),
            (20, vec![1, 4, 15]),
            (100, vec![1, 4, 20, 75]),
            (1000, vec![1, 49, 200, 750]),
        ] {
            assert_eq!(sizes(count), wanted, "{count}");
        }
    }
}
