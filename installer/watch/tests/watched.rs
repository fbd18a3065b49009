//! What a recording looks like on terminals of two sizes.

#![expect(clippy::unwrap_used, reason = "a test that fails here shows it")]

use crossterm::event::{KeyCode, KeyEvent};
use installer_watch::{Model, Replay, View, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const HARBOUR: &str = include_str!("watched/harbour.jsonl");

/// The recording until `ms` after its beginning, and then these keys.
fn screen((width, height): (u16, u16), ms: u64, keys: &[KeyCode]) -> String {
    let mut replay = Replay::parse(HARBOUR).unwrap();
    let (mut model, mut view) = (Model::default(), View::of_replay());
    for _ in 0..=ms / 100 {
        if replay.is_over() {
            break;
        }
        let (lines, now) = replay.pass(100);
        for line in lines {
            model.take(line);
        }
        model.tick(now);
    }
    for key in keys {
        view.key(KeyEvent::from(*key), &model);
    }
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, &model, &mut view))
        .unwrap();
    terminal.backend().to_string()
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);
/// When everything has been told.
const END: u64 = 60_000;

#[test]
fn steps_are_seen_as_they_are_done() {
    insta::assert_snapshot!(screen(SMALL, 400, &[]));
}

#[test]
fn a_site_in_trouble_fits_on_a_small_terminal() {
    insta::assert_snapshot!(screen(SMALL, END, &[]));
}

#[test]
fn a_large_terminal_shows_segments_and_panes_beside_each_other() {
    insta::assert_snapshot!(screen(LARGE, END, &[]));
}

#[test]
fn a_log_and_findings_lie_over_the_rest() {
    insta::assert_snapshot!(screen(SMALL, END, &[KeyCode::Down, KeyCode::Char('l')]));
    insta::assert_snapshot!(screen(SMALL, END, &[KeyCode::Char('d')]));
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    for width in (1..30).step_by(4) {
        for height in 1..12 {
            for key in [KeyCode::Down, KeyCode::Char('l'), KeyCode::Char('?')] {
                screen((width, height), 2_000, &[key]);
            }
        }
    }
}
