//! Footage before a trigger: whole groups of pictures, bounded in bytes and time.

use std::collections::VecDeque;

use agent_media::{Frame, Track};

/// Held beyond `pre`: a trigger comes this much after its picture, by decoding and waiting.
const LATENESS: i64 = 2 * agent_media::TICKS_PER_SECOND;

#[derive(Debug)]
pub(super) struct Ring {
    /// Each begins with a video key frame.
    groups: VecDeque<Vec<Frame>>,
    bytes: usize,
    most_bytes: usize,
    /// Ticks.
    pre: i64,
}

impl Ring {
    pub(super) fn new(pre: i64, most_bytes: usize) -> Self {
        Self {
            groups: VecDeque::new(),
            bytes: 0,
            most_bytes,
            pre,
        }
    }

    /// Takes the next frame; one that belongs to no group is let go.
    pub(super) fn push(&mut self, frame: Frame) {
        let video = frame.track == Track::Video;
        let (size, pts) = (frame.data.len(), frame.pts);
        if video && frame.key {
            self.groups.push_back(vec![frame]);
        } else if let Some(group) = self.groups.back_mut() {
            group.push(frame);
        } else {
            return;
        }
        self.bytes += size;
        // The first group is of no use once the second one reaches back far enough.
        while video
            && self
                .start_of(1)
                .is_some_and(|start| start <= pts - self.pre - LATENESS)
        {
            self.drop_first();
        }
        // A group larger than all memory goes too: the next key frame begins anew.
        while self.bytes > self.most_bytes {
            self.drop_first();
        }
    }

    /// Takes out everything from the last key frame at or before `pts`, or from the first there is.
    pub(super) fn take_from(&mut self, pts: i64) -> Vec<Frame> {
        while self.start_of(1).is_some_and(|start| start <= pts) {
            self.drop_first();
        }
        self.bytes = 0;
        std::mem::take(&mut self.groups)
            .into_iter()
            .flatten()
            .collect()
    }

    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.bytes = 0;
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn start_of(&self, group: usize) -> Option<i64> {
        self.groups.get(group)?.first().map(|frame| frame.pts)
    }

    fn drop_first(&mut self) {
        let Some(group) = self.groups.pop_front() else {
            self.bytes = 0;
            return;
        };
        self.bytes -= group.iter().map(|frame| frame.data.len()).sum::<usize>();
    }
}
