//! Files that are either whole or untouched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Temporary names tried before giving up; each is taken only by a writer that was killed or runs now.
const ATTEMPTS: u32 = 64;

/// Writes `bytes` to `path` through a temporary file in the same folder, synced and then renamed over `path`.
///
/// # Errors
/// [`Error::Io`] naming `path`; the temporary file is removed and an existing file at `path` is left as it was.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    replace(path, bytes).map_err(Error::io(path))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (file, temporary) = create_beside(path)?;
    let written = fill(file, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        return Err(match fs::remove_file(&temporary) {
            Ok(()) => error,
            Err(left) => {
                io::Error::new(error.kind(), format!("{error}; {} is left: {left}", temporary.display()))
            }
        });
    }
    sync_folder(path)
}

fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    for attempt in 0..ATTEMPTS {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "every temporary name beside it is taken: remove its *.tmp files",
    ))
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the rename itself durable; only Unix lets a folder be opened for that.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
