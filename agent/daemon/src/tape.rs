//! The open recording of a camera: frames in, commands for the disk out.

use agent_media::{Fragment, Frame, StreamParameters, nal};
use agent_store::{Command, Writer, split_header};

/// At most one file at a time.
#[derive(Debug)]
pub(crate) struct Tape {
    disk: Writer,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: agent_media::Writer,
    parameters: StreamParameters,
    /// Name while it is open.
    name: String,
    header_written: bool,
    /// Arrival of the first frame that is not in a fragment yet, and of the last frame.
    from_ms: u64,
    to_ms: u64,
}

impl Tape {
    pub(crate) fn new(disk: Writer) -> Self {
        Self { disk, open: None }
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.disk.queued_bytes()
    }

    /// Begins a file; `frame`s follow by [`Tape::write`], the first of them a key frame.
    pub(crate) fn begin(&mut self, name: String, parameters: &StreamParameters, start_ms: u64) {
        debug_assert!(self.open.is_none(), "the file before is ended first");
        self.open = Some(Open {
            file: agent_media::Writer::new(parameters),
            parameters: parameters.clone(),
            name,
            header_written: false,
            from_ms: start_ms,
            to_ms: start_ms,
        });
    }

    pub(crate) fn write(&mut self, frame: Frame) {
        let Some(open) = &mut self.open else { return };
        open.to_ms = frame.arrival_ms.max(open.to_ms);
        if let Some(fragment) = open.file.push(frame) {
            put(&self.disk, open, fragment);
        }
    }

    /// Puts what is gathered on disk: the camera pauses.
    pub(crate) fn flush(&mut self) {
        if let Some(open) = &mut self.open
            && let Some(fragment) = open.file.flush()
        {
            put(&self.disk, open, fragment);
        }
    }

    /// Ends the file; `name` makes its final name out of its duration in milliseconds.
    pub(crate) fn end(&mut self, name: impl FnOnce(u64) -> String) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        if let Some(fragment) = open.file.flush() {
            put(&self.disk, &mut open, fragment);
        }
        if !open.header_written {
            return;
        }
        let expected = open.file.bytes();
        let tail = open.file.finish();
        let name = name(tail.duration_ms);
        self.disk.push(Command::Close {
            name,
            index: tail.index,
            expected,
        });
    }

    /// Waits until the disk has everything it takes.
    pub(crate) fn stop(self) {
        self.disk.stop();
    }
}

fn put(disk: &Writer, open: &mut Open, fragment: Fragment) {
    let mut head = fragment.head;
    if !open.header_written {
        let (header, rest) = split_header(&head);
        head = rest;
        disk.push(Command::Open {
            name: open.name.clone(),
            header,
        });
        open.header_written = true;
    }
    // Video comes first in a fragment, where there is any.
    let first = fragment
        .frames
        .first()
        .filter(|_| fragment.video_frames > 0);
    let key = first.is_some_and(|data| nal::is_key(open.parameters.video.codec, data));
    let mut slices = Vec::with_capacity(1 + fragment.frames.len());
    slices.push(head);
    slices.extend(fragment.frames);
    disk.push(Command::Fragment(agent_store::Fragment {
        slices,
        frames: fragment.video_frames as u64,
        key,
        from_ms: open.from_ms,
        to_ms: open.to_ms,
    }));
    open.from_ms = open.to_ms;
}
