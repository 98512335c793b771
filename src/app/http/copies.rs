//! Copies of the state, made on request in one folder.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::memory::{BackupReport, Memory};
use crate::{Error, Result};

/// The copies that are kept; an older one goes when a new one is whole.
const KEPT: usize = 7;
/// The ending of a copy's name.
const ENDING: &str = ".backup";

/// The folder for copies of one state.
pub(crate) struct Copies {
    folder: PathBuf,
    state: PathBuf,
    /// One copy is made at a time.
    making: Mutex<()>,
}

impl Copies {
    /// Copies of `state` in `folder`. It need not be there yet: a disk may be mounted later. It is
    /// never made, since that would fill the disk below.
    pub(crate) fn into_folder(folder: &Path, state: &Path) -> Self {
        if !folder.is_dir() {
            tracing::warn!(
                event = "backup_folder",
                "warning: {} is no folder now, so copies of the state are refused until it is",
                folder.display()
            );
        }
        Self { folder: folder.to_path_buf(), state: state.to_path_buf(), making: Mutex::new(()) }
    }

    /// Makes a copy, verified and whole, and drops the oldest ones of which there are too many.
    ///
    /// # Errors
    /// As [`Memory::backup`], [`Error::NotReady`] while another copy is being made, and
    /// [`Error::Refused`] if the folder is not there.
    pub(super) fn make(&self) -> Result<BackupReport> {
        let Ok(_one) = self.making.try_lock() else {
            return Err(Error::not_ready("a copy of the state", "another one is being made", "wait for it"));
        };
        if !self.folder.is_dir() {
            let reason = format!("{} is no folder", self.folder.display());
            return Err(Error::refused("a copy of the state", reason, "mount or make it"));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now, made) = (u64::try_from(since.as_millis()).unwrap_or(0), self.made()?);
        // A clock that was set back must not make the newest copy the oldest.
        let number = made.last().map_or(now, |(newest, _)| now.max(newest + 1));
        let path = self.folder.join(format!("{}{number:013}{ENDING}", self.stem()));
        let report = Memory::open_read_only(&self.state)?.backup(&path)?;
        for (_, old) in made.iter().rev().skip(KEPT - 1) {
            if let Err(error) = std::fs::remove_file(old) {
                tracing::warn!(event = "backup_kept", "{} cannot be removed: {error}", old.display());
            }
        }
        Ok(report)
    }

    /// The beginning of a copy's name.
    fn stem(&self) -> String {
        let name = self.state.file_name().unwrap_or(self.state.as_os_str());
        format!("{}-", name.to_string_lossy())
    }

    /// The copies of this state that are there with their numbers, the oldest first.
    fn made(&self) -> Result<Vec<(u64, PathBuf)>> {
        let stem = self.stem();
        let numbered = |path: PathBuf| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let number = name.strip_prefix(&stem)?.strip_suffix(ENDING)?;
            let is_number = number.len() == 13 && number.bytes().all(|byte| byte.is_ascii_digit());
            Some((number.parse().ok().filter(|_| is_number)?, path))
        };
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io(&self.folder))?;
        let mut made: Vec<_> = entries.flatten().filter_map(|entry| numbered(entry.path())).collect();
        made.sort();
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_copies_are_kept_and_no_other_file_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("cups.db");
        let identity = crate::memory::FeatureIdentity {
            backbone_name: "tiny".to_owned(),
            backbone_sha256: "ab".repeat(32),
            feature_width: 2,
            feature_class: "fp32".to_owned(),
            preprocessing: "none".to_owned(),
            cut: None,
        };
        let _memory = Memory::open(Some(&state), &identity).unwrap();
        let others = ["keys.db-0000000000001.backup", "cups.db-1.backup", "cups.db-000000000000x.backup"];
        // The newest is from a time when the clock was ahead.
        let numbers = (0..KEPT as u64 + 1).chain([9_000_000_000_000]);
        let old: Vec<_> = numbers.map(|number| format!("cups.db-{number:013}.backup")).collect();
        for name in old.iter().map(String::as_str).chain(others) {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let copies = Copies::into_folder(folder.path(), &state);
        let report = copies.make().unwrap();
        let kept = copies.made().unwrap();
        assert_eq!((kept.len(), kept.last().unwrap().0), (KEPT, 9_000_000_000_001));
        assert_eq!(kept.last().unwrap().1, report.path);
        assert_eq!(kept[0].1.file_name().unwrap().to_str().unwrap(), old[3]);
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
        assert_eq!(Memory::open_existing(&report.path).unwrap().identity(), &identity);
        let later = Copies::into_folder(&folder.path().join("later"), &state);
        assert!(later.make().unwrap_err().to_string().contains("mount"), "it is not made");
        std::fs::create_dir(folder.path().join("later")).unwrap();
        later.make().unwrap();
        let _making = copies.making.lock().unwrap();
        assert!(matches!(copies.make(), Err(Error::NotReady { .. })));
    }
}
