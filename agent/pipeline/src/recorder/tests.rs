use std::fmt::Write as _;

use agent_media::{StreamParameters, VideoCodec, VideoParameters};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Rect;

const SECOND: i64 = TICKS_PER_SECOND;

fn policy(when: When) -> Policy {
    Policy {
        when,
        pre_ms: 10_000,
        post_ms: 20_000,
        longest_ms: 60_000,
        most_bytes: 1 << 20,
    }
}

fn stream(width: u32) -> Input {
    let (sample_entry, parameter_sets) = (Bytes::new(), Vec::new());
    let video = VideoParameters {
        codec: VideoCodec::H264,
        width,
        height: 10,
        sample_entry,
        parameter_sets,
    };
    Input::Parameters(Arc::new(StreamParameters { video, audio: None }))
}

/// Video frame number `n` at one per second, 100 bytes; its arrival is 1000 s later.
fn frame(n: i64, key: bool) -> Frame {
    let arrival_ms = u64::try_from(1_000_000 + n * 1000).unwrap();
    let data = Bytes::from(vec![0; 100]);
    Frame {
        track: Track::Video,
        pts: n * SECOND,
        arrival_ms,
        key,
        lost: 0,
        data,
    }
}

fn motion(n: i64) -> Input {
    let event = MotionEvent {
        region: Rect {
            x: 1,
            y: 2,
            width: 3,
            height: 4,
        },
        cells: 5,
    };
    Input::Motion {
        pts: Some(n * SECOND),
        event,
    }
}

/// A recorder that is fed one frame per second with a key frame every `gop`, and notes what it says.
struct Bench {
    recorder: Recorder,
    gop: i64,
    next: i64,
    log: String,
    written: Vec<i64>,
}

impl Bench {
    fn new(policy: Policy, gop: i64) -> Self {
        let mut bench = Self {
            recorder: Recorder::new(policy),
            gop,
            next: 0,
            log: String::new(),
            written: Vec::new(),
        };
        bench.tell(stream(10));
        bench
    }

    fn now(&self) -> u64 {
        u64::try_from(self.next * 1000).unwrap()
    }

    fn tell(&mut self, input: Input) {
        for command in self.recorder.handle(self.now(), input) {
            match command {
                Command::Open {
                    start_ms, proofs, ..
                } => {
                    write!(self.log, "open {}", (start_ms - 1_000_000) / 1000).unwrap();
                    self.log.push_str(if proofs.is_empty() {
                        ": "
                    } else {
                        " as proof: "
                    });
                }
                Command::Write(frame) => self.written.push(frame.pts / SECOND),
                Command::Flush => self.log.push_str("flush "),
                Command::Close { reason, summary } => {
                    let last = self.written.last().unwrap();
                    write!(self.log, "..{last} {reason:?}").unwrap();
                    if summary.motion.is_some() {
                        self.log.push_str(" motion");
                    }
                    if summary.manual {
                        self.log.push_str(" manual");
                    }
                    for proof in summary.proofs {
                        write!(self.log, " proves {proof}").unwrap();
                    }
                    self.log.push_str("; ");
                }
                Command::Gap(gap) => {
                    let from = i64::try_from(gap.from_ms).unwrap() / 1000 - 1000;
                    write!(
                        self.log,
                        "gap {:?} {from}+{}ms; ",
                        gap.cause, gap.duration_ms
                    )
                    .unwrap();
                }
            }
        }
    }

    /// Frames up to and with number `last`.
    fn run(&mut self, last: i64) {
        while self.next <= last {
            self.tell(Input::Frame(frame(self.next, self.next % self.gop == 0)));
            self.next += 1;
        }
    }

    fn check(mut self, expected: &str) {
        self.tell(Input::Stop);
        assert_eq!(self.log.trim_end_matches("; "), expected);
    }
}

#[test]
fn continuous_files_follow_each_other_at_key_frames() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(130);
    assert_eq!(
        bench.written,
        (0..=130).collect::<Vec<_>>(),
        "every frame once"
    );
    bench.check("open 0: ..59 Longest; open 60: ..119 Longest; open 120: ..130 Stopped");
}

#[test]
fn without_a_key_frame_a_file_goes_on() {
    let mut bench = Bench::new(policy(When::Continuous), 200);
    bench.run(210);
    bench.check("open 0: ..199 Longest; open 200: ..210 Stopped");
}

#[test]
fn motion_opens_at_the_key_frame_before_pre_and_closes_at_the_one_after_post() {
    let mut bench = Bench::new(policy(When::Motion), 4);
    bench.run(40);
    bench.tell(motion(40));
    bench.run(100);
    // 40 - 10 = 30: key frame 28. 40 + 20 = 60: the key frame at 60 is inside, 64 is not.
    bench.check("open 28: ..63 Quiet motion");
}

#[test]
fn triggers_extend_and_long_motion_is_cut_without_loss() {
    let mut bench = Bench::new(policy(When::Motion), 4);
    for n in (40..=120).step_by(8) {
        bench.run(n);
        bench.tell(motion(n));
    }
    bench.run(200);
    assert_eq!(bench.written, (28..144).collect::<Vec<_>>());
    bench.check("open 28: ..87 Longest motion; open 88: ..143 Quiet motion");
}

#[test]
fn clips_next_to_each_other_neither_overlap_nor_lose() {
    let mut bench = Bench::new(policy(When::Motion), 4);
    bench.run(20);
    bench.tell(motion(20));
    bench.run(46);
    // Closed before 44; this one wants 35.
    bench.tell(motion(45));
    bench.run(90);
    assert_eq!(bench.written, (8..68).collect::<Vec<_>>());
    bench.check("open 8: ..43 Quiet motion; open 44: ..67 Quiet motion");
}

#[test]
fn the_ring_reaches_as_far_as_its_bytes() {
    let mut bench = Bench::new(
        Policy {
            most_bytes: 600,
            ..policy(When::Motion)
        },
        4,
    );
    bench.run(40);
    assert!(bench.recorder.ring.bytes() <= 600);
    bench.tell(motion(40));
    bench.run(41);
    bench.check("open 36: ..41 Stopped motion");
}

#[test]
fn a_group_larger_than_the_ring_is_let_go_until_the_next_key_frame() {
    let mut bench = Bench::new(
        Policy {
            most_bytes: 600,
            ..policy(When::Motion)
        },
        20,
    );
    bench.run(30);
    bench.tell(motion(30));
    bench.run(50);
    bench.check("open 40: ..50 Stopped motion");
}

#[test]
fn motion_with_rare_key_frames_ends_after_longest_and_waits_for_one() {
    let mut bench = Bench::new(
        Policy {
            longest_ms: 30_000,
            ..policy(When::Motion)
        },
        200,
    );
    bench.run(5);
    bench.tell(motion(5));
    bench.run(210);
    bench.check("open 0: ..55 Quiet motion");
}

#[test]
fn both_notes_motion_in_the_file_it_is_in() {
    let mut bench = Bench::new(policy(When::Both), 4);
    bench.run(30);
    bench.tell(motion(30));
    bench.run(130);
    bench.check("open 0: ..59 Longest motion; open 60: ..119 Longest; open 120: ..130 Stopped");
}

#[test]
fn a_wish_to_record_is_kept_in_every_mode() {
    let mut bench = Bench::new(policy(When::Motion), 4);
    bench.run(41);
    bench.tell(Input::Record {
        milliseconds: 5_000,
    });
    bench.run(60);
    bench.check("open 28: ..47 Quiet manual");
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(10);
    bench.tell(Input::Record {
        milliseconds: 5_000,
    });
    bench.run(62);
    bench.check("open 0: ..59 Longest manual; open 60: ..62 Stopped");
}

#[test]
fn a_proof_is_a_file_of_its_own() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(9);
    bench.tell(Input::Proof {
        id: 7,
        milliseconds: 5_000,
    });
    bench.tell(Input::Proof {
        id: 8,
        milliseconds: 6_000,
    });
    bench.run(30);
    assert_eq!(bench.written, (0..=30).collect::<Vec<_>>());
    bench.check("open 0: ..11 ProofBegins; open 12 as proof: ..19 ProofDone proves 7 proves 8; open 20: ..30 Stopped");
}

#[test]
fn a_proof_without_motion_records_and_falls_silent_again() {
    let mut bench = Bench::new(policy(When::Motion), 4);
    bench.run(9);
    bench.tell(Input::Proof {
        id: 7,
        milliseconds: 5_000,
    });
    bench.run(40);
    bench.check("open 12 as proof: ..19 ProofDone proves 7");
    // Motion goes on behind it.
    let mut bench = Bench::new(policy(When::Motion), 4);
    bench.run(21);
    bench.tell(motion(21));
    bench.tell(Input::Proof {
        id: 7,
        milliseconds: 5_000,
    });
    bench.run(60);
    bench.check("open 8: ..23 ProofBegins motion; open 24 as proof: ..31 ProofDone motion proves 7; open 32: ..43 Quiet motion");
}

#[test]
fn an_interrupted_proof_is_made_again() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(3);
    bench.tell(Input::Proof {
        id: 7,
        milliseconds: 5_000,
    });
    bench.run(6);
    bench.tell(Input::Ended);
    bench.run(20);
    bench.check(
        "open 0: ..3 ProofBegins; open 4 as proof: ..6 SessionEnded; \
         gap Disconnected 6+2000ms; open 8 as proof: ..15 ProofDone proves 7; open 16: ..20 Stopped",
    );
}

#[test]
fn a_lost_session_is_a_gap_up_to_the_next_key_frame() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(9);
    bench.tell(Input::Ended);
    bench.tell(Input::Ended);
    bench.next = 30;
    bench.run(40);
    bench.check("open 0: ..9 SessionEnded; gap Disconnected 9+23000ms; open 32: ..40 Stopped");
}

#[test]
fn motion_outlives_a_session() {
    let mut bench = Bench::new(policy(When::Motion), 4);
    bench.run(20);
    bench.tell(motion(20));
    bench.run(22);
    bench.tell(Input::Ended);
    bench.next = 28;
    bench.run(60);
    bench.check(
        "open 8: ..22 SessionEnded motion; gap Disconnected 22+6000ms; open 28: ..43 Quiet motion",
    );
}

#[test]
fn changed_parameters_begin_a_file_and_equal_ones_do_not() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(7);
    bench.tell(stream(10));
    bench.tell(stream(20));
    bench.run(12);
    bench.tell(stream(30));
    bench.run(16);
    bench.check(
        "open 0: ..7 ParametersChanged; open 8: ..12 ParametersChanged; gap ParametersChanged 12+4000ms; open 16: ..16 Stopped",
    );
}

#[test]
fn a_clock_that_jumps_back_is_a_new_beginning() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(9);
    let mut restarted = frame(10, true);
    restarted.pts = 0;
    bench.tell(Input::Frame(restarted));
    bench.check("open 0: ..9 SessionEnded; gap ClockJump 9+1000ms; open 10: ..0 Stopped");
}

#[test]
fn lost_packets_are_a_gap_and_a_pause_is_flushed_once() {
    let mut bench = Bench::new(policy(When::Continuous), 4);
    bench.run(4);
    let mut holed = frame(5, false);
    holed.lost = 3;
    bench.tell(Input::Frame(holed));
    bench.next = 7;
    bench.tell(Input::Tick);
    bench.tell(Input::Tick);
    bench.check("open 0: gap PacketLoss { packets: 3 } 4+1000ms; flush ..5 Stopped");
}

#[test]
fn files_never_share_a_start_though_the_clock_is_set_back() {
    let mut recorder = Recorder::new(Policy {
        longest_ms: 1000,
        ..policy(When::Continuous)
    });
    recorder.handle(0, stream(10));
    let mut starts = Vec::new();
    for n in 0..6 {
        let mut frame = frame(n, true);
        // Set back by a second after every frame.
        frame.arrival_ms = 5_000;
        for command in recorder.handle(0, Input::Frame(frame)) {
            if let Command::Open { start_ms, .. } = command {
                starts.push(start_ms);
            }
        }
    }
    assert_eq!(starts, [5_000, 5_001, 5_002, 5_003, 5_004, 5_005]);
}

fn any_input() -> impl Strategy<Value = u8> {
    prop_oneof![20 => Just(0u8), 6 => Just(1), 2 => 2u8..8]
}

proptest! {
    /// Whatever comes: commands are well formed, and continuous recording loses nothing that it could keep.
    #[test]
    fn every_file_begins_with_a_key_frame(
        steps in prop::collection::vec(any_input(), 1..300),
        when in prop_oneof![Just(When::Continuous), Just(When::Motion), Just(When::Both)],
    ) {
        let policy = Policy { when, pre_ms: 3_000, post_ms: 4_000, longest_ms: 8_000, most_bytes: 900 };
        let mut recorder = Recorder::new(policy);
        let (mut open, mut fresh, mut width, mut last) = (false, false, 10, -1);
        let (mut given, mut synchronised) = (Vec::new(), false);
        let mut written = Vec::new();
        let mut proofs = (0, 0);
        recorder.handle(0, stream(width));
        for (n, step) in (0i64..).zip(steps) {
            let input = match step {
                0 | 1 => {
                    synchronised |= step == 1;
                    if synchronised {
                        given.push(n * SECOND);
                    }
                    Input::Frame(frame(n, step == 1))
                }
                2 => motion(n - 1),
                3 => { synchronised = false; Input::Ended }
                4 => { synchronised = false; width += 1; stream(width) }
                5 => { proofs.0 += 1; Input::Proof { id: 1, milliseconds: 3_000 } }
                6 => Input::Record { milliseconds: 2_000 },
                _ => Input::Tick,
            };
            for command in recorder.handle(u64::try_from(n * 1000).unwrap(), input) {
                match command {
                    Command::Open { .. } => {
                        prop_assert!(!open);
                        (open, fresh) = (true, true);
                    }
                    Command::Write(frame) => {
                        prop_assert!(open && (!fresh || frame.key));
                        prop_assert!(frame.pts > last, "no frame twice");
                        (fresh, last) = (false, frame.pts);
                        written.push(frame.pts);
                    }
                    Command::Flush => prop_assert!(open && !fresh),
                    Command::Close { summary, .. } => {
                        prop_assert!(open && !fresh, "no empty file");
                        open = false;
                        proofs.1 += summary.proofs.len();
                    }
                    Command::Gap(_) => {}
                }
            }
            prop_assert!(recorder.ring.bytes() <= 900);
        }
        prop_assert!(proofs.1 <= proofs.0);
        if when != When::Motion {
            prop_assert_eq!(written, given);
        }
    }
}
