//! Serialising MP4 boxes (ISO/IEC 14496-12 section 4.2).

pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    put(out, &value.to_be_bytes());
}

pub(crate) fn put_each_u32(out: &mut Vec<u8>, values: &[u32]) {
    for &value in values {
        put_u32(out, value);
    }
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    put(out, &value.to_be_bytes());
}

/// A box with the contents that `fill` writes; its size is filled in afterwards.
pub(crate) fn boxed(out: &mut Vec<u8>, kind: [u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u32(out, 0);
    put(out, &kind);
    fill(out);
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    overwrite_u32(out, start, size);
}

/// A full box: version and flags come first.
pub(crate) fn full(
    out: &mut Vec<u8>,
    kind: [u8; 4],
    version: u8,
    flags: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, kind, |out| {
        put_u32(out, u32::from(version) << 24 | flags);
        fill(out);
    });
}

pub(crate) fn overwrite_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
