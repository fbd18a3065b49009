//! Reading boxes that lie in memory.

/// Type, header size and whole size of the box that `bytes` begin with.
///
/// Size 0, "up to the end of the file", is refused: no writer here makes it, and a zero-filled tail looks like it.
pub(super) fn header(bytes: &[u8]) -> Option<([u8; 4], usize, u64)> {
    let mut fields = Fields(bytes);
    let size = fields.u32()?;
    let kind = fields.take()?;
    let (header, size) = if size == 1 {
        (16, fields.u64()?)
    } else {
        (8, u64::from(size))
    };
    (size >= header as u64).then_some((kind, header, size))
}

/// Types and contents of the whole boxes in `bytes`.
pub(super) fn children(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (kind, header, size) = header(rest)?;
        let (whole, behind) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        rest = behind;
        Some((kind, whole.get(header..)?))
    })
}

pub(super) fn child(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    children(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, body)| body)
}

/// Child of a child of …
pub(super) fn descend<'a>(bytes: &'a [u8], path: &[[u8; 4]]) -> Option<&'a [u8]> {
    path.iter()
        .try_fold(bytes, |bytes, kind| child(bytes, *kind))
}

/// Fixed-size fields from the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }
}
