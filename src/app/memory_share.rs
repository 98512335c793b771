//! `--memory-limit`: what learning and frames may take of it, after what the process has taken so far.

use crate::session::MemoryLimit;
#[cfg(feature = "serve")]
use crate::session::live::FrameRoom;
use crate::{Error, Result};

const MEGABYTE: u64 = 1_000_000;
/// What products of matrices take on each thread besides their operands.
const SCRATCH: u64 = 8 * MEGABYTE;

/// A limit of resident memory, and what the process has taken of it: program, backbone.
#[derive(Clone, Copy)]
pub(super) struct MemoryShare {
    bytes: u64,
    taken: u64,
}

impl MemoryShare {
    /// Of a limit of so many megabytes, now.
    pub(super) fn now(megabytes: u64) -> Result<Self> {
        let refused = || {
            Error::config("memory limit", megabytes, "nothing here: only Linux tells what a process takes")
        };
        let status = std::fs::read_to_string("/proc/self/status").map_err(|_| refused())?;
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or_else(refused)?;
        let kibibytes: u64 = high.trim().trim_end_matches(" kB").parse().map_err(|_| refused())?;
        Ok(Self { bytes: megabytes.saturating_mul(MEGABYTE), taken: kibibytes * 1024 })
    }

    /// For frames: the last ones, and those that wait to be stored.
    #[cfg(feature = "serve")]
    pub(super) fn frames(self) -> FrameRoom {
        let part = |share: u64| usize::try_from(self.bytes / share).unwrap_or(usize::MAX);
        FrameRoom { recent: part(16), waiting: part(64) }
    }

    /// For learning, beside so many bytes of frames.
    pub(super) fn learning(self, frames: u64) -> MemoryLimit {
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        MemoryLimit { bytes: self.bytes, besides: self.taken + SCRATCH * (threads + 1) + frames }
    }
}
