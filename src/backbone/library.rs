//! Finding the ONNX Runtime library on this machine, and loading it once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::environment::Environment;
use super::provider::one_line;

/// The oldest ONNX Runtime 1.x that can be used.
const OLDEST_MINOR: u32 = 17;

/// The loaded library with its one environment.
pub(super) struct Runtime {
    pub(super) environment: ort::environment::Environment,
    pub(super) path: PathBuf,
    /// The version, e.g. `1.31.1`.
    pub(super) version: String,
    /// The minor version, e.g. 31.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only CUDA's options depend on it"))]
    pub(super) minor: u32,
}

impl Runtime {
    /// Returns name and version.
    pub(super) fn name(&self) -> String {
        format!("ONNX Runtime {}", self.version)
    }
}

/// The one ONNX Runtime environment of the process, or the one reason why it has none.
static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();

/// Returns the runtime of this process, which is found and loaded at the first call and then kept.
pub(super) fn runtime(
    explicit: Option<&Path>,
    environment: &Environment,
) -> Result<&'static Runtime, String> {
    if let Some(kept) = RUNTIME.get() {
        return kept_runtime(kept, explicit, environment);
    }
    let found = search(explicit, environment, &probe)?;
    kept_runtime(RUNTIME.get_or_init(|| start(found)), explicit, environment)
}

fn kept_runtime(
    kept: &'static Result<Runtime, String>,
    explicit: Option<&Path>,
    environment: &Environment,
) -> Result<&'static Runtime, String> {
    let runtime = kept.as_ref().map_err(Clone::clone)?;
    match explicit.map(|path| canonical(&environment.current_dir.join(path))) {
        Some(asked) if asked != runtime.path => Err(format!(
            "this process has another ONNX Runtime: {} is loaded; start a new process for {}",
            runtime.path.display(),
            asked.display()
        )),
        _ => Ok(runtime),
    }
}

fn start(found: Found) -> Result<Runtime, String> {
    let failed =
        |what: &dyn std::fmt::Display| format!("ONNX Runtime cannot start: {}: {what}", found.path.display());
    let builder = ort::init_from(&found.path).map_err(|e| failed(&e))?;
    let environment =
        builder.with_name("kaizen-edge").with_telemetry(false).build().map_err(|e| failed(&e))?;
    let version = version_of(&found);
    Ok(Runtime { environment, path: found.path, version, minor: found.minor })
}

/// Returns the full version if the file name has it (`libonnxruntime.so.1.31.1`); the probe knows
/// the minor one only.
fn version_of(found: &Found) -> String {
    let minor = format!("1.{}", found.minor);
    let name = found.path.file_name().unwrap_or_default().to_string_lossy();
    match name.split_once(".so.") {
        Some((_, version)) if version == minor || version.starts_with(&format!("{minor}.")) => version.into(),
        _ => minor,
    }
}

/// A library that answers a call.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    minor: u32,
}

/// Returns the minor version of the ONNX Runtime library at a path, if it is one.
fn probe(path: &Path) -> Option<u32> {
    ort::util::probe(path)
}

/// Returns the first library that answers. A path that was asked for, by option or variable, is not
/// replaced by another.
fn search(
    explicit: Option<&Path>,
    environment: &Environment,
    probe: &dyn Fn(&Path) -> Option<u32>,
) -> Result<Found, String> {
    let asked = match (explicit, &environment.ort_dylib_path) {
        (Some(path), _) => Some(("--ort-lib", path)),
        (None, Some(path)) => Some(("ORT_DYLIB_PATH", path.as_path())),
        (None, None) => None,
    };
    if let Some((by, path)) = asked {
        let path = environment.current_dir.join(path);
        return examine(&path, probe).map_err(|why| {
            let (place, command) = (path.display(), install_command(environment));
            one_line(&format!(
                "no ONNX Runtime at {place} (from {by}): {why}; correct the path, or {command}"
            ))
        });
    }
    let mut tried = Vec::new();
    for folder in folders(environment) {
        let libraries = libraries_in(&folder);
        if libraries.is_empty() {
            tried.push(folder.display().to_string());
        }
        for library in libraries {
            match examine(&library, probe) {
                Ok(found) => return Ok(found),
                Err(why) => tried.push(format!("{} ({why})", library.display())),
            }
        }
    }
    let command = install_command(environment);
    Err(one_line(&format!("no ONNX Runtime library found; looked in {}; {command}", tried.join(", "))))
}

fn examine(path: &Path, probe: &dyn Fn(&Path) -> Option<u32>) -> Result<Found, String> {
    if !path.is_file() {
        return Err("there is no such file".into());
    }
    let path = canonical(path);
    match probe(&path) {
        None => Err("it is not a loadable ONNX Runtime 1.x library".into()),
        Some(minor) if minor < OLDEST_MINOR => {
            Err(format!("it is version 1.{minor}, needed is 1.{OLDEST_MINOR} or newer"))
        }
        Some(minor) => Ok(Found { path, minor }),
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Returns the folders that are searched when no path is given, in order. None depends on the
/// current folder, so whoever may write there cannot have a library run.
fn folders(environment: &Environment) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = environment.data_dir.iter().cloned().collect();
    let system = |relative: &str| environment.system_root.join(relative);
    let prefixes = environment.user_prefix.iter().cloned().chain([system("usr/local"), system("usr")]);
    for prefix in environment.virtual_env.iter().cloned().chain(prefixes) {
        folders.extend(wheel_folders(&prefix.join("lib")));
    }
    let triple = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    folders.extend([system("usr/lib"), system(&triple), system("usr/local/lib")]);
    folders
}

/// Returns each `lib/python3*/{site,dist}-packages/onnxruntime/capi` that exists under a Python
/// prefix.
fn wheel_folders(lib: &Path) -> Vec<PathBuf> {
    let pythons = sorted_entries(lib, |name| name.starts_with("python3"));
    let packages =
        pythons.iter().flat_map(|python| ["site-packages", "dist-packages"].map(|p| python.join(p)));
    packages.map(|p| p.join("onnxruntime/capi")).filter(|folder| folder.is_dir()).collect()
}

/// Returns `libonnxruntime.so` and `libonnxruntime.so.*` of a folder: the plain name first, then
/// from new to old.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found =
        sorted_entries(folder, |name| name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so."));
    found.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let numbers: Vec<u32> = name.split('.').filter_map(|part| part.parse().ok()).collect();
        (!numbers.is_empty(), std::cmp::Reverse(numbers))
    });
    found
}

/// Returns the entries of a folder whose names are to be kept, sorted; none of a folder that cannot
/// be read.
pub(super) fn sorted_entries(folder: &Path, keep: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| keep(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// Returns the command that puts a library on this machine.
fn install_command(environment: &Environment) -> String {
    let x86 = std::env::consts::ARCH == "x86_64";
    if environment.is_jetson() {
        "install NVIDIA's `onnxruntime-gpu` wheel for this JetPack (Jetson AI Lab's package index: `pip3 install \
         onnxruntime-gpu --index-url <that index>`)"
            .into()
    } else if x86 && environment.has_nvidia_driver() {
        "run `pip install onnxruntime-gpu[cuda,cudnn]`".into()
    } else {
        "run `pip install onnxruntime`".into()
    }
}

#[cfg(test)]
mod tests;
