//! A run's events, shown.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use installer_engine::Event;
use installer_plan::Change;

use crate::output::{Output, Printer};

/// A line that moves on a terminal, plain lines elsewhere, JSON for programs that follow.
pub(crate) struct Progress {
    printer: Printer,
    bar: ProgressBar,
    terminal: bool,
    /// What was waited for last.
    said: RefCell<String>,
}

/// What is waited for, without how much of it and whose: of a thousand cameras that become ready one
/// by one a log holds one line.
fn kind_of(text: &str) -> String {
    let mut depth = 0_u32;
    let keeps = |letter: &char| {
        let outside = depth == 0 && *letter != '(';
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        outside && !letter.is_ascii_digit()
    };
    text.chars().filter(keeps).collect()
}

impl Progress {
    pub(crate) fn new(printer: Printer) -> Self {
        let terminal = printer.output == Output::Human && console_is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            printer,
            bar,
            terminal,
            said: RefCell::default(),
        }
    }

    pub(crate) fn show(&self, event: &Event) {
        self.printer.event(event);
        match event {
            Event::Started { .. } | Event::Applied { .. } | Event::Verified(_) => {}
            Event::StepStarted {
                index,
                of,
                id,
                change,
            } => {
                let verb = match change {
                    Change::Add => "adding",
                    Change::Change => "changing",
                    Change::Remove => "removing",
                };
                self.bar
                    .set_message(format!("[{}/{of}] {verb} {id}", index + 1));
            }
            Event::StepWaiting { id, reason, .. } => {
                let text = format!("{id}: {reason}");
                if !self.terminal && self.said.replace(kind_of(&text)) != kind_of(&text) {
                    self.printer.note(&format!("wait  {text}"));
                }
                self.bar.set_message(text);
            }
            Event::StepDone { id, ms, .. } => self.line(&format!("done  {id} ({ms} ms)")),
            Event::StepFailed { id, error, .. } => self.line(&format!("FAIL  {id}: {error}")),
            Event::Verifying { camera, stage } => {
                let text = format!("proving camera {camera}: {stage}");
                self.bar.set_message(text.clone());
                if !self.terminal {
                    self.printer.note(&text);
                }
            }
            Event::VerifyFailed { camera, error } => {
                self.line(&format!("FAIL  camera {camera}: {error}"));
            }
        }
    }

    fn line(&self, text: &str) {
        if self.terminal {
            self.bar.println(text);
        } else {
            self.printer.note(text);
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn console_is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_makes_no_other_line() {
        let (one, two) = (
            "a: 1 of 9 ready; 8 starting (x, y)",
            "a: 12 of 30 ready; 8 starting (z)",
        );
        assert_eq!(kind_of(one), kind_of(two));
        assert_ne!(
            kind_of(one),
            kind_of("a: 1 of 9 ready; 8 Unschedulable (x, y)")
        );
    }
}
