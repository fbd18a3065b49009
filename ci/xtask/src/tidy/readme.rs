//! The two commands that the README promises are the two that work.

use camino::Utf8Path;

use super::Finding;

const FIRST: &str = "cargo build --release --locked && target/release/stakeout install \
                     --profile profiles/demo.yaml --yes";
const SECOND: &str = "ci/test";

/// `run` is the script that the build machine starts.
pub(super) fn check(readme: &str, run: &str) -> Vec<Finding> {
    let blocks = blocks(readme);
    let mut findings = Vec::new();
    for (index, wanted) in [FIRST, SECOND].into_iter().enumerate() {
        if blocks.get(index).map(String::as_str) != Some(wanted) {
            findings.push(Finding::error(
                Utf8Path::new("README.md"),
                format!("its code block {} is not exactly `{wanted}`", index + 1),
                "put it back: a newcomer and the build machine both rely on it",
            ));
        }
    }
    let setting_up = |line: &str| {
        line.is_empty()
            || line.starts_with('#')
            || line.starts_with("set ")
            || line.starts_with("cd ")
    };
    if !run.lines().filter(|line| !setting_up(line)).eq([SECOND]) {
        findings.push(Finding::error(
            Utf8Path::new(".ci/run"),
            format!("does more or less than `{SECOND}`"),
            "let it start exactly what the README's second block says",
        ));
    }
    findings
}

/// What stands in fences, in order.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in text.lines() {
        match (line.starts_with("```"), open.take()) {
            (true, None) => open = Some(Vec::new()),
            (true, Some(lines)) => blocks.push(lines.join("\n")),
            (false, Some(mut lines)) => {
                lines.push(line);
                open = Some(lines);
            }
            (false, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(readme: &str, run: &str) -> Vec<String> {
        check(readme, run)
            .into_iter()
            .map(|finding| finding.file.into_string())
            .collect()
    }

    #[test]
    fn the_promised_commands_are_good() {
        let readme = format!("Try:\n```sh\n{FIRST}\n```\nTest:\n```sh\n{SECOND}\n```\n");
        let run = "#!/usr/bin/env bash\nset -eu\ncd x\n\nci/test\n";
        assert_eq!(found(&readme, run), [""; 0]);
        assert_eq!(found(&readme, "ci/test --skip golden\n"), [".ci/run"]);
        assert_eq!(found(&readme, "true\n"), [".ci/run"]);
    }

    #[test]
    fn a_changed_command_is_found() {
        let readme = format!("```sh\nsudo {FIRST}\n```\n```sh\n{SECOND}\nmore\n```\n");
        assert_eq!(found(&readme, "ci/test\n"), ["README.md", "README.md"]);
        assert_eq!(found("", "ci/test\n").len(), 2);
    }
}
