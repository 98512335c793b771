//! ONNX Runtime's CUDA and TensorRT providers: whether they can be there, and how they are registered.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ort::ep::ExecutionProviderDispatch;

use super::environment::Environment;
use super::library::Runtime;
use super::onnxruntime::Source;
use super::{BackboneSpec, Provider};

/// What a session registers, and what helps to explain why that failed.
pub(super) struct Registration {
    /// In order of preference; each one's failure is an error.
    pub(super) providers: Vec<ExecutionProviderDispatch>,
    /// Appended to the runtime's own message.
    pub(super) hints: String,
    /// Where TensorRT keeps its engines.
    pub(super) engines: Option<EngineFolder>,
}

/// File that lists the engines of the folder with their sizes, once they are on disk.
const WHOLE: &str = "whole";

/// The folder of TensorRT's engines, this process's own until it is dropped: TensorRT writes in place, so an engine that
/// was being written when the power went must not be taken for a whole one, and two processes must not write at once.
pub(super) struct EngineFolder {
    path: PathBuf,
    _lock: File,
}

impl EngineFolder {
    /// Waits for another process that builds there; empties the folder unless its engines are those that were whole.
    fn open(path: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = File::create(beside)?;
        lock.lock()?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        if !Self::is_whole(path) {
            std::fs::remove_dir_all(path)?;
            std::fs::create_dir_all(path)?;
        }
        Ok(folder)
    }

    /// Whether a folder holds engines that were whole; takes no lock.
    fn is_whole(path: &Path) -> bool {
        let listed = std::fs::read_to_string(path.join(WHOLE)).ok();
        listed.is_some_and(|listed| !listed.is_empty() && listing(path).ok() == Some(listed))
    }

    /// Says that the engines are whole: one of them answered. TensorRT leaves what it cannot do to CUDA without a word; an
    /// engine on disk shows that it took the graph.
    pub(super) fn finish(&self) -> Result<(), String> {
        let told = |error: std::io::Error| format!("{error}: {}", self.path.display());
        let engines = engines(&self.path).map_err(told)?;
        if engines.is_empty() {
            return Err(format!(
                "it built no engine in {}, so CUDA would run the graph instead; use `--provider cuda`",
                self.path.display()
            ));
        }
        self.keep(&engines).map_err(told)
    }

    /// The engines first, then the list, then the folder's entries: so it lies on disk in this order.
    fn keep(&self, engines: &[PathBuf]) -> std::io::Result<()> {
        for engine in engines {
            File::open(engine)?.sync_all()?;
        }
        let mut list = File::create(self.path.join(WHOLE))?;
        list.write_all(listing(&self.path)?.as_bytes())?;
        list.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Says that an engine of the folder does not work: the next start builds anew.
    pub(super) fn discard(&self) {
        // Without the list nothing is taken; if it cannot be removed, the next failure tries again.
        let _ = std::fs::remove_file(self.path.join(WHOLE));
    }
}

/// Engine files of a folder, in order.
fn engines(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "engine"));
    files.sort();
    Ok(files)
}

/// A line for each of them, size and name.
fn listing(folder: &Path) -> std::io::Result<String> {
    let line = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("{} {name}\n", file.metadata()?.len()))
    };
    engines(folder)?.iter().map(line).collect()
}

/// The folder of TensorRT's engines for a model, if there can be one.
fn engine_folder(sha256: &str, runtime: &Runtime, environment: &Environment) -> Option<PathBuf> {
    environment.tensorrt_cache(&format!("{sha256}-ort{}-trt", runtime.version))
}

/// Whether TensorRT has built the engine of a model.
pub(super) fn has_engine(sha256: &str, runtime: &Runtime, environment: &Environment) -> bool {
    engine_folder(sha256, runtime, environment).is_some_and(|folder| EngineFolder::is_whole(&folder))
}

/// Refuses TensorRT where it would take minutes to start. Where it cannot run at all, that is the reason.
pub(super) fn require_engine(
    spec: &BackboneSpec,
    runtime: &Runtime,
    environment: &Environment,
) -> Result<(), String> {
    check_library(Provider::TensorRt, runtime)?;
    if has_engine(&spec.sha256, runtime, environment) {
        return Ok(());
    }
    Err("its engine is not built yet, which takes minutes: run `kaizen warmup`, or ask for `--provider tensorrt`".into())
}

/// Whether `provider` is compiled in and its part of the library is there; cheap, loads nothing.
pub(super) fn check_library(provider: Provider, runtime: &Runtime) -> Result<(), String> {
    let (name, compiled) = match provider {
        Provider::TensorRt => ("tensorrt", cfg!(all(feature = "tensorrt", feature = "cuda"))),
        _ => ("cuda", cfg!(feature = "cuda")),
    };
    if !compiled {
        return Err(not_compiled_in(name));
    }
    if runtime.has_provider(name) {
        return Ok(());
    }
    Err(format!(
        "{} was built without it: no libonnxruntime_providers_{name}.so beside it",
        runtime.describe()
    ))
}

/// The sentence for a provider that this build leaves out.
pub(super) fn not_compiled_in(feature: &str) -> String {
    format!("not compiled in (feature `{feature}`)")
}

/// Registration of `provider` for the model of `source`, whose input is called `input`.
pub(super) fn register(
    provider: Provider,
    source: &Source<'_>,
    input: &str,
    environment: &Environment,
) -> Result<Registration, String> {
    let hints = preload(&source.runtime.path);
    let cuda = cuda(source.runtime)?;
    if provider == Provider::Cuda {
        return Ok(Registration { providers: vec![cuda], hints, engines: None });
    }
    let cache = engine_folder(&source.spec.sha256, source.runtime, environment)
        .ok_or("no folder for its engines: set HOME or XDG_CACHE_HOME")?;
    let engines = EngineFolder::open(&cache)
        .map_err(|e| format!("no folder for its engines: {e}: {}", cache.display()))?;
    let tensorrt = tensorrt(source, input, &cache)?;
    Ok(Registration { providers: vec![tensorrt, cuda], hints, engines: Some(engines) })
}

#[cfg(feature = "cuda")]
#[expect(clippy::unnecessary_wraps, reason = "its twin for builds without the feature fails")]
fn cuda(runtime: &Runtime) -> Result<ExecutionProviderDispatch, String> {
    let cuda = ort::ep::CUDA::default();
    // TF32 rounds to 10 bits, so the features would not be those of the CPU; the switch is there since 1.18.
    let cuda = if runtime.minor >= 18 { cuda.with_tf32(false) } else { cuda };
    Ok(cuda.build().error_on_failure())
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Runtime) -> Result<ExecutionProviderDispatch, String> {
    Err(not_compiled_in("cuda"))
}

#[cfg(feature = "tensorrt")]
#[expect(clippy::unnecessary_wraps, reason = "its twin for builds without the feature fails")]
fn tensorrt(source: &Source<'_>, input: &str, cache: &Path) -> Result<ExecutionProviderDispatch, String> {
    use super::onnxruntime::CHUNK;
    use crate::backbone::manifest::Precision;
    let side = source.spec.input_size;
    // One engine serves every batch within the profile; without it each new batch size builds another.
    let shape = |batch: usize| format!("{input}:{batch}x3x{side}x{side}");
    Ok(ort::ep::TensorRT::default()
        .with_engine_cache(true)
        .with_engine_cache_path(cache.display())
        .with_timing_cache(true)
        .with_timing_cache_path(cache.display())
        .with_profile_min_shapes(shape(1))
        .with_profile_opt_shapes(shape(8))
        .with_profile_max_shapes(shape(CHUNK))
        .with_fp16(source.spec.precision == Precision::Fp16)
        .with_int8(source.spec.precision == Precision::Int8)
        .build()
        .error_on_failure())
}

#[cfg(not(feature = "tensorrt"))]
fn tensorrt(_: &Source<'_>, _: &str, _: &Path) -> Result<ExecutionProviderDispatch, String> {
    Err(not_compiled_in("tensorrt"))
}

/// Loads the NVIDIA libraries that pip put beside an `onnxruntime-gpu` wheel: the system's loader does not look there.
/// Returns what could not be loaded, as the end of a sentence.
fn preload(library: &Path) -> String {
    let failure = |path: PathBuf| {
        let error = ort::util::preload_dylib(&path).err()?;
        Some(format!("{}: {error}", path.display()))
    };
    let failures: Vec<String> = wheel_libraries(library).into_iter().filter_map(failure).collect();
    if failures.is_empty() { String::new() } else { format!("; also: {}", failures.join("; ")) }
}

/// Libraries of the wheels beside `library`, in the order in which they need each other.
fn wheel_libraries(library: &Path) -> Vec<PathBuf> {
    const ORDER: [&str; 10] = [
        "libcudart.so.",
        "libnvrtc.so.",
        "libcublasLt.so.",
        "libcublas.so.",
        "libcurand.so.",
        "libcufft.so.",
        "libcudnn.so.",
        "libnvinfer.so.",
        "libnvinfer_plugin.so.",
        "libnvonnxparser.so.",
    ];
    let wheel = library.parent().filter(|folder| folder.ends_with("onnxruntime/capi"));
    let Some(packages) = wheel.and_then(|folder| folder.ancestors().nth(2)) else {
        return Vec::new();
    };
    let list = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut folders: Vec<PathBuf> = list(&packages.join("nvidia")).iter().map(|p| p.join("lib")).collect();
    folders.push(packages.join("tensorrt_libs"));
    folders.sort();
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| list(folder)).collect();
    let named = |file: &Path, start: &str| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    ORDER.iter().flat_map(|start| files.iter().filter(|file| named(file, start)).cloned()).collect()
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
        assert!(folder.finish().is_err() && !EngineFolder::is_whole(&path), "there is no engine to keep");
        std::fs::write(&engine, "half of it").unwrap();
        assert!(!EngineFolder::is_whole(&path));
        drop(folder);
        let folder = EngineFolder::open(&path).unwrap();
        assert!(!engine.exists(), "the process ended before it said that it was whole");
        std::fs::write(&engine, "all of it").unwrap();
        folder.finish().unwrap();
        assert!(EngineFolder::is_whole(&path));
        drop(folder);
        // As after a loss of power: the list is there, the engine's last blocks are not.
        std::fs::write(&engine, "all").unwrap();
        assert!(!EngineFolder::is_whole(&path));
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

    #[test]
    fn libraries_of_the_wheels_come_in_order_and_only_for_a_wheel() {
        let root = tempfile::tempdir().unwrap();
        let put = |relative: &str| {
            let path = root.path().join(relative);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let infer = put("tensorrt_libs/libnvinfer.so.10");
        let cudnn = put("nvidia/cudnn/lib/libcudnn.so.9");
        put("nvidia/cudnn/lib/libcudnn_ops.so.9");
        let blas = put("nvidia/cu13/lib/libcublas.so.13");
        let blas_lt = put("nvidia/cu13/lib/libcublasLt.so.13");
        let runtime = put("nvidia/cu13/lib/libcudart.so.13");
        let wheel = put("onnxruntime/capi/libonnxruntime.so.1.31.1");
        assert_eq!(wheel_libraries(&wheel), [runtime, blas_lt, blas, cudnn, infer]);
        assert_eq!(wheel_libraries(&put("lib/x/libonnxruntime.so.1.31.1")), Vec::<PathBuf>::new());
        assert!(preload(&wheel).contains("libcudart.so.13"), "an empty file is no library");
    }
}
