//! Which finished recordings go.
//!
//! Age: without a vault everything older goes. With one, footage that it does not have yet stays.
//! Quota: uploaded recordings go first, oldest first. Without a vault the others follow; with one they
//! stay, because a vault that was down for a day must not cost that day.
//! Free space: the same order, and here even footage that waits for the vault goes in the end: the disk
//! must never stop the recording that runs now.

/// One finished recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recording {
    /// Unix milliseconds of its end.
    pub end_ms: u64,
    pub bytes: u64,
    /// The vault has it.
    pub uploaded: bool,
}

/// What may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub age_ms: Option<u64>,
    /// Largest sum of recordings.
    pub quota_bytes: Option<u64>,
    /// Space of the disk that stays free.
    pub reserve_bytes: u64,
    pub vault: Vault,
}

/// Whether recordings are uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vault {
    Absent,
    Present,
}

/// The indices of `recordings` to delete, in this order. `free_bytes` is what the disk has left.
pub fn expired(
    recordings: &[Recording],
    free_bytes: u64,
    policy: &Policy,
    now_ms: u64,
) -> Vec<usize> {
    let old = |recording: &Recording| {
        let age = now_ms.saturating_sub(recording.end_ms);
        policy.age_ms.is_some_and(|longest| age > longest)
    };
    let keeps = |recording: &Recording| policy.vault == Vault::Present && !recording.uploaded;
    let mut order: Vec<_> = recordings.iter().enumerate().collect();
    order.sort_by_key(|(_, recording)| (recording.uploaded, recording.end_ms));
    // Uploaded ones come first, each group from its oldest.
    let waiting = order.partition_point(|(_, recording)| !recording.uploaded);
    order.rotate_left(waiting);

    let total: u64 = recordings
        .iter()
        .fold(0, |sum, recording| sum.saturating_add(recording.bytes));
    let mut over_quota = policy
        .quota_bytes
        .map_or(0, |quota| total.saturating_sub(quota));
    let mut short = policy.reserve_bytes.saturating_sub(free_bytes);
    let mut gone = vec![false; recordings.len()];
    let mut deleted = Vec::new();
    let mut delete =
        |(index, recording): (usize, &Recording), over_quota: &mut u64, short: &mut u64| {
            if let Some(gone) = gone.get_mut(index).filter(|gone| !**gone) {
                *gone = true;
                deleted.push(index);
                *over_quota = over_quota.saturating_sub(recording.bytes);
                *short = short.saturating_sub(recording.bytes);
            }
        };
    for &(index, recording) in &order {
        if old(recording) && !keeps(recording) {
            delete((index, recording), &mut over_quota, &mut short);
        }
    }
    for &(index, recording) in &order {
        if short > 0 || (over_quota > 0 && !keeps(recording)) {
            delete((index, recording), &mut over_quota, &mut short);
        }
    }
    deleted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `u5:10` is uploaded, ended at 5, has 10 bytes; `w` waits.
    fn check(recordings: &str, free: u64, policy: Policy, expected: &[usize]) {
        let parse = |text: &str| {
            let (end, bytes) = text.trim_start_matches(['u', 'w']).split_once(':').unwrap();
            let (end_ms, bytes) = (end.parse().unwrap(), bytes.parse().unwrap());
            Recording {
                end_ms,
                bytes,
                uploaded: text.starts_with('u'),
            }
        };
        let recordings: Vec<_> = recordings.split_whitespace().map(parse).collect();
        assert_eq!(expired(&recordings, free, &policy, 100), expected);
    }

    const ALL: Policy = Policy {
        age_ms: None,
        quota_bytes: None,
        reserve_bytes: 0,
        vault: Vault::Present,
    };

    #[test]
    fn nothing_goes_without_a_reason() {
        check("u1:10 w2:10", 0, ALL, &[]);
    }

    #[test]
    fn age_spares_what_the_vault_lacks() {
        let policy = Policy {
            age_ms: Some(50),
            ..ALL
        };
        check("u1:10 w2:10 u50:10 u49:10", 0, policy, &[0, 3]);
        check(
            "u1:10 w2:10 u50:10",
            0,
            Policy {
                vault: Vault::Absent,
                ..policy
            },
            &[0, 1],
        );
    }

    #[test]
    fn quota_takes_uploaded_first_and_spares_what_the_vault_lacks() {
        let policy = Policy {
            quota_bytes: Some(25),
            ..ALL
        };
        check("w1:10 u3:10 u2:10 w4:10", 0, policy, &[2, 1]);
        check("w1:10 w2:10 w3:10", 0, policy, &[]);
        check(
            "w2:10 w1:10 w3:10",
            0,
            Policy {
                vault: Vault::Absent,
                ..policy
            },
            &[1],
        );
    }

    #[test]
    fn a_full_disk_takes_even_what_waits_oldest_first() {
        let policy = Policy {
            reserve_bytes: 30,
            ..ALL
        };
        check("w1:10 u3:10 w2:10 u4:10", 5, policy, &[1, 3, 0]);
        check("w1:10 u3:10 w2:10 u4:10", 20, policy, &[1]);
    }

    #[test]
    fn what_age_frees_counts() {
        let policy = Policy {
            age_ms: Some(50),
            reserve_bytes: 30,
            ..ALL
        };
        check("u1:30 u60:10", 0, policy, &[0]);
    }

    proptest! {
        #[test]
        fn no_more_than_needed_and_waiting_footage_last(
            recordings in prop::collection::vec((0u64..100, 1u64..50, any::<bool>()), 0..30),
            free in 0u64..200, quota in prop::option::of(0u64..600), reserve in 0u64..400, vault in any::<bool>(),
        ) {
            let recordings: Vec<_> = recordings.into_iter()
                .map(|(end_ms, bytes, uploaded)| Recording { end_ms, bytes, uploaded }).collect();
            let vault = if vault { Vault::Present } else { Vault::Absent };
            let policy = Policy { age_ms: None, quota_bytes: quota, reserve_bytes: reserve, vault };
            let gone = expired(&recordings, free, &policy, 100);
            let total: u64 = recordings.iter().map(|r| r.bytes).sum();
            let freed = |gone: &[usize]| gone.iter().map(|&i| recordings[i].bytes).sum::<u64>();
            let short = |freed: u64| free + freed < reserve;
            let over = |freed: u64| quota.is_some_and(|quota| total - freed > quota);
            if let Some((last, others)) = gone.split_last() {
                let spared = vault == Vault::Present && !recordings[*last].uploaded;
                let before = freed(others);
                prop_assert!(short(before) || (over(before) && !spared), "the last one was not needed");
            }
            let kept: Vec<_> = (0..recordings.len()).filter(|i| !gone.contains(i)).map(|i| recordings[i]).collect();
            if gone.iter().any(|&i| !recordings[i].uploaded) {
                prop_assert!(kept.iter().all(|r| !r.uploaded), "uploaded footage stayed");
            }
            prop_assert!(!short(freed(&gone)) || kept.is_empty(), "the disk is still full");
            let may_go = kept.iter().any(|r| r.uploaded || vault == Vault::Absent);
            prop_assert!(!over(freed(&gone)) || !may_go, "the quota is still passed");
        }
    }
}
