//! `profile-fuzz`: damaged profiles. The parser answers each of them, soon, and never panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use camino::Utf8PathBuf;
use installer_spec::{MemoryLists, SourceFile, parse};

use super::{Length, Random};
use crate::process::say;
use crate::repository::{Repository, list};

/// Slower than this is a hang for a person who waits for `stakeout validate`.
const SLOWEST: Duration = Duration::from_secs(1);
const REPORT: Duration = Duration::from_secs(10);
/// More than the parser takes, so that its limit is met as well.
const LONGEST: usize = 2 << 20;

/// What YAML, units and URLs stumble over.
const BITS: [&[u8]; 24] = [
    b"\n",
    b"\r\n",
    b"\t",
    b"  ",
    b": ",
    b"- ",
    b"#",
    b"'",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!binary ",
    b"|\n",
    b"~",
    b"99999999999999999999d",
    b"rtsp://a:b@[::1]:0/",
    b"\xff\xfe",
    b"\xf0\x9f\x8e\xa5",
    b"\0",
];

struct Sample {
    name: Utf8PathBuf,
    bytes: Vec<u8>,
}

impl Sample {
    fn is_list(&self) -> bool {
        self.name.extension() == Some("csv")
    }
}

pub(super) fn perform(
    repository: &Repository,
    length: Length,
    random: &mut Random,
) -> anyhow::Result<()> {
    let time = match length {
        Length::Short => Duration::from_secs(20),
        Length::Long => Duration::from_mins(30),
    };
    let samples = samples(repository)?;
    let lists = MemoryLists(
        samples
            .iter()
            .filter(|sample| sample.is_list())
            .map(|sample| (sample.name.clone(), sample.bytes.clone()))
            .collect(),
    );
    let begin = Instant::now();
    let mut reported = begin;
    let (mut count, mut accepted, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    while begin.elapsed() < time {
        let sample = random.pick(&samples).context("`profiles/` is empty")?;
        let mut bytes = sample.bytes.clone();
        for _ in 0..=random.below(6) {
            mutate(&mut bytes, &samples, random);
        }
        // A list is damaged as often as a profile; it is read through one that names it.
        let (profile, lists) = if sample.is_list() {
            let text = format!(
                "version: 1\nsite: s\ncameras: [ {{ from: {} }} ]\n",
                sample.name
            );
            let list = MemoryLists([(sample.name.clone(), bytes)].into());
            (text.into_bytes(), list)
        } else {
            (bytes, lists.clone())
        };
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| attempt(&profile, &lists)));
        let took = start.elapsed();
        slowest = slowest.max(took);
        let Ok(fits) = outcome else {
            bail!(
                "the parser panicked; {}",
                keep(repository, &profile, &lists)?
            );
        };
        ensure!(
            took < SLOWEST,
            "the parser took {took:?}; {}",
            keep(repository, &profile, &lists)?
        );
        count += 1;
        accepted += u64::from(fits);
        if reported.elapsed() > REPORT {
            reported = Instant::now();
            say(format_args!(
                "{count} profiles, {accepted} accepted, slowest {slowest:?}"
            ));
        }
    }
    // All refused would mean that nothing but the first check was met.
    ensure!(
        accepted > 0 && accepted < count,
        "of {count} profiles {accepted} were accepted"
    );
    say(format_args!(
        "{count} profiles, {accepted} accepted, slowest {slowest:?}"
    ));
    Ok(())
}

/// True when the profile is accepted.
fn attempt(profile: &[u8], lists: &MemoryLists) -> bool {
    SourceFile::from_bytes("fuzz.yaml", profile).is_ok_and(|source| parse(&source, lists).is_ok())
}

fn samples(repository: &Repository) -> anyhow::Result<Vec<Sample>> {
    let folder = repository.root.join("profiles");
    let mut samples = Vec::new();
    for path in list(&folder)? {
        if matches!(path.extension(), Some("yaml" | "csv")) {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{path}`"))?;
            samples.push(Sample {
                name: path.file_name().unwrap_or_default().into(),
                bytes,
            });
        }
    }
    Ok(samples)
}

fn mutate(bytes: &mut Vec<u8>, samples: &[Sample], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = at + random.below(bytes.len() - at + 1).min(64);
    let insert: Vec<u8> = match random.below(7) {
        0 => Vec::new(),
        1 => random
            .pick(&BITS)
            .map(|bit| bit.to_vec())
            .unwrap_or_default(),
        2 => random.next().to_le_bytes().to_vec(),
        // Twice the same, as by a wrong paste.
        3 => bytes.get(at..end).unwrap_or_default().repeat(2),
        4 => splice(samples, random),
        // Deep or wide.
        5 => random
            .pick(&BITS)
            .map(|bit| bit.repeat(1 << random.below(14)))
            .unwrap_or_default(),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            return;
        }
    };
    bytes.splice(at..end, insert);
    bytes.truncate(LONGEST);
}

/// A piece of another sample.
fn splice(samples: &[Sample], random: &mut Random) -> Vec<u8> {
    let Some(other) = random.pick(samples) else {
        return Vec::new();
    };
    let from = random.below(other.bytes.len());
    let to = from + random.below(other.bytes.len() - from + 1);
    other.bytes.get(from..to).unwrap_or_default().to_vec()
}

/// Writes what made it fail; tells where.
fn keep(repository: &Repository, profile: &[u8], lists: &MemoryLists) -> anyhow::Result<String> {
    let folder = repository.target().join("profile-fuzz");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{folder}`"))?;
    std::fs::write(folder.join("fuzz.yaml"), profile).context("cannot keep the profile")?;
    for (name, bytes) in &lists.0 {
        std::fs::write(folder.join(name), bytes).context("cannot keep the list")?;
    }
    Ok(format!("it is kept in `{folder}`"))
}
