//! How much room a disk has.

use std::io;

use camino::Utf8Path;

/// Default of `reserve_bytes`: 2 % of the disk, at most 4 GiB.
const RESERVE_PART: u64 = 50;
const LARGEST_RESERVE: u64 = 4 << 30;

/// Bytes of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What an unprivileged process may still write.
    pub free: u64,
    pub total: u64,
}

impl Disk {
    pub fn read(path: &Utf8Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path.as_std_path())?;
        let unit = if stat.f_frsize == 0 {
            stat.f_bsize
        } else {
            stat.f_frsize
        };
        Ok(Self {
            free: stat.f_bavail.saturating_mul(unit),
            total: stat.f_blocks.saturating_mul(unit),
        })
    }

    /// Free space that is left to others where nothing is configured.
    pub fn default_reserve(self) -> u64 {
        (self.total / RESERVE_PART).min(LARGEST_RESERVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_two_percent_and_capped() {
        assert_eq!(
            Disk {
                free: 0,
                total: 100 << 20
            }
            .default_reserve(),
            2 << 20
        );
        assert_eq!(
            Disk {
                free: 0,
                total: 8 << 40
            }
            .default_reserve(),
            LARGEST_RESERVE
        );
    }
}
