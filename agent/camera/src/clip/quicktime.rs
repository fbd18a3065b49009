//! Makes QuickTime's sample descriptions readable for an MP4 demuxer.
//!
//! QuickTime files, also some that are named MP4, differ in two points from ISO/IEC 14496-12
//! (QuickTime File Format, "Sound Sample Description V1" and "Video Sample Description"). Sound has
//! a version 1 entry with four more numbers, and its `esds` is wrapped in a `wave` box: that entry
//! is rewritten in its place and length, the rest becoming a `free` box. Video may end in a
//! terminator of four zero bytes: they are left outside of the entry.

use std::ops::Range;

/// Box header, reserved and data reference index, then the ISO audio entry's fields.
const ENTRY_HEAD: usize = 8 + 8 + 20;
/// Samples per packet; bytes per packet, frame and sample.
const VERSION_1: usize = 16;
/// Where the entry's version stands.
const VERSION_AT: Range<usize> = 16..18;
/// Box header, reserved and data reference index, then the ISO video entry's fields.
const VIDEO_HEAD: usize = 8 + 8 + 70;

/// Rewrites the sample entries in a complete `moov` box; leaves all else as it is.
pub(super) fn to_iso(moov: &mut [u8]) {
    let whole = 0..moov.len();
    let mut tables = find(
        moov,
        whole,
        &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"],
    );
    for table in &mut tables {
        // Version, flags and the count of entries.
        table.start += 8;
    }
    for table in tables {
        for (kind, body) in boxes(moov, table.clone()) {
            let is_last = body.end == table.end;
            let entry = &mut moov[body.start - 8..body.end];
            match &kind {
                b"mp4a" if entry.get(VERSION_AT) == Some(&[0, 1]) => unwrap_esds(entry),
                b"avc1" | b"hvc1" | b"hev1" if is_last => leave_terminator(entry),
                _ => {}
            }
        }
    }
}

fn unwrap_esds(entry: &mut [u8]) {
    let extra = ENTRY_HEAD + VERSION_1;
    let Some(esds) = find(entry, extra..entry.len(), &[b"wave", b"esds"]).pop() else {
        return;
    };
    let esds = entry[esds.start - 8..esds.end].to_vec();
    let free_at = ENTRY_HEAD + esds.len();
    let Ok(free) = u32::try_from(entry.len() - free_at) else {
        return;
    };
    entry[VERSION_AT].fill(0);
    entry[ENTRY_HEAD..free_at].copy_from_slice(&esds);
    entry[free_at..].fill(0);
    // At least the 16 bytes of version 1 and the header of `wave` are left over.
    entry[free_at..free_at + 4].copy_from_slice(&free.to_be_bytes());
    entry[free_at + 4..free_at + 8].copy_from_slice(b"free");
}

/// Shortens the entry's stated size; what follows the last entry is read by nobody.
fn leave_terminator(entry: &mut [u8]) {
    let children = boxes(entry, VIDEO_HEAD..entry.len());
    let Some((_, last)) = children.last() else {
        return;
    };
    let end = last.end;
    if entry[end..] == [0; 4]
        && let Ok(size) = u32::try_from(end)
    {
        entry[..4].copy_from_slice(&size.to_be_bytes());
    }
}

/// Contents of all boxes at the end of `path`, which begins among the boxes in `within`.
fn find(data: &[u8], within: Range<usize>, path: &[&[u8; 4]]) -> Vec<Range<usize>> {
    let Some((first, rest)) = path.split_first() else {
        return vec![within];
    };
    let children = boxes(data, within)
        .into_iter()
        .filter(|(kind, _)| kind == *first);
    children
        .flat_map(|(_, body)| find(data, body, rest))
        .collect()
}

/// Type and content of each box in `within`, up to the first that is not well formed.
fn boxes(data: &[u8], within: Range<usize>) -> Vec<([u8; 4], Range<usize>)> {
    let mut found = Vec::new();
    let mut at = within.start;
    while let Some(head) = data.get(at..within.end).and_then(<[u8]>::first_chunk::<8>) {
        let [a, b, c, d, kind @ ..] = *head;
        let Ok(size) = usize::try_from(u32::from_be_bytes([a, b, c, d])) else {
            break;
        };
        // Sizes 0 and 1 (to the end, 64 bits) do not occur inside `moov`.
        let Some(end) = at
            .checked_add(size)
            .filter(|end| size >= 8 && *end <= within.end)
        else {
            break;
        };
        found.push((kind, at + 8..end));
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxed(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes(), &kind, content].concat()
    }

    fn moov(entry: &[u8]) -> Vec<u8> {
        let table = boxed(*b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], entry].concat());
        let nested = [*b"stbl", *b"minf", *b"mdia", *b"trak", *b"moov"];
        nested
            .into_iter()
            .fold(table, |content, kind| boxed(kind, &content))
    }

    #[test]
    fn a_wrapped_esds_comes_out() {
        let esds = boxed(*b"esds", b"config");
        let wave = boxed(*b"wave", &[boxed(*b"frma", b"mp4a"), esds].concat());
        let mut fields = [0; 28 + VERSION_1];
        fields[9] = 1;
        let mut moov = moov(&boxed(*b"mp4a", &[&fields[..], &wave].concat()));
        to_iso(&mut moov);
        let tables = find(
            &moov,
            0..moov.len(),
            &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"],
        );
        let entry = boxes(&moov, tables[0].start + 8..tables[0].end).remove(0).1;
        assert_eq!(moov[entry.start + 8..entry.start + 10], [0, 0]);
        let inner = boxes(&moov, entry.start + 28..entry.end);
        let kinds: Vec<_> = inner.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [*b"esds", *b"free"]);
        assert_eq!(moov[inner[0].1.clone()], *b"config");
    }

    #[test]
    fn a_terminator_is_left_out() {
        let avcc = boxed(*b"avcC", b"config");
        let whole = boxed(*b"avc1", &[&[0; 78][..], &avcc, &[0; 4]].concat());
        let mut moov = moov(&whole);
        to_iso(&mut moov);
        let at = moov
            .windows(4)
            .position(|window| window == b"avc1")
            .unwrap();
        let size = u32::try_from(whole.len() - 4).unwrap().to_be_bytes();
        assert_eq!(moov[at - 4..at], size);
    }

    #[test]
    fn other_entries_stay_as_they_are() {
        let before = moov(&boxed(
            *b"mp4a",
            &[&[0; 28][..], &boxed(*b"esds", b"config")].concat(),
        ));
        let mut after = before.clone();
        to_iso(&mut after);
        assert_eq!(after, before);
    }

    proptest! {
        #[test]
        fn never_panics(
            entry in proptest::collection::vec(any::<u8>(), 0..120), video: bool, version: bool,
        ) {
            let mut entry = boxed(if video { *b"avc1" } else { *b"mp4a" }, &entry);
            if let Some(field) = entry.get_mut(VERSION_AT) {
                field.copy_from_slice(&[0, u8::from(version)]);
            }
            to_iso(&mut moov(&entry));
        }
    }
}
