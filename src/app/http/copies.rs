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
    /// Copies of `state` in `folder`, which must be there: a folder that is made where a disk is
    /// not mounted would fill the wrong one.
    ///
    /// # Errors
    /// [`Error::Config`] if it is no folder.
    pub(crate) fn into_folder(folder: &Path, state: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::config("backup-folder", folder.display(), "a folder that is there"));
        }
        Ok(Self { folder: folder.to_path_buf(), state: state.to_path_buf(), making: Mutex::new(()) })
    }

    /// Makes a copy, verified and whole, and drops the oldest ones of which there are too many.
    ///
    /// # Errors
    /// As [`Memory::backup`], and [`Error::NotReady`] while another copy is being made.
    pub(super) fn make(&self) -> Result<BackupReport> {
        let Ok(_one) = self.making.try_lock() else {
            return Err(Error::not_ready("a copy of the state", "another one is being made", "wait for it"));
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (stem, millis) = (self.stem(), since.as_millis());
        let path = self.folder.join(format!("{stem}{millis:013}{ENDING}"));
        let report = Memory::open_read_only(&self.state)?.backup(&path)?;
        for old in self.made()?.iter().rev().skip(KEPT) {
            std::fs::remove_file(old).map_err(Error::io(old))?;
        }
        Ok(report)
    }

    /// The beginning of a copy's name.
    fn stem(&self) -> String {
        let name = self.state.file_name().unwrap_or(self.state.as_os_str());
        format!("{}-", name.to_string_lossy())
    }

    /// The copies of this state that are there, the oldest first.
    fn made(&self) -> Result<Vec<PathBuf>> {
        let stem = self.stem();
        let is_copy = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let number = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(ENDING));
            number
                .is_some_and(|number| number.len() == 13 && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io(&self.folder))?;
        let mut made: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_copy).collect();
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
        let old: Vec<_> = (0..KEPT + 2).map(|number| format!("cups.db-{number:013}.backup")).collect();
        for name in old.iter().map(String::as_str).chain(others) {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let copies = Copies::into_folder(folder.path(), &state).unwrap();
        let report = copies.make().unwrap();
        let kept = copies.made().unwrap();
        assert_eq!((kept.len(), kept.last()), (KEPT, Some(&report.path)));
        assert_eq!(kept[0].file_name().unwrap().to_str().unwrap(), old[3]);
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
        assert_eq!(Memory::open_existing(&report.path).unwrap().identity(), &identity);
        assert!(Copies::into_folder(&folder.path().join("nowhere"), &state).is_err());
        let _making = copies.making.lock().unwrap();
        assert!(matches!(copies.make(), Err(Error::NotReady { .. })));
    }
}
