//! The folder in which TensorRT keeps the engines that it built.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// File that lists the engines of the folder with their sizes, once they are on disk.
const COMPLETE: &str = "whole";

/// A folder of engines that is this process's own until it is dropped. TensorRT writes in place, so
/// an engine that was being written when the power went must not be taken for a whole one, and two
/// processes must not write at once.
pub(super) struct EngineFolder {
    path: PathBuf,
    _lock: File,
}

impl EngineFolder {
    /// Waits for another process that builds there, then empties the folder unless its engines are
    /// the ones that were whole.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = File::create(beside)?;
        lock.lock()?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        if !Self::is_complete(path) {
            std::fs::remove_dir_all(path)?;
            std::fs::create_dir_all(path)?;
        }
        Ok(folder)
    }

    /// Returns whether a folder holds engines that were whole; takes no lock.
    pub(super) fn is_complete(path: &Path) -> bool {
        let listed = std::fs::read_to_string(path.join(COMPLETE)).ok();
        listed.is_some_and(|listed| !listed.is_empty() && listing(path).ok() == Some(listed))
    }

    /// Records that the engines are whole, since one of them answered. TensorRT leaves what it
    /// cannot do to CUDA without a word; an engine on disk shows that it took the graph.
    pub(super) fn finish(&self) -> Result<(), String> {
        let place = self.path.display();
        let fault = |error: std::io::Error| format!("its engine cannot be kept: {error}: {place}");
        let engines = engines(&self.path).map_err(fault)?;
        if engines.is_empty() {
            return Err(format!(
                "it built no engine: {place} is empty, so CUDA would run the graph instead; use `--provider cuda`"
            ));
        }
        self.keep(&engines).map_err(fault)
    }

    /// Puts the engines on disk first, then the list, then the folder's entries.
    fn keep(&self, engines: &[PathBuf]) -> std::io::Result<()> {
        for engine in engines {
            File::open(engine)?.sync_all()?;
        }
        let mut list = File::create(self.path.join(COMPLETE))?;
        list.write_all(listing(&self.path)?.as_bytes())?;
        list.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Records that an engine of the folder does not work, so that the next start builds anew.
    pub(super) fn discard(&self) {
        // Without the list no engine is taken. If it cannot be removed, the next failure tries
        // again.
        let _ = std::fs::remove_file(self.path.join(COMPLETE));
    }
}

/// Returns the engine files of a folder, in order.
fn engines(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "engine"));
    files.sort();
    Ok(files)
}

/// Returns a line for each of them, with size and name.
fn listing(folder: &Path) -> std::io::Result<String> {
    let line = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("{} {name}\n", file.metadata()?.len()))
    };
    engines(folder)?.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_was_not_written_to_its_end_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("0123-ort1.31.1-trt");
        let engine = path.join("main_graph_0_0_sm87.engine");
        let folder = EngineFolder::open(&path).unwrap();
        assert!(folder.finish().is_err() && !EngineFolder::is_complete(&path), "there is no engine to keep");
        std::fs::write(&engine, "half of it").unwrap();
        assert!(!EngineFolder::is_complete(&path));
        drop(folder);
        let folder = EngineFolder::open(&path).unwrap();
        assert!(!engine.exists(), "the process ended before it said that it was whole");
        std::fs::write(&engine, "all of it").unwrap();
        folder.finish().unwrap();
        assert!(EngineFolder::is_complete(&path));
        drop(folder);
        // As after a loss of power: the list is there, the engine's last blocks are not.
        std::fs::write(&engine, "all").unwrap();
        assert!(!EngineFolder::is_complete(&path));
        let folder = EngineFolder::open(&path).unwrap();
        assert!(!engine.exists(), "its size is not the one that was whole");
        std::fs::write(&engine, "all of it").unwrap();
        folder.finish().unwrap();
        // Another process waits until this one is done.
        let lock = File::open(root.path().join("0123-ort1.31.1-trt.lock")).unwrap();
        assert!(lock.try_lock().is_err());
        drop(folder);
        lock.try_lock().unwrap();
        drop(lock);
        drop(EngineFolder::open(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&engine).unwrap(), "all of it");
        EngineFolder::open(&path).unwrap().discard();
        drop(EngineFolder::open(&path).unwrap());
        assert!(!engine.exists(), "it was said not to work");
    }
}
