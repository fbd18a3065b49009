//! No text makes the parser panic or hang, and no message gives a secret away.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::files::{Folder, message};
use crate::schema::Schema;
use installer_spec::{MemoryLists, SourceFile, parse, remove_camera, to_yaml};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const SECRET: &str = "hUnTeR-5ecret";

const PROFILE: &str = "\
version: 1
site: warehouse-7   # a comment
target: auto
agents: { isolation: group }
cameras:
  - name: gate
    rtsp: rtsp://admin:hUnTeR-5ecret@10.0.3.11:554/main
    sub: 'rtsp://10.0.3.11/sub'
    record: &usual { when: motion, pre: 10s, post: 20s, longest: 60s }
  - name: yard
    rtsp: \"rtsp://10.0.3.12/main\"
    credentials: { env: YARD }
    record: *usual
  - { name: demo, test: scene, record: both }
  - from: cameras.csv
storage: { provider: filesystem, path: /srv/stakeout, keeper: vault, retention: 30d, quota: 2TiB }
events: [ { webhook: \"https://10.0.0.1/hook\" } ]
";
const LIST: &str = "name,rtsp,sub,user,password,credentials,when,pre,post,longest,test\n\
                    dock-1,rtsp://10.0.3.21/main,,admin,hUnTeR-5ecret,,motion,10s,20s,60s,\n\
                    dock-2,rtsp://admin:hUnTeR-5ecret@10.0.3.22/main,,,,,,,,,\n\
                    dock-3,,,,,,,,,,scene\n";

/// What YAML, CSV and URLs stumble over.
const BITS: [&str; 42] = [
    "\n",
    "\r\n",
    "\t",
    " ",
    "  ",
    ":",
    ": ",
    "- ",
    "-",
    "#",
    " #",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    "&a ",
    "*a",
    "*usual",
    "!t ",
    "|\n",
    ">\n",
    "---\n",
    "...\n",
    "? ",
    "<<: ",
    "~",
    "@",
    "//",
    "://",
    "%",
    "\u{feff}",
    "\0",
    "é",
    "\u{2028}",
    "1",
    "on",
    "rtsp://",
    "version: 1\n",
];

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::new);

#[derive(Debug, Clone)]
enum Mutation {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize, Index),
    SwapLines(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), select(&BITS[..])).prop_map(|(at, bit)| Mutation::Insert(at, bit)),
        (any::<Index>(), 1_usize..12).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (any::<Index>(), 1_usize..40, any::<Index>())
            .prop_map(|(at, count, to)| Mutation::Repeat(at, count, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
    ]
}

/// Characters, with each secret in one piece: half of one could not be told from other text.
fn pieces_of(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for (index, part) in text.split(SECRET).enumerate() {
        if index > 0 {
            pieces.push(SECRET.to_owned());
        }
        pieces.extend(part.chars().map(String::from));
    }
    pieces
}

fn mutate(text: &str, mutations: &[Mutation]) -> String {
    let mut pieces = pieces_of(text);
    for mutation in mutations {
        let length = pieces.len();
        match mutation {
            Mutation::Insert(at, bit) => pieces.insert(at.index(length + 1), (*bit).to_owned()),
            Mutation::Remove(at, count) if length > 0 => {
                let at = at.index(length);
                pieces.drain(at..(at + count).min(length));
            }
            Mutation::Repeat(at, count, to) if length > 0 => {
                let at = at.index(length);
                // Elsewhere the secret would be no password any more, but a name or a path.
                let mut copy = pieces[at..(at + count).min(length)].to_vec();
                copy.retain(|piece| piece != SECRET);
                let to = to.index(length);
                pieces.splice(to..to, copy);
            }
            Mutation::SwapLines(a, b) => {
                let text = pieces.concat();
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                if !lines.is_empty() {
                    let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                    lines.swap(a, b);
                }
                pieces = lines
                    .concat()
                    .split_inclusive(|_| true)
                    .map(str::to_owned)
                    .collect();
            }
            _ => {}
        }
    }
    pieces.concat()
}

fn lists(list: &[u8]) -> MemoryLists {
    MemoryLists([("cameras.csv".into(), list.to_vec())].into())
}

/// What no input may cost: a tenth of it is usual for the dearest, and work that grows with the
/// square of the input would take minutes.
const HOPELESS: Duration = Duration::from_secs(10);

/// Of this thread: how long it waited while others computed does not count.
fn processor_time() -> Duration {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).expect("Linux counts it");
    let first = text.split(' ').next().expect("split gives one");
    Duration::from_nanos(first.parse().expect("nanoseconds"))
}

/// Parses, and checks what must hold whatever the outcome.
fn survive(text: &str, list: &[u8]) -> Result<bool, TestCaseError> {
    let begin = processor_time();
    let outcome = parse(
        &SourceFile {
            name: "stakeout.yaml",
            text,
        },
        &lists(list),
    );
    let spent = processor_time().saturating_sub(begin);
    prop_assert!(spent < HOPELESS, "took {spent:?}");
    let (found, profile) = match outcome {
        Ok(parsed) => (parsed.warnings, Some(parsed.profile)),
        Err(found) => {
            prop_assert!(!found.is_empty(), "refused without a word");
            (found, None)
        }
    };
    let shown = message(&found) + &serde_json::to_string(&found).expect("JSON");
    prop_assert!(!shown.contains("hUnTeR"), "{shown}");
    for diagnostic in &found {
        prop_assert!(diagnostic.line > 0 && diagnostic.column > 0, "{diagnostic}");
        prop_assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
    }
    if let Ok(less) = remove_camera(text, "yard") {
        prop_assert!(less.len() < text.len(), "{less}");
    }
    let Some(profile) = profile else {
        return Ok(false);
    };
    let value = serde_saphyr::from_str(text).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(
        SCHEMA.check(&value),
        Ok(()),
        "the schema is stricter than the parser"
    );
    let mut wanted = profile.clone();
    for camera in &mut wanted.cameras {
        if let installer_spec::Source::Rtsp { credentials, .. } = &mut camera.source
            && matches!(credentials, Some(installer_spec::Credentials::Inline(_)))
        {
            *credentials = None;
        }
    }
    let written = to_yaml(&profile);
    // A mutation may have made a path of what was a password: that one is written, a login never.
    prop_assert_eq!(
        &written,
        &to_yaml(&wanted),
        "the login shows in what is written"
    );
    let again = parse(
        &SourceFile {
            name: "again",
            text: &written,
        },
        &lists(b""),
    );
    let again = again.map_err(|found| TestCaseError::fail(message(&found) + "\n" + &written))?;
    prop_assert_eq!(again.profile, wanted);
    Ok(true)
}

#[test]
fn what_is_mutated_is_right_to_begin_with() {
    assert!(survive(PROFILE, LIST.as_bytes()).expect("survived"));
}

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,80}", list in "\\PC{0,80}") {
        survive(&text, list.as_bytes())?;
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survive(&String::from_utf8_lossy(&bytes), &bytes)?;
        survive("version: 1\nsite: s\ncameras: [ { from: cameras.csv } ]\n", &bytes)?;
    }

    #[test]
    fn any_mix_of_bits_is_survived(bits in prop::collection::vec(select(&BITS[..]), 0..60)) {
        survive(&bits.concat(), bits.concat().as_bytes())?;
    }
}

/// Input as large as is read at all, made to cost the most.
#[test]
fn a_full_mebibyte_is_never_hopeless() {
    let fill = |head: &str, unit: &str, tail: &str| {
        let count = (1024 * 1024 - head.len() - tail.len()) / unit.len();
        format!("{head}{}{tail}", unit.repeat(count))
    };
    let numbered: Vec<String> = (0..80_000).map(|i| format!("k{i}: {i}\n")).collect();
    for text in [
        numbered.concat(),
        fill("version: 1\nsite: s\ncameras:\n", "- {}\n", ""),
        fill("version: 1\nsite: s\ncameras: [", "{},", "]"),
        fill("version: 1\nsite: ", "x", ""),
        fill("version: 1\nsite: \"", "x ", "\"\n"),
        fill("? \"", "x", "\"\n: 1\n"),
        fill("", "[", ""),
        fill("", "- ", ""),
        fill("", "a: &a\n ", ""),
        fill("", "# x\n", ""),
        fill("a: &a [x]\nb: [", "*a,", "]"),
        fill("", "\n", ""),
        fill("", "'", ""),
        fill("site: |\n", "  x\n", ""),
    ] {
        let accepted = survive(&text, b"").expect("survived");
        assert!(!accepted);
    }
    let list = fill("name,rtsp\n", "\"\",,\n", "");
    let text = "version: 1\nsite: s\ncameras: [ { from: cameras.csv } ]\n";
    assert!(!survive(text, list.as_bytes()).expect("survived"));
}

/// Mutates for a few seconds; with `CAMPAIGN_SECONDS` for as long as one likes.
#[test]
fn a_short_campaign_of_mutations_finds_nothing() {
    let seconds = std::env::var("CAMPAIGN_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(5);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let folders = [
        Folder::of_crate("tests/bad"),
        Folder::of_crate("../../profiles"),
    ];
    let mut texts = vec![PROFILE.to_owned()];
    for folder in &folders {
        texts.extend(folder.names("yaml").iter().map(|name| folder.read(name)));
    }
    // The bad profiles' own secrets are looked for in their own test.
    let cases = (
        prop_oneof![2 => Just(PROFILE.to_owned()), 1 => select(texts)],
        prop::collection::vec(mutation(), 1..4),
        prop::collection::vec(mutation(), 0..4),
    );
    let config = Config {
        cases: 256,
        failure_persistence: None,
        ..Config::default()
    };
    let (mut runs, mut accepted) = (0_u64, 0_u64);
    // Seeds in a row: a failure comes back on the next run, and a longer run goes further.
    let mut seed = 0_u64;
    while Instant::now() < deadline {
        let (count, good) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        seed = seed.wrapping_add(1);
        let bytes = [seed.to_le_bytes(); 4].concat();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        TestRunner::new_with_rng(config.clone(), rng)
            .run(&cases, |(text, mutations, of_list)| {
                let list = mutate(LIST, &of_list);
                let fine = survive(&mutate(&text, &mutations), list.as_bytes())?;
                count.set(count.get() + 1);
                good.set(good.get() + u64::from(fine));
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
        runs += count.get();
        accepted += good.get();
    }
    println!("{runs} mutated profiles, {accepted} accepted");
    assert!(
        accepted > 0 && accepted < runs,
        "the mutations are too wild or too tame"
    );
}
