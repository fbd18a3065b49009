//! What is known of a site from all the lines so far.

use std::collections::{BTreeMap, VecDeque};

use installer_engine::Event;
use installer_plan::Change;

use crate::line::{
    CameraSight, DiskSight, Finding, Line, ServiceSight, Sight, SiteSight, Told, VaultSight,
};

/// A bit rate is of the last so many milliseconds: a few groups of pictures.
const RATE_MS: u64 = 10_000;
/// Frames come several times a second; a silence of this length is a gap in the footage.
const GAP_MS: u64 = 2_000;
/// Cameras are looked at every second.
const UNSEEN_MS: u64 = 5_000;

/// Of a run, where one was told of.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) steps: Vec<Step>,
    pub(crate) of: usize,
    /// How many things it has changed, and how long it took.
    pub(crate) applied: Option<(usize, u64)>,
    /// Cameras whose way is proved, by name.
    pub(crate) proofs: BTreeMap<String, Proof>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) change: Change,
    pub(crate) state: StepState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepState {
    Doing,
    Waiting(String),
    Done(u64),
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    Stage(String),
    Done(String),
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) sight: CameraSight,
    /// Counted bytes by time, of the last [`RATE_MS`].
    counted: VecDeque<(u64, u64)>,
    /// The longest silence since somebody watches, in milliseconds.
    pub(crate) longest_gap: u64,
}

impl Camera {
    fn new(sight: CameraSight, now: u64) -> Self {
        let mut camera = Self {
            sight: CameraSight::default(),
            counted: VecDeque::new(),
            longest_gap: 0,
        };
        camera.see(sight, now);
        camera
    }

    fn see(&mut self, sight: CameraSight, now: u64) {
        // An agent that was started again counts from nothing.
        if sight.bytes < self.sight.bytes {
            self.counted.clear();
        }
        self.counted.push_back((now, sight.bytes));
        while self
            .counted
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > RATE_MS)
        {
            self.counted.pop_front();
        }
        self.sight = sight;
        self.longest_gap = self.longest_gap.max(self.gap().unwrap_or(0));
    }

    /// Bits per second; nothing until two counts are there.
    pub(crate) fn rate(&self) -> Option<u64> {
        let ((from, less), (to, more)) = (self.counted.front()?, self.counted.back()?);
        let ms = to.checked_sub(*from).filter(|ms| *ms > 0)?;
        Some(more.saturating_sub(*less) * 8 * 1000 / ms)
    }

    /// How long there had been no frame when it was last seen, where that is long. It does not grow
    /// with the time since: who looks late must not blame the camera.
    pub(crate) fn gap(&self) -> Option<u64> {
        self.sight
            .last_frame_ms
            .filter(|silence| *silence >= GAP_MS)
    }
}

/// Everything that lines have told.
#[derive(Debug, Default)]
pub struct Model {
    pub(crate) now_ms: u64,
    /// When a camera was last seen.
    seen_ms: Option<u64>,
    pub(crate) site: Option<SiteSight>,
    /// In the order in which they were first told of: the profile's.
    pub(crate) cameras: Vec<Camera>,
    pub(crate) services: BTreeMap<String, ServiceSight>,
    pub(crate) vault: Option<VaultSight>,
    pub(crate) disk: Option<DiskSight>,
    pub(crate) findings: Option<Vec<Finding>>,
    pub(crate) log: Option<(String, Vec<String>)>,
    /// Why the site could not be asked, the last time it was.
    pub(crate) blind: Option<String>,
    pub(crate) run: Option<Run>,
}

impl Model {
    /// Time goes by without a line.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub fn take(&mut self, line: Line) {
        self.tick(line.at_ms.unwrap_or(self.now_ms));
        match line.told {
            Told::Run(event) => self.step(event),
            Told::Seen(sight) => self.see(sight),
        }
    }

    fn see(&mut self, sight: Sight) {
        match sight {
            Sight::Site(site) => {
                self.blind = None;
                self.site = Some(site);
            }
            Sight::Camera(camera) => {
                let now = self.now_ms;
                self.seen_ms = Some(now);
                let known = self.cameras.iter_mut();
                match known.into_iter().find(|one| one.sight.name == camera.name) {
                    Some(one) => one.see(camera, now),
                    None => self.cameras.push(Camera::new(camera, now)),
                }
            }
            Sight::Service(service) => {
                self.services.insert(service.name.clone(), service);
            }
            Sight::Vault(vault) => self.vault = Some(vault),
            Sight::Disk(disk) => self.disk = Some(disk),
            Sight::Doctor { findings } => self.findings = Some(findings),
            Sight::Log { service, lines } => self.log = Some((service, lines)),
            Sight::Blind { error } => self.blind = Some(error),
        }
    }

    fn step(&mut self, event: Event) {
        if let Event::Started { steps } = event {
            self.run = Some(Run {
                of: steps,
                ..Run::default()
            });
            return;
        }
        let run = self.run.get_or_insert_default();
        match event {
            Event::Started { .. } => {}
            Event::StepStarted {
                index,
                of,
                id,
                change,
            } => {
                run.of = of;
                run.steps.push(Step {
                    index,
                    id,
                    change,
                    state: StepState::Doing,
                });
            }
            Event::StepWaiting { index, reason, .. } => run.set(index, StepState::Waiting(reason)),
            Event::StepDone { index, ms, .. } => run.set(index, StepState::Done(ms)),
            Event::StepFailed { index, error, .. } => run.set(index, StepState::Failed(error)),
            Event::Applied { changed, ms } => run.applied = Some((changed, ms)),
            Event::Verifying { camera, stage } => {
                run.proofs.insert(camera, Proof::Stage(stage));
            }
            Event::Verified(verified) => {
                let words = format!("{:.1} s, {} frames", verified.seconds, verified.frames);
                run.proofs.insert(verified.camera, Proof::Done(words));
            }
            Event::VerifyFailed { camera, error } => {
                run.proofs.insert(camera, Proof::Failed(error));
            }
        }
    }

    /// How long nobody has looked at the cameras, where that is long.
    pub(crate) fn unseen_for(&self) -> Option<u64> {
        let ago = self.now_ms.saturating_sub(self.seen_ms?);
        (ago >= UNSEEN_MS).then_some(ago)
    }

    /// What is wrong, each cause once, with those that it is about.
    pub(crate) fn causes(&self) -> Vec<(String, Vec<&str>)> {
        let mut causes: Vec<(String, Vec<&str>)> = Vec::new();
        let mut add = |cause: &str, who| match causes.iter_mut().find(|(known, _)| known == cause) {
            Some((_, all)) => all.push(who),
            None => causes.push((cause.to_owned(), vec![who])),
        };
        let site = self.site.as_ref();
        if let Some(error) = &self.blind {
            add(&format!("cannot be asked: {error}"), "the site");
        }
        if site.is_some_and(|site| !site.installed) {
            add("not installed: `stakeout install` does it", "the site");
        }
        if site.is_some_and(|site| site.unfinished) {
            add("a run did not end, or goes on", "the site");
        }
        for service in self.services.values().filter(|service| !service.well) {
            let why = if service.causes.is_empty() {
                service.state.clone()
            } else {
                service.causes.join(" → ")
            };
            add(&why, &service.name);
        }
        for camera in &self.cameras {
            let sight = &camera.sight;
            if !sight.receiving {
                add(
                    sight.error.as_deref().unwrap_or("no frame has come"),
                    &sight.name,
                );
            }
        }
        if self.disk.is_some_and(|disk| disk.full) {
            add("full: the oldest footage goes for the newest", "the disk");
        }
        causes
    }
}

impl Run {
    fn set(&mut self, index: usize, state: StepState) {
        // The newest of that number: steps go on beside each other.
        let step = self.steps.iter_mut().rev().find(|step| step.index == index);
        if let Some(step) = step {
            step.state = state;
        }
    }

    /// It is done, with everything that it was to prove.
    pub(crate) fn is_well_over(&self) -> bool {
        let proved = |proof: &Proof| matches!(proof, Proof::Done(_));
        self.applied.is_some() && self.proofs.values().all(proved)
    }

    pub(crate) fn done(&self) -> usize {
        let done = |step: &&Step| matches!(step.state, StepState::Done(_));
        self.steps.iter().filter(done).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(bytes: u64, last_frame_ms: u64) -> Sight {
        Sight::Camera(CameraSight {
            name: "gate".to_owned(),
            receiving: true,
            bytes,
            last_frame_ms: Some(last_frame_ms),
            ..CameraSight::default()
        })
    }

    #[test]
    fn a_rate_is_of_the_last_seconds_and_begins_anew_with_its_agent() {
        let mut model = Model::default();
        for second in 0..20 {
            let bytes = if second < 10 {
                second * 1_000_000
            } else {
                10_000_000
            };
            model.take(Line::seen(second * 1000, camera(bytes, 0)));
        }
        // 9.. to 10 million within ten seconds.
        assert_eq!(model.cameras[0].rate(), Some(800_000));
        model.take(Line::seen(20_000, camera(5, 0)));
        assert_eq!(model.cameras[0].rate(), None);
    }

    #[test]
    fn a_gap_is_what_the_agent_says_and_the_longest_is_kept() {
        let mut model = Model::default();
        model.take(Line::seen(0, camera(0, 1_500)));
        assert_eq!(model.cameras[0].gap(), None);
        // Nobody has looked since.
        model.tick(9_000);
        assert_eq!(
            (model.cameras[0].gap(), model.unseen_for()),
            (None, Some(9_000))
        );
        model.take(Line::seen(10_000, camera(0, 4_500)));
        assert_eq!(model.cameras[0].gap(), Some(4_500));
        model.take(Line::seen(11_000, camera(1, 10)));
        assert_eq!((model.cameras[0].gap(), model.unseen_for()), (None, None));
        assert_eq!(model.cameras[0].longest_gap, 4_500);
    }

    #[test]
    fn a_cause_is_told_once() {
        let mut model = Model::default();
        for name in ["gate", "yard"] {
            model.take(Line::seen(
                0,
                Sight::Camera(CameraSight {
                    name: name.to_owned(),
                    error: Some("connection refused".to_owned()),
                    ..CameraSight::default()
                }),
            ));
        }
        assert_eq!(
            model.causes(),
            [("connection refused".to_owned(), vec!["gate", "yard"])]
        );
    }
}
