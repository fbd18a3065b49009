//! The decoder's child process: both ends of its pipes.
//!
//! A decoder is the largest body of code that eats what a camera sends. In a process of its own, its
//! crash, hang or hunger for memory costs one picture.
//!
//! Request: codec (1 byte), number of parameter sets (1 byte), the sets and then the key frame, each
//! with a four-byte length. Answer: 0, or 1 and width, height of the picture, columns, rows of the
//! grid (four bytes each) and the cells. All numbers big-endian.

use std::io::{self, Read, Write};
use std::process::Stdio;

use agent_media::{Grid, Picture, VideoCodec, VideoParameters};
use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// An 8K key frame at high quality has half of it.
const LARGEST: usize = 32 << 20;
/// VPS, SPS and PPS, and room for cameras that have several.
const MOST_SETS: usize = 16;
const NOTHING: u8 = 0;
const GRID: u8 = 1;

/// The parent's end. Dropping it ends the child.
#[derive(Debug)]
pub(crate) struct Decoder {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Decoder {
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("decode")
            // It needs nothing of ours, and no secret in the environment either.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self {
            _child: child,
            input,
            output,
        })
    }

    /// The picture's grid; `None` if the frame cannot be decoded. After an error or when cancelled,
    /// the decoder is of no more use.
    pub(crate) async fn grid(
        &mut self,
        video: &VideoParameters,
        data: &[u8],
    ) -> io::Result<Option<Grid>> {
        self.input.write_all(&head(video)).await?;
        self.input.write_all(&length(data)).await?;
        self.input.write_all(data).await?;
        self.input.flush().await?;
        if self.output.read_u8().await? == NOTHING {
            return Ok(None);
        }
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = usize::try_from(self.output.read_u32().await?).unwrap_or(usize::MAX);
        }
        let [width, height, columns, rows] = numbers;
        if columns > Grid::COLUMNS || rows > Grid::ROWS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut luma = vec![0; columns * rows];
        self.output.read_exact(&mut luma).await?;
        let cells = Picture {
            width: columns,
            height: rows,
            stride: columns,
            luma,
        };
        Ok(Some(Grid {
            cells,
            width,
            height,
        }))
    }
}

fn head(video: &VideoParameters) -> Vec<u8> {
    let sets = video
        .parameter_sets
        .get(..MOST_SETS)
        .unwrap_or(&video.parameter_sets);
    let codec = match video.codec {
        VideoCodec::H264 => 4,
        VideoCodec::H265 => 5,
    };
    let mut head = vec![codec, u8::try_from(sets.len()).unwrap_or(0)];
    for set in sets {
        head.extend_from_slice(&length(set));
        head.extend_from_slice(set);
    }
    head
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// The child: answers until its input ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    // A decoder that hangs does not see its input end.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask to end with the agent")?;
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        let mut codec = [0];
        if input.read(&mut codec)? == 0 {
            return Ok(());
        }
        let codec = match codec {
            [4] => VideoCodec::H264,
            [5] => VideoCodec::H265,
            [other] => anyhow::bail!("there is no codec {other}"),
        };
        let mut count = [0];
        input.read_exact(&mut count)?;
        let [count] = count;
        let sets = (0..count)
            .map(|_| read(&mut input))
            .collect::<io::Result<Vec<_>>>()?;
        let data = read(&mut input)?;
        match luma(codec, &sets, &data).map(|picture| Grid::of(&picture)) {
            Err(_) => output.write_all(&[NOTHING])?,
            Ok(grid) => write(&mut output, &grid)?,
        }
        output.flush()?;
    }
}

fn read(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write(output: &mut impl Write, grid: &Grid) -> io::Result<()> {
    let cells = &grid.cells;
    let mut answer = vec![GRID];
    for number in [grid.width, grid.height, cells.width, cells.height] {
        answer.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    }
    for y in 0..cells.height {
        answer.extend_from_slice(cells.row(y));
    }
    output.write_all(&answer)
}

fn luma(_: VideoCodec, _: &[Vec<u8>], _: &[u8]) -> Result<Picture, ()> {
    Err(())
}
