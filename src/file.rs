//! Files that are either whole or untouched.

use std::io::Write as _;
use std::path::Path;

use tempfile::Builder;

use crate::error::{Error, Result};

/// Writes `bytes` to `path` through a temporary file in the same folder, synced and then renamed
/// over `path`.
///
/// # Errors
/// [`Error::Io`] naming `path`; an existing file at `path` is left as it was.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let replace = || -> std::io::Result<()> {
        let mut builder = Builder::new();
        // The rights of a file that is simply created, not those of a secret one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(".kaizen-").suffix(".tmp").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    replace().map_err(Error::io(path))?;
    sync_folder(path)
}

/// Makes a file's entry in its folder durable, where the system lets a folder be opened for that.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failed_write_names_the_place_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("kept"), "kept").unwrap();
        let nowhere = folder.path().join("missing").join("report.html");
        for path in [&taken, &nowhere] {
            match write_atomic(path, b"page") {
                Err(Error::Io { path: named, .. }) => assert_eq!(&named, path),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the folder that was in the way");
        assert_eq!(fs::read_to_string(taken.join("kept")).unwrap(), "kept");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_was_written() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = tempfile::tempdir().unwrap().keep().join("report.json");
        write_atomic(&path, b"{}").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
