//! A recording of lines, in its own time.

use std::collections::VecDeque;

use crate::line::{Line, LineError};

/// A silence in a recording is cut to this: nobody watches a night.
const SILENCE_MS: u64 = 2_000;

/// Gives lines when it is their turn; time is what the caller says has passed.
#[derive(Debug)]
pub struct Replay {
    lines: VecDeque<Line>,
    /// The recording's time, in Unix milliseconds.
    now_ms: u64,
}

impl Replay {
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut lines = VecDeque::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            lines.extend(Line::parse(line)?);
        }
        let first = lines.iter().find_map(|line: &Line| line.at_ms);
        Ok(Self {
            lines,
            now_ms: first.unwrap_or(0),
        })
    }

    /// So much time has passed: the lines whose turn it is, and the recording's time now.
    pub fn pass(&mut self, ms: u64) -> (Vec<Line>, u64) {
        let next = self.lines.iter().find_map(|line| line.at_ms);
        self.now_ms += ms;
        if let Some(next) = next
            && next > self.now_ms + SILENCE_MS
        {
            self.now_ms = next - SILENCE_MS;
        }
        let mut due = Vec::new();
        while let Some(line) = self.lines.pop_front_if(|line| {
            // One without a time follows the one before it.
            line.at_ms.is_none_or(|at| at <= self.now_ms)
        }) {
            due.push(line);
        }
        (due, self.now_ms)
    }

    pub fn is_over(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_their_time_and_a_night_is_cut_short() {
        let text = "{\"at_ms\":1000,\"event\":\"started\",\"steps\":1}\n\n\
                    {\"event\":\"applied\",\"changed\":1,\"ms\":1}\n\
                    {\"at_ms\":1500,\"event\":\"started\",\"steps\":2}\n\
                    {\"at_ms\":90001500,\"event\":\"started\",\"steps\":3}\n";
        let mut replay = Replay::parse(text).unwrap();
        assert_eq!(replay.pass(0).0.len(), 2);
        assert_eq!(replay.pass(400), (vec![], 1_400));
        assert_eq!(replay.pass(100).0.len(), 1);
        assert!(!replay.is_over());
        assert_eq!(replay.pass(100), (vec![], 89_999_500));
        assert_eq!(replay.pass(2_000).0.len(), 1);
        assert!(replay.is_over());
    }
}
