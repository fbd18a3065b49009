//! A plan as a person reads it.

use std::fmt::Write as _;

use crate::check::Severity;
use crate::plan::{Change, Operation, Plan};
use crate::storage::{Limit, StorageEstimate};

/// Bytes with a binary unit and one decimal: `1.5 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).copied().unwrap_or("PiB"))
}

/// The plan as text, without colour; it ends with a line break.
pub fn show(plan: &Plan) -> String {
    let mut text = String::new();
    let verb = match plan.operation {
        Operation::Install => "Site",
        Operation::Uninstall => "Removal of site",
    };
    line(
        &mut text,
        format_args!(
            "{verb} {} on {}, {} {}",
            plan.site,
            match plan.target.as_str() {
                "docker" => "the container engine",
                "kubernetes" => "the cluster",
                _ => "this host",
            },
            if plan.target == "kubernetes" {
                "namespace"
            } else {
                "data in"
            },
            plan.data
        ),
    );
    if !plan.steps.is_empty() {
        text.push('\n');
    }
    for step in &plan.steps {
        let sign = match step.change {
            Change::Add => '+',
            Change::Change => '~',
            Change::Remove => '-',
        };
        line(&mut text, format_args!("  {sign} {}", step.id));
        for detail in &step.detail {
            line(&mut text, format_args!("      {detail}"));
        }
    }
    let count = |change| {
        plan.steps
            .iter()
            .filter(|step| step.change == change)
            .count()
    };
    text.push('\n');
    if plan.is_empty() {
        line(
            &mut text,
            format_args!(
                "Nothing to change: {} things are as they should be.",
                plan.unchanged
            ),
        );
    } else {
        line(
            &mut text,
            format_args!(
                "{} to add, {} to change, {} to remove, {} as they should be.",
                count(Change::Add),
                count(Change::Change),
                count(Change::Remove),
                plan.unchanged
            ),
        );
    }
    if let Some(storage) = &plan.storage {
        line(&mut text, format_args!("{}", show_storage(storage)));
    }
    for finding in &plan.findings {
        let word = match finding.severity {
            Severity::Info => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        line(
            &mut text,
            format_args!("{word}: {} [{}]", finding.message, finding.id),
        );
        line(&mut text, format_args!("      {}", finding.help));
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("invariant: a String takes any text");
}

fn show_storage(storage: &StorageEstimate) -> String {
    let cameras = match storage.cameras {
        1 => "1 camera".to_owned(),
        n => format!("{n} cameras"),
    };
    let write = if storage.cameras == 1 {
        "writes"
    } else {
        "write"
    };
    let how = match storage.assumed {
        0 => "known".to_owned(),
        n if n == storage.cameras => "assumed".to_owned(),
        n => format!("{n} of them assumed"),
    };
    let bound = match storage.limit {
        Limit::Quota => "the quota",
        Limit::Disk => "what the disk has",
    };
    let most = if storage.on_motion > 0 {
        "at most "
    } else {
        ""
    };
    format!(
        "{cameras} at {:.1} Mbit/s ({how}) {write} {most}{} a day; {} ({bound}) hold {}.",
        storage.bits_per_second as f64 / 1e6,
        human_bytes(storage.bytes_per_day),
        human_bytes(storage.room_bytes),
        days(storage.days),
    )
}

/// A span as a person says it: `12 days`, `7.5 hours`.
pub(crate) fn days(days: f64) -> String {
    if days >= 2.0 {
        format!("{days:.0} days")
    } else {
        format!("{:.1} hours", days * 24.0)
    }
}
