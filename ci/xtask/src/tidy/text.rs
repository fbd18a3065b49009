//! Rules about the text of any file.

use std::sync::LazyLock;

use camino::Utf8Path;
use regex::Regex;

use super::{File, Finding, Weight};

/// Past this a file wants a second look.
const LONG: usize = 500;
/// Past this it is split.
const TOO_LONG: usize = 800;

/// Larger files are made or fetched, not committed.
const LARGEST: u64 = 1 << 20;

/// Words that no Rust file may hold. Put together here, so that this file passes itself.
const UNFINISHED: [(&str, &str); 4] = [
    (
        concat!("todo", "!"),
        "finish it, or open an issue and fail with an error that names it",
    ),
    (
        concat!("unimplemented", "!"),
        "finish it, or fail with an error that says what is missing",
    ),
    (
        concat!("#[", "ignore"),
        "make the test run everywhere, or delete it",
    ),
    (
        concat!("[", "allow("),
        "write `#[expect(lint, reason = \"…\")]`",
    ),
];

/// Hosts of package registries: which one is used is the machine's business.
const REGISTRIES: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("repo1.maven", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("registry.yarnpkg", ".com"),
    concat!("files.pythonhosted", ".org"),
    concat!("pypi", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Folders of the machine that a change was made on. `/root` and `/home` alone are fair: units
/// name them. So is the user that images run as.
static MACHINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|[^\w.$}/-])(/(?:work|root)/|/home/(\w[\w.-]*))")
        .expect("invariant: a pattern")
});
const IMAGE_USER: &str = "agent";

static IMAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^\s*(?:-\s*)?"?(?:image|Image)"?\s*[:=]\s*(\S.*)$"#)
        .expect("invariant: a pattern")
});

/// A string that begins with a host that serves images.
static IMAGE_IN_CODE: LazyLock<Regex> = LazyLock::new(|| {
    let hosts = r"docker\.io|ghcr\.io|quay\.io|gcr\.io|registry\.k8s\.io|mcr\.microsoft\.com|public\.ecr\.aws";
    Regex::new(&format!(r#""((?:{hosts})/[^"]+)""#)).expect("invariant: a pattern")
});

/// The part of a Rust file before its test module.
pub(super) fn before_tests(text: &str) -> &str {
    let mut offset = 0;
    let mut marked = false;
    for line in text.split_inclusive('\n') {
        if marked && line.starts_with("mod ") && line.trim_end().ends_with('{') {
            return text.get(..offset).unwrap_or(text);
        }
        marked = line.trim_end() == "#[cfg(test)]" || marked && line.starts_with("#[");
        offset += line.len();
    }
    text
}

pub(super) fn size(file: &File) -> Option<Finding> {
    (file.bytes > LARGEST).then(|| {
        let why = format!(
            "has {} KiB; {} are the most",
            file.bytes >> 10,
            LARGEST >> 10
        );
        Finding::error(&file.path, why, "make it in a script, into the cache")
    })
}

pub(super) fn length(path: &Utf8Path, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    if path.extension() != Some("rs") || lines <= LONG {
        return None;
    }
    let mut finding = Finding::error(
        path,
        format!("has {lines} lines; {TOO_LONG} are the most"),
        "split it along its ideas, one main type per file",
    );
    if lines <= TOO_LONG {
        finding.weight = Weight::Warning;
        finding.why = format!("has {lines} lines; past {LONG} it wants a second look");
    }
    Some(finding)
}

/// Code that is not finished, or that silences a lint for ever.
pub(super) fn words(path: &Utf8Path, text: &str) -> Vec<Finding> {
    if path.extension() != Some("rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (word, remedy) in UNFINISHED.iter().filter(|(word, _)| line.contains(word)) {
            let why = format!("line {}: `{word}`", number + 1);
            findings.push(Finding::error(path, why, remedy));
        }
    }
    findings
}

/// What is true on one machine only.
pub(super) fn machine(path: &Utf8Path, text: &str) -> Vec<Finding> {
    // Cargo writes the registry's name into it, the same on every machine.
    if path == "Cargo.lock" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for found in MACHINE.captures_iter(line) {
            if found.get(2).is_some_and(|user| user.as_str() == IMAGE_USER) {
                continue;
            }
            let folder = found.get(1).map_or("", |folder| folder.as_str());
            findings.push(Finding::error(
                path,
                format!("line {}: `{folder}` is a folder of one machine", number + 1),
                "make the path from the repository's root, the cache or an argument",
            ));
        }
        for host in REGISTRIES.iter().filter(|host| line.contains(*host)) {
            findings.push(Finding::error(
                path,
                format!("line {}: `{host}` is a package registry", number + 1),
                "leave the choice to the machine's own settings",
            ));
        }
    }
    if path.starts_with(".cargo") && text.lines().any(|line| line.starts_with("[source")) {
        let remedy = "keep it in the machine's own cargo settings";
        findings.push(Finding::error(
            path,
            "replaces a source of packages",
            remedy,
        ));
    }
    findings
}

/// Images that a tag could change under us: in a manifest, or named by code.
pub(super) fn images(path: &Utf8Path, text: &str) -> Vec<Finding> {
    if path.extension() == Some("rs") {
        return images_in_code(path, before_tests(text));
    }
    if !path.starts_with("manifests") && !path.starts_with("templates") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let image = IMAGE.captures(line).and_then(|found| found.get(1));
        let Some(image) = image.filter(|image| !image.as_str().contains("@sha256:")) else {
            continue;
        };
        findings.push(Finding::error(
            path,
            format!(
                "line {}: image {} has no digest",
                number + 1,
                image.as_str()
            ),
            "write it as NAME:TAG@sha256:DIGEST",
        ));
    }
    findings
}

fn images_in_code(path: &Utf8Path, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for image in IMAGE_IN_CODE
            .captures_iter(line)
            .filter_map(|found| found.get(1))
        {
            if !image.as_str().contains("@sha256:") {
                let why = format!(
                    "line {}: image {} has no digest",
                    number + 1,
                    image.as_str()
                );
                findings.push(Finding::error(
                    path,
                    why,
                    "write it as NAME:TAG@sha256:DIGEST",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.why).collect()
    }

    #[test]
    fn long_files_warn_and_longer_ones_fail() {
        let weigh = |name: &str, lines: usize| {
            length(Utf8Path::new(name), &"x\n".repeat(lines)).map(|finding| finding.weight)
        };
        assert_eq!(weigh("a.rs", 500), None);
        assert_eq!(weigh("a.rs", 501), Some(Weight::Warning));
        assert_eq!(weigh("a.rs", 801), Some(Weight::Error));
        assert_eq!(weigh("a.md", 801), None);
    }

    #[test]
    fn large_files_are_found() {
        let file = |bytes| File {
            path: "a.bin".into(),
            bytes,
            text: None,
        };
        assert_eq!(size(&file(LARGEST)), None);
        assert_eq!(
            reasons(size(&file(LARGEST + 1))),
            ["has 1024 KiB; 1024 are the most"]
        );
    }

    #[test]
    fn unfinished_code_is_found() {
        for (word, _) in UNFINISHED {
            let text = format!("fn a() {{}}\n    {word}\n");
            assert_eq!(
                reasons(words(Utf8Path::new("a.rs"), &text)),
                [format!("line 2: `{word}`")]
            );
            assert_eq!(words(Utf8Path::new("a.md"), &text), []);
        }
        assert_eq!(
            words(Utf8Path::new("a.rs"), "#[expect(x, reason = \"y\")]"),
            []
        );
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        let found = |line: &str| machine(Utf8Path::new("a.sh"), line).len();
        let (root, home, work) = ("root", "home", "work");
        for bad in [
            format!("cd /{root}/x"),
            format!("\"/{home}/me/x\""),
            format!("/{work}/x"),
            format!("see https://index.crates{}io/a", '.'),
        ] {
            assert_eq!(found(&bad), 1, "{bad}");
        }
        for good in [
            "/root",
            "[\"/home\", \"/root\"]",
            "/home/agent/x",
            "$here/root/x",
            "net/work/",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
        let text = "[source.crates-io]\nreplace-with = 'x'\n";
        assert_eq!(machine(Utf8Path::new(".cargo/config.toml"), text).len(), 1);
    }

    #[test]
    fn an_image_without_a_digest_is_found() {
        let digest = "0".repeat(64);
        let text = format!("image: a:1\n- image: b:1@sha256:{digest}\n  \"image\": \"c\",\n");
        let found = |path: &str| reasons(images(Utf8Path::new(path), &text));
        assert_eq!(
            found("manifests/a.yaml"),
            [
                "line 1: image a:1 has no digest",
                "line 3: image \"c\", has no digest"
            ]
        );
        assert_eq!(found("profiles/a.yaml"), [""; 0]);
        let code = |image: &str| {
            let text = format!("const A: &str = \"{image}\";\n");
            reasons(images(Utf8Path::new("a.rs"), &text)).len()
        };
        assert_eq!(code("quay.io/a/b:1"), 1);
        assert_eq!(code(&format!("quay.io/a/b:1@sha256:{digest}")), 0);
    }

    #[test]
    fn the_test_module_is_cut_off() {
        let text = "a\n#[cfg(test)]\nmod tests {\nb\n}\n";
        assert_eq!(before_tests(text), "a\n#[cfg(test)]\n");
        let elsewhere = "#[cfg(test)]\nmod tests;\na\n";
        assert_eq!(before_tests(elsewhere), elsewhere);
    }
}
