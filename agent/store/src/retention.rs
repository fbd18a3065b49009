use agent_api::Recording;

use crate::Disk;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub age_seconds: Option<u64>,
    pub quota_bytes: Option<u64>,
    pub reserve_bytes: u64,
}

impl crate::index::Index {
    pub(crate) fn doomed(
        &self,
        policy: &Policy,
        disk: Disk,
        now_ms: u64,
        needed: u64,
    ) -> Vec<Recording> {
        let total: u64 = self.all().map(|r| r.bytes).sum();
        let over_quota = policy.quota_bytes.map_or(0, |q| total.saturating_sub(q));
        let short = (policy.reserve_bytes.saturating_add(needed)).saturating_sub(disk.free);
        let mut excess = over_quota.max(short);
        let mut doomed = Vec::new();
        let mut sorted: Vec<_> = self.all().collect();
        sorted.sort_by_key(|r| !r.uploaded);
        for recording in sorted {
            let end = recording.start_ms + recording.duration_ms;
            let old = policy
                .age_seconds
                .is_some_and(|age| end + age * 1000 < now_ms);
            if old || excess > 0 {
                excess = excess.saturating_sub(recording.bytes);
                doomed.push(recording.clone());
            }
        }
        doomed
    }
}
