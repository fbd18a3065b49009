//! Messages out of a client's byte stream, of bounded size.

use bytes::{Buf as _, BytesMut};
use rtsp_types::{Message, ParseError, Request};

/// Longest request; real ones have a few hundred bytes.
const LONGEST_REQUEST: usize = 16 * 1024;

/// What a client sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    Request(Box<Request<Vec<u8>>>),
    /// Interleaved RTCP, or an answer to a request we never make.
    Other,
}

/// Bytes that are not RTSP, or a request without end: the connection is of no more use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("client sent bytes that are not an RTSP request of at most {LONGEST_REQUEST} bytes")]
pub(crate) struct NotRtsp;

/// Takes the next complete message out of `buffer`; `None` when more bytes are needed.
pub(crate) fn next(buffer: &mut BytesMut) -> Result<Option<Incoming>, NotRtsp> {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    if let Some(&[b'$', _, high, low]) = buffer.first_chunk() {
        let end = 4 + usize::from(u16::from_be_bytes([high, low]));
        if buffer.len() < end {
            return Ok(None);
        }
        buffer.advance(end);
        return Ok(Some(Incoming::Other));
    }
    if buffer.is_empty() || buffer[0] == b'$' {
        return Ok(None);
    }
    match Message::<Vec<u8>>::parse(buffer) {
        Ok((_, used)) if used > LONGEST_REQUEST => Err(NotRtsp),
        Ok((message, used)) => {
            buffer.advance(used);
            Ok(Some(match message {
                Message::Request(request) => Incoming::Request(Box::new(request)),
                Message::Response(_) | Message::Data(_) => Incoming::Other,
            }))
        }
        Err(ParseError::Incomplete(_)) if buffer.len() < LONGEST_REQUEST => Ok(None),
        Err(_) => Err(NotRtsp),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n";

    /// Feeds `bytes` in pieces of `step` and counts requests, until the end or an error.
    fn feed(bytes: &[u8], step: usize) -> Result<usize, NotRtsp> {
        let mut buffer = BytesMut::new();
        let mut requests = 0;
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(message) = next(&mut buffer)? {
                requests += usize::from(matches!(message, Incoming::Request(_)));
            }
        }
        Ok(requests)
    }

    #[test]
    fn requests_are_found_between_interleaved_packets_in_any_pieces() {
        let stream = [OPTIONS, b"$\x01\x00\x03abc\r\n", OPTIONS].concat();
        for step in 1..stream.len() {
            assert_eq!(feed(&stream, step), Ok(2), "pieces of {step}");
        }
    }

    #[test]
    fn an_endless_request_is_given_up() {
        let endless = [
            OPTIONS.strip_suffix(b"\r\n").unwrap(),
            &b"X: y\r\n".repeat(9000),
        ]
        .concat();
        assert_eq!(feed(&endless, 1000), Err(NotRtsp));
        assert_eq!(feed(&vec![b'A'; 100_000], 1000), Err(NotRtsp));
        let body = b"SET_PARAMETER rtsp://h/ RTSP/1.0\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(
            feed(&[&body[..], &b"x".repeat(40_000)].concat(), 1000),
            Err(NotRtsp)
        );
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..400), step in 1_usize..50) {
            prop_assert_eq!(feed(&bytes, step), feed(&bytes, 400));
        }

        #[test]
        fn pieces_make_no_difference_near_the_truth(at in 0..OPTIONS.len(), byte: u8, tail in "[ -~\r\n]{0,80}") {
            let mut bytes = OPTIONS.to_vec();
            bytes[at] = byte;
            bytes.extend_from_slice(tail.as_bytes());
            prop_assert_eq!(feed(&bytes, 7), feed(&bytes, 400));
        }
    }
}
