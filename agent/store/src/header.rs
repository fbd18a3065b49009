//! Where a file's header ends and its first fragment begins.

use bytes::Bytes;

/// Splits the head of a first fragment before its `moof` (ISO/IEC 14496-12, 4.2). The header must
/// reach the disk whatever happens to the fragment. Without a header the first part is empty.
pub fn split_header(head: &Bytes) -> (Bytes, Bytes) {
    let mut at = 0;
    while let Some((size, kind)) = head.get(at..).and_then(box_head) {
        if &kind == b"moof" || size < 8 {
            break;
        }
        at = at.saturating_add(size);
    }
    let at = at.min(head.len());
    (head.slice(..at), head.slice(at..))
}

fn box_head(bytes: &[u8]) -> Option<(usize, [u8; 4])> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
    Some((size, *rest.first_chunk::<4>()?))
}
