//! A program that goes into an image, and what its own header says of it.

use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{OwnImage, Platform};

/// A static program of ours.
#[derive(Debug, Clone)]
pub struct Program {
    pub image: OwnImage,
    pub platform: Platform,
    pub content: Vec<u8>,
}

/// Why a file cannot be an image's program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("cannot read the program `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("`{0}` is neither `stakeout-agent` nor `stakeout-vault`")]
    Name(Utf8PathBuf),
    #[error("`{path}` cannot be used")]
    Elf { path: Utf8PathBuf, source: ElfError },
}

/// What is wrong with a program's header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("it is no 64-bit little-endian ELF program")]
    NoElf,
    #[error("its machine {0} is neither x86-64 (62) nor AArch64 (183)")]
    Machine(u16),
    #[error("it is linked dynamically, and an image has no libraries")]
    Dynamic,
}

impl Program {
    /// Reads a program; its file name tells the image, its header the platform.
    pub fn read(path: &Utf8Path) -> Result<Self, ProgramError> {
        let named = |image: &OwnImage| path.file_name() == Some(image.program());
        let image = OwnImage::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| ProgramError::Name(path.to_owned()))?;
        let content = fs::read(path).map_err(|source| ProgramError::Read {
            path: path.to_owned(),
            source,
        })?;
        let platform = platform_of(&content).map_err(|source| ProgramError::Elf {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            image,
            platform,
            content,
        })
    }
}

/// Offsets of the ELF-64 header (System V ABI, "ELF Header").
const MACHINE: usize = 18;
const SEGMENTS_AT: usize = 32;
const SEGMENT_SIZE: usize = 54;
const SEGMENT_COUNT: usize = 56;
/// Type of the segment that names the dynamic loader.
const PT_INTERP: u32 = 3;

fn platform_of(elf: &[u8]) -> Result<Platform, ElfError> {
    // Magic, ELFCLASS64, ELFDATA2LSB.
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return Err(ElfError::NoElf);
    }
    let platform = match u16_at(elf, MACHINE)? {
        62 => Platform::Amd64,
        183 => Platform::Arm64,
        other => return Err(ElfError::Machine(other)),
    };
    let start = usize::try_from(u64_at(elf, SEGMENTS_AT)?).map_err(|_| ElfError::NoElf)?;
    let size = usize::from(u16_at(elf, SEGMENT_SIZE)?);
    for number in 0..usize::from(u16_at(elf, SEGMENT_COUNT)?) {
        let at = start.checked_add(number * size).ok_or(ElfError::NoElf)?;
        if u32_at(elf, at)? == PT_INTERP {
            return Err(ElfError::Dynamic);
        }
    }
    Ok(platform)
}

fn bytes_at<const N: usize>(elf: &[u8], at: usize) -> Result<[u8; N], ElfError> {
    let bytes = elf.get(at..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().ok_or(ElfError::NoElf)
}

fn u16_at(elf: &[u8], at: usize) -> Result<u16, ElfError> {
    bytes_at(elf, at).map(u16::from_le_bytes)
}

fn u32_at(elf: &[u8], at: usize) -> Result<u32, ElfError> {
    bytes_at(elf, at).map(u32::from_le_bytes)
}

fn u64_at(elf: &[u8], at: usize) -> Result<u64, ElfError> {
    bytes_at(elf, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header with one segment.
    pub(crate) fn elf(machine: u16, segment: u32) -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[MACHINE..MACHINE + 2].copy_from_slice(&machine.to_le_bytes());
        elf[SEGMENTS_AT] = 64;
        elf[SEGMENT_SIZE] = 56;
        elf[SEGMENT_COUNT] = 1;
        elf.extend(segment.to_le_bytes());
        elf.extend([0; 52]);
        elf
    }

    #[test]
    fn a_header_tells_the_platform() {
        assert_eq!(platform_of(&elf(62, 1)), Ok(Platform::Amd64));
        assert_eq!(platform_of(&elf(183, 1)), Ok(Platform::Arm64));
        assert_eq!(platform_of(&elf(243, 1)), Err(ElfError::Machine(243)));
    }

    #[test]
    fn a_program_that_wants_libraries_is_refused() {
        assert_eq!(platform_of(&elf(62, PT_INTERP)), Err(ElfError::Dynamic));
        // The test itself is one.
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(platform_of(&this), Err(ElfError::Dynamic));
    }

    #[test]
    fn what_is_cut_off_or_no_program_is_refused() {
        let whole = elf(62, 1);
        for length in 0..68 {
            assert_eq!(platform_of(&whole[..length]), Err(ElfError::NoElf));
        }
        let mut far = whole;
        far[SEGMENTS_AT..SEGMENTS_AT + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(platform_of(&far), Err(ElfError::NoElf));
    }

    #[test]
    fn a_file_with_another_name_is_refused() {
        let error = Program::read(Utf8Path::new("a/stakeout")).unwrap_err();
        assert!(matches!(error, ProgramError::Name(_)), "{error}");
    }
}
