//! Renders the built-in scene and encodes it with ffmpeg (libx264).
//!
//! Made by: `cargo run -p agent-camera --example generate_scene -- agent/camera/assets/scene.mp4`
//! (Debian 12's ffmpeg 5.1). Nothing in it comes from elsewhere: a textured wall and floor, a
//! figure that enters after 2 s, crosses and leaves at 8 s (so the loop has quiet parts for a
//! motion detector), and in the corner the clip's own time, `SS.FF` (second, frame).
//!
//! 640x360, 25 fps, 250 frames, H.264 Main without B-frames, a key frame every second.

use std::error::Error;
use std::io::Write;
use std::process::{Command, Stdio};

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const RATE: usize = 25;
const FRAMES: usize = 10 * RATE;

/// First and one past the last frame that shows the figure.
const CROSSING: std::ops::Range<usize> = 2 * RATE..8 * RATE;
const FIGURE: (usize, usize) = (44, 130);

/// Digits in five rows of three bits, the point last.
const GLYPHS: [[u8; 5]; 11] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b011, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b010, 0b010, 0b010],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
    [0b000, 0b000, 0b000, 0b000, 0b010],
];
/// Pixels per font dot.
const DOT: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let output = std::env::args()
        .nth(1)
        .ok_or("usage: generate_scene OUTPUT.mp4")?;
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"])
        .args([
            "-s",
            &format!("{WIDTH}x{HEIGHT}"),
            "-r",
            &RATE.to_string(),
            "-i",
            "-",
        ])
        .args([
            "-c:v",
            "libx264",
            "-profile:v",
            "main",
            "-preset",
            "slow",
            "-bf",
            "0",
        ])
        // With one thread x264's rate control makes the same file every time.
        .args(["-threads", "1"])
        .args(["-b:v", "290k", "-maxrate", "400k", "-bufsize", "400k"])
        .args([
            "-x264-params",
            "keyint=25:min-keyint=25:scenecut=0:bframes=0",
        ])
        // Bit-exact: no encoder version or date in the file, so that it can be made again.
        .args([
            "-fflags",
            "+bitexact",
            "-flags:v",
            "+bitexact",
            "-movflags",
            "+faststart",
        ])
        .arg(&output)
        .stdin(Stdio::piped())
        .spawn()?;
    let mut pipe = ffmpeg.stdin.take().ok_or("ffmpeg has no standard input")?;
    for frame in 0..FRAMES {
        pipe.write_all(&render(frame))?;
    }
    drop(pipe);
    let status = ffmpeg.wait()?;
    if !status.success() {
        return Err(format!("ffmpeg ended with {status}").into());
    }
    Ok(())
}

/// One picture as planar YUV 4:2:0.
fn render(frame: usize) -> Vec<u8> {
    let mut luma = vec![0; WIDTH * HEIGHT];
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            luma[y * WIDTH + x] = background(x, y);
        }
    }
    let mut chroma = [
        vec![124_u8; WIDTH * HEIGHT / 4],
        vec![130_u8; WIDTH * HEIGHT / 4],
    ];
    if CROSSING.contains(&frame) {
        draw_figure(frame, &mut luma, &mut chroma);
    }
    draw_time(frame, &mut luma);
    let [blue, red] = chroma;
    [luma, blue, red].concat()
}

/// A wall with bricks above a floor that brightens towards the viewer.
fn background(x: usize, y: usize) -> u8 {
    let horizon = HEIGHT * 5 / 8;
    let grain = level(noise(x / 2, y / 2) % 9);
    if y >= horizon {
        return 70 + level((y - horizon) / 3) + grain;
    }
    let row = y / 24;
    let shift = if row.is_multiple_of(2) { 0 } else { 28 };
    let joint = y.is_multiple_of(24) || (x + shift).is_multiple_of(56);
    let brick = level(noise((x + shift) / 56, row) % 24);
    if joint { 90 } else { 120 + brick + grain }
}

/// A dark body with a light head that swings a little as it walks from left to right.
fn draw_figure(frame: usize, luma: &mut [u8], chroma: &mut [Vec<u8>; 2]) {
    let (width, height) = FIGURE;
    let step = frame - CROSSING.start;
    // Enters from outside on the left and leaves on the right.
    let right = step * (WIDTH + width) / CROSSING.len();
    let bob = [0, 2, 4, 2][step / 3 % 4];
    let top = HEIGHT * 5 / 8 - 60 + bob;
    for row in 0..height {
        for column in 0..width {
            let Some(x) = (right + column).checked_sub(width).filter(|x| *x < WIDTH) else {
                continue;
            };
            let head = row < 30;
            let inside = if head {
                (column.abs_diff(width / 2)).pow(2) + row.abs_diff(15).pow(2) < 15 * 15
            } else {
                // Legs part and close.
                row < 85 || column.abs_diff(width / 2) > bob * 2
            };
            if inside {
                let y = top + row;
                luma[y * WIDTH + x] = if head {
                    205
                } else {
                    35 + level(noise(column / 4, row / 4) % 12)
                };
                let half = y / 2 * (WIDTH / 2) + x / 2;
                chroma[0][half] = if head { 110 } else { 150 };
                chroma[1][half] = if head { 150 } else { 120 };
            }
        }
    }
}

/// Writes `SS.FF` in white on black in the upper left corner.
fn draw_time(frame: usize, luma: &mut [u8]) {
    let (second, rest) = (frame / RATE, frame % RATE);
    let text = [second / 10, second % 10, 10, rest / 10, rest % 10];
    for (index, glyph) in text.into_iter().enumerate() {
        for row in 0..7 * DOT {
            for column in 0..4 * DOT {
                // A border of one dot above, below and on the left of each glyph.
                let line = (row / DOT)
                    .checked_sub(1)
                    .and_then(|line| GLYPHS[glyph].get(line));
                let bit = (column / DOT).checked_sub(1).map(|dot| 2 - dot);
                let lit = matches!((line, bit), (Some(line), Some(bit)) if line >> bit & 1 == 1);
                let x = 12 + index * 4 * DOT + column;
                luma[(12 + row) * WIDTH + x] = if lit { 235 } else { 16 };
            }
        }
    }
}

/// The same number for the same place in every frame, so that the background stands still.
fn noise(x: usize, y: usize) -> usize {
    let mut value = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b);
    value ^= value >> 13;
    value = value.wrapping_mul(0xc2b2_ae35) & 0xffff_ffff;
    value ^ (value >> 16)
}

fn level(value: usize) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}
