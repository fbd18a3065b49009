//! The child's end.

use std::io::{self, Read, Write};

use agent_media::{Frame, Grid, Track, VideoParameters};
use bytes::Bytes;

use crate::decoder;
use crate::protocol::{LARGEST_REQUEST, Request, Response, parse_request, read, write_response};

/// Why the child ends before its parent closes the pipe.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot read a key frame from the agent")]
    Read(#[source] io::Error),
    #[error("the agent sent what is no key frame")]
    Request,
    #[error("cannot return a picture to the agent")]
    Write(#[source] io::Error),
}

/// Decodes what comes from `input` and writes grids to `output`, until `input` ends.
///
/// The child's whole life: it may crash in here, and its parent starts another one.
pub fn serve(mut input: impl Read, mut output: impl Write) -> Result<(), ServeError> {
    while let Some(body) = read(&mut input, LARGEST_REQUEST).map_err(ServeError::Read)? {
        let request = parse_request(body).ok_or(ServeError::Request)?;
        write_response(&mut output, &answer(request)).map_err(ServeError::Write)?;
    }
    Ok(())
}

fn answer(
    Request {
        codec,
        parameter_sets,
        frame,
    }: Request,
) -> Response {
    // Sizes are read from the sets; the sample entry is for files.
    let (width, height, sample_entry) = (0, 0, Bytes::new());
    let parameters = VideoParameters {
        codec,
        width,
        height,
        sample_entry,
        parameter_sets,
    };
    let (track, data) = (Track::Video, frame);
    let frame = Frame {
        track,
        pts: 0,
        arrival_ms: 0,
        key: true,
        lost: 0,
        data,
    };
    match decoder(codec).decode(&parameters, &frame) {
        Ok(picture) => Response::Grid(Grid::of(&picture)),
        Err(error) => Response::Refused(error.to_string()),
    }
}
