//! The places of this machine in which the backbone searches. No other code here reads the
//! environment.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Name of the application's own folders under the user's data and cache folders.
const APP: &str = "kaizen-edge";

/// Folders and variables of the process, read once, so that searches are functions of their
/// arguments.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// `ORT_DYLIB_PATH`.
    pub(super) ort_dylib_path: Option<PathBuf>,
    /// `$XDG_DATA_HOME/kaizen-edge`, else `~/.local/share/kaizen-edge`.
    pub(super) data_dir: Option<PathBuf>,
    /// `$XDG_CACHE_HOME/kaizen-edge`, else `~/.cache/kaizen-edge`.
    pub(super) cache_dir: Option<PathBuf>,
    /// `~/.local`, where `pip install --user` puts packages.
    pub(super) user_prefix: Option<PathBuf>,
    /// `VIRTUAL_ENV`, the active Python environment.
    pub(super) virtual_env: Option<PathBuf>,
    /// The working directory.
    pub(super) current_dir: PathBuf,
    /// `CARGO_MANIFEST_DIR`, the crate that cargo runs or tests.
    pub(super) cargo_dir: Option<PathBuf>,
    /// The folder that this crate was built from.
    pub(super) source_dir: PathBuf,
    /// Folder of the running program.
    pub(super) program_dir: Option<PathBuf>,
    /// `/`; another folder in tests.
    pub(super) system_root: PathBuf,
}

impl Environment {
    /// Returns the environment of this process.
    pub(super) fn of_process() -> Result<Self> {
        let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = folder("HOME");
        let under_home = |relative: &str| home.as_ref().map(|h| h.join(relative));
        let base = |variable: &str, relative: &str| {
            // A relative XDG path is to be ignored (XDG Base Directory Specification).
            folder(variable).filter(|p| p.is_absolute()).or_else(|| under_home(relative)).map(|p| p.join(APP))
        };
        Ok(Self {
            ort_dylib_path: folder("ORT_DYLIB_PATH"),
            data_dir: base("XDG_DATA_HOME", ".local/share"),
            cache_dir: base("XDG_CACHE_HOME", ".cache"),
            user_prefix: under_home(".local"),
            virtual_env: folder("VIRTUAL_ENV"),
            current_dir: std::env::current_dir().map_err(Error::io("."))?,
            cargo_dir: folder("CARGO_MANIFEST_DIR"),
            source_dir: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            program_dir: std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_path_buf)),
            system_root: PathBuf::from("/"),
        })
    }

    /// Returns the folder where TensorRT keeps what it built for `key`.
    pub(super) fn tensorrt_cache(&self, key: &str) -> Option<PathBuf> {
        self.cache_dir.as_ref().map(|dir| dir.join("tensorrt").join(key))
    }

    /// Returns whether this is an NVIDIA Jetson.
    pub(super) fn is_jetson(&self) -> bool {
        self.system_root.join("etc/nv_tegra_release").exists()
    }

    /// Returns whether an NVIDIA driver is loaded.
    pub(super) fn has_nvidia_driver(&self) -> bool {
        ["dev/nvidiactl", "proc/driver/nvidia/version", "dev/nvhost-gpu", "dev/nvmap"]
            .iter()
            .any(|place| self.system_root.join(place).exists())
    }
}

#[cfg(test)]
impl Environment {
    /// Environment below `root` only, none of which need exist.
    pub(super) fn below(root: &Path) -> Self {
        Self {
            ort_dylib_path: None,
            data_dir: Some(root.join("data")),
            cache_dir: Some(root.join("cache")),
            user_prefix: Some(root.join("user")),
            virtual_env: Some(root.join("venv")),
            current_dir: root.join("cwd"),
            cargo_dir: Some(root.join("crate")),
            source_dir: root.join("source"),
            program_dir: Some(root.join("repo/target/release/examples")),
            system_root: root.join("system"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_this_process_are_absolute() {
        let environment = Environment::of_process().unwrap();
        assert!(environment.current_dir.is_absolute());
        assert!(environment.cache_dir.is_none_or(|p| p.is_absolute() && p.ends_with(APP)));
        assert!(environment.data_dir.is_none_or(|p| p.is_absolute() && p.ends_with(APP)));
    }

    #[test]
    fn jetson_and_driver_are_known_by_their_files() {
        let root = tempfile::tempdir().unwrap();
        let environment = Environment::below(root.path());
        assert!(!environment.is_jetson() && !environment.has_nvidia_driver());
        for file in ["etc/nv_tegra_release", "dev/nvmap"] {
            let path = environment.system_root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert!(environment.is_jetson() && environment.has_nvidia_driver());
    }
}
