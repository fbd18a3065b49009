//! Whether a site is small enough for what is kept of it.

use super::RECEIPT_MAX;
use crate::check::{Finding, Severity};
use crate::plan::Plan;

/// The plan with an error where its first receipt takes more `bytes` than there may be.
pub fn with_receipt(mut plan: Plan, bytes: usize, cameras: usize) -> Plan {
    if bytes <= RECEIPT_MAX {
        return plan;
    }
    // A tenth is left to longer names.
    let fit = cameras.saturating_mul(RECEIPT_MAX) / bytes / 10 * 9;
    plan.findings.push(Finding::new(
        Severity::Error,
        "receipt-size",
        format!(
            "the receipt of a site of {cameras} cameras takes {bytes} bytes, and a Secret of the cluster \
             has room for {RECEIPT_MAX}"
        ),
        format!(
            "write `agents: {{ isolation: group }}`, which makes one agent of all, or make several sites \
             of at most {fit} cameras"
        ),
    ));
    plan
}
