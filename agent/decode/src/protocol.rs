//! What goes through the pipes. All numbers big-endian.
//!
//! Request: `u32` length of the rest, `u8` codec (4 or 5), `u8` number of parameter sets, each with a `u16`
//! length, then the frame as length-prefixed NAL units.
//! Response: `u32` length of the rest, `u8` kind; 0: `u32` width and height of the picture, `u16` columns and
//! rows of the grid, its cells row by row; 1: UTF-8 text of why there is no picture.

use std::io::{self, Read, Write};

use agent_media::{Grid, Picture, VideoCodec, VideoParameters};
use bytes::Bytes;

/// A 4K key frame at the highest rate any camera offers has 4 MB.
pub(crate) const LARGEST_REQUEST: usize = 16 << 20;
/// The grid and its sizes; texts are shorter.
pub(crate) const LARGEST_RESPONSE: usize = Grid::COLUMNS * Grid::ROWS + 32;
const LONGEST_TEXT: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) codec: VideoCodec,
    pub(crate) parameter_sets: Vec<Bytes>,
    pub(crate) frame: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response {
    Grid(Grid),
    Refused(String),
}

/// A message; nothing at the end of the stream. Messages over `largest` are an error of kind `InvalidData`.
pub(crate) fn read(input: &mut impl Read, largest: usize) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    // An end between messages is an end, one within is an error.
    let begun = loop {
        match input.read(&mut length) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if begun == 0 {
        return Ok(None);
    }
    input.read_exact(length.get_mut(begun..).unwrap_or_default())?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > largest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is too long",
        ));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(body.into()))
}

/// One call per message, so that a pipe's reader wakes up once.
fn write(output: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(4 + body.len());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    output.write_all(&message)?;
    output.flush()
}

/// Writes a request; false if it is larger than the child takes.
pub(crate) fn write_request(
    output: &mut impl Write,
    parameters: &VideoParameters,
    frame: &[u8],
) -> io::Result<bool> {
    let sets = &parameters.parameter_sets;
    let sizes = sets.iter().map(|set| set.len() + 2).sum::<usize>();
    let (Ok(count), true) = (
        u8::try_from(sets.len()),
        2 + sizes + frame.len() <= LARGEST_REQUEST,
    ) else {
        return Ok(false);
    };
    let codec = match parameters.codec {
        VideoCodec::H264 => 4,
        VideoCodec::H265 => 5,
    };
    let mut body = Vec::with_capacity(2 + sizes + frame.len());
    body.extend_from_slice(&[codec, count]);
    for set in sets {
        let Ok(length) = u16::try_from(set.len()) else {
            return Ok(false);
        };
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(set);
    }
    body.extend_from_slice(frame);
    write(output, &body)?;
    Ok(true)
}

pub(crate) fn parse_request(mut body: Bytes) -> Option<Request> {
    let (&[codec, count], _) = body.split_first_chunk::<2>()?;
    let codec = match codec {
        4 => VideoCodec::H264,
        5 => VideoCodec::H265,
        _ => return None,
    };
    body = body.slice(2..);
    let mut parameter_sets = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if rest.len() < length {
            return None;
        }
        parameter_sets.push(body.slice(2..2 + length));
        body = body.slice(2 + length..);
    }
    Some(Request {
        codec,
        parameter_sets,
        frame: body,
    })
}

pub(crate) fn write_response(output: &mut impl Write, response: &Response) -> io::Result<()> {
    let mut body = Vec::with_capacity(LARGEST_RESPONSE);
    match response {
        Response::Grid(grid) => {
            let side = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
            let cells = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes();
            body.push(0);
            body.extend_from_slice(&side(grid.width));
            body.extend_from_slice(&side(grid.height));
            body.extend_from_slice(&cells(grid.cells.width));
            body.extend_from_slice(&cells(grid.cells.height));
            for y in 0..grid.cells.height {
                body.extend_from_slice(grid.cells.row(y));
            }
        }
        Response::Refused(why) => {
            body.push(1);
            body.extend(why.bytes().take(LONGEST_TEXT));
        }
    }
    write(output, &body)
}

pub(crate) fn parse_response(body: &[u8]) -> Option<Response> {
    let (kind, rest) = body.split_first()?;
    if *kind == 1 {
        return Some(Response::Refused(
            String::from_utf8_lossy(rest).into_owned(),
        ));
    }
    let (sizes, cells) = rest.split_first_chunk::<12>().filter(|_| *kind == 0)?;
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let [width, height, columns, rows] =
        [0..4, 4..8, 8..10, 10..12].map(|field| sizes.get(field).map_or(0, number));
    // No more cells than pixels, and all of them here.
    let sane = columns > 0 && rows > 0 && columns <= width && rows <= height;
    (sane && columns * rows == cells.len()).then(|| {
        let cells = Picture {
            width: columns,
            height: rows,
            stride: columns,
            luma: cells.to_vec(),
        };
        Response::Grid(Grid {
            cells,
            width,
            height,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_arrive_as_they_were(
            sets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            frame in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let parameters = VideoParameters {
                codec: VideoCodec::H265, width: 1, height: 1, sample_entry: Bytes::new(),
                parameter_sets: sets.into_iter().map(Bytes::from).collect(),
            };
            let mut pipe = Vec::new();
            prop_assert!(write_request(&mut pipe, &parameters, &frame).unwrap());
            let body = read(&mut pipe.as_slice(), LARGEST_REQUEST).unwrap().unwrap();
            let request = parse_request(body).unwrap();
            prop_assert_eq!(request.codec, VideoCodec::H265);
            prop_assert_eq!(request.parameter_sets, parameters.parameter_sets);
            prop_assert_eq!(request.frame, frame);
        }

        #[test]
        fn responses_arrive_as_they_were(width in 1usize..400, height in 1usize..300, value: u8, why in ".{0,40}") {
            let picture = Picture { width, height, stride: width, luma: vec![value; width * height] };
            for response in [Response::Grid(Grid::of(&picture)), Response::Refused(why)] {
                let mut pipe = Vec::new();
                write_response(&mut pipe, &response).unwrap();
                let body = read(&mut pipe.as_slice(), LARGEST_RESPONSE).unwrap().unwrap();
                prop_assert_eq!(parse_response(&body), Some(response));
            }
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(body)) = read(&mut bytes.as_slice(), 100) {
                prop_assert!(body.len() <= 100);
            }
            parse_response(&bytes);
            parse_request(bytes.into());
        }
    }
}
