//! The parent's end.

use std::io::{self, Read, Write};

use agent_media::{Frame, Grid, VideoParameters};

use crate::protocol::{LARGEST_RESPONSE, Response, parse_response, read, write_request};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The child crashed or was killed: start another one, with another client.
    #[error("the decoder process is gone")]
    Gone(#[source] io::Error),
    /// The child answered with nonsense: kill it and start another one.
    #[error("the decoder process answered with nonsense")]
    Nonsense,
    /// This frame has no picture; the next one may.
    #[error("the decoder refused a key frame: {0}")]
    Refused(String),
    #[error("a key frame of {bytes} bytes is too large to decode")]
    TooLarge { bytes: usize },
}

impl ClientError {
    /// Whether the child has to be replaced.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Nonsense)
    }
}

/// Talks to one child over its standard output (`R`) and input (`W`).
///
/// Calls block. A deadline is the caller's: killing the child ends a call with [`ClientError::Gone`].
#[derive(Debug)]
pub struct Client<R, W> {
    from_child: R,
    to_child: W,
}

impl<R: Read, W: Write> Client<R, W> {
    pub fn new(from_child: R, to_child: W) -> Self {
        Self {
            from_child,
            to_child,
        }
    }

    /// The picture of a key frame, made small by the child.
    pub fn decode(
        &mut self,
        parameters: &VideoParameters,
        frame: &Frame,
    ) -> Result<Grid, ClientError> {
        let written = write_request(&mut self.to_child, parameters, &frame.data);
        if !written.map_err(ClientError::Gone)? {
            return Err(ClientError::TooLarge {
                bytes: frame.data.len(),
            });
        }
        let body = match read(&mut self.from_child, LARGEST_RESPONSE) {
            Ok(Some(body)) => body,
            Ok(None) => return Err(ClientError::Gone(io::ErrorKind::UnexpectedEof.into())),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(ClientError::Nonsense),
            Err(e) => return Err(ClientError::Gone(e)),
        };
        match parse_response(&body) {
            Some(Response::Grid(grid)) => Ok(grid),
            Some(Response::Refused(why)) => Err(ClientError::Refused(why)),
            None => Err(ClientError::Nonsense),
        }
    }
}
