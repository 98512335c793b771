//! Keeps a complaint about displays off standard error.
//!
//! wgpu enables the Vulkan extensions of every window system, so Mesa's device-select layer asks
//! for a Wayland server whenever adapters are enumerated. On a machine without a display libwayland
//! then writes that `XDG_RUNTIME_DIR` is not set, which says nothing about a program that draws
//! nothing.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds back what is written to standard error while it lives, and writes it afterwards without
/// the complaint.
pub(super) struct HeldBack {
    standard_error: OwnedFd,
    held: File,
    _alone: MutexGuard<'static, ()>,
}

impl HeldBack {
    /// Begins where libwayland would complain. The complaint stays if standard error cannot be
    /// held.
    pub(super) fn where_no_display_is() -> Option<Self> {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        if folder.is_some_and(|folder| folder.is_absolute()) { None } else { Self::begin().ok() }
    }

    fn begin() -> std::io::Result<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let held = tempfile::tempfile()?;
        let standard_error = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        rustix::stdio::dup2_stderr(&held)?;
        Ok(Self { standard_error, held, _alone: alone })
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // Nobody can be told that standard error cannot be given back or written.
        let _ = rustix::stdio::dup2_stderr(&self.standard_error);
        let _ = self.held.rewind();
        let lines = BufReader::new(&self.held).split(b'\n').map_while(Result::ok);
        for line in lines.filter(|line| !line.starts_with(b"error: XDG_RUNTIME_DIR ")) {
            let _ = std::io::stderr().write_all(&[&line[..], b"\n"].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_meanwhile_follows_but_for_the_complaint() {
        let mut seen = tempfile::tempfile().unwrap();
        let own = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).unwrap();
        rustix::stdio::dup2_stderr(&seen).unwrap();
        let write = |text: &str| rustix::io::write(rustix::stdio::stderr(), text.as_bytes()).unwrap();
        write("before\n");
        let held = HeldBack::begin().unwrap();
        write("error: XDG_RUNTIME_DIR is invalid or not set in the environment.\nanother\n");
        drop(held);
        write("after\n");
        rustix::stdio::dup2_stderr(&own).unwrap();
        seen.rewind().unwrap();
        let lines: Vec<_> = BufReader::new(&mut seen).lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["before", "another", "after"]);
    }
}
