//! ONNX Runtime's CUDA and TensorRT providers: whether they can be there, and how they are
//! registered.

use std::path::{Path, PathBuf};

use ort::ep::ExecutionProviderDispatch;

use super::engine_folder::EngineFolder;
use super::environment::Environment;
use super::library::{Runtime, sorted_entries};
use super::provider::Provider;
use super::spec::BackboneSpec;

/// What a session registers, and what helps to explain why that failed.
pub(super) struct Registration {
    /// The providers in order of preference; each one's failure is an error.
    pub(super) providers: Vec<ExecutionProviderDispatch>,
    /// Text to append to the runtime's own message.
    pub(super) hints: String,
    /// The folder of TensorRT's engines.
    pub(super) engines: Option<EngineFolder>,
}

/// Returns the folder of TensorRT's engines for a model, if there can be one.
fn engine_folder(sha256: &str, runtime: &Runtime, environment: &Environment) -> Option<PathBuf> {
    environment.tensorrt_cache(&format!("{sha256}-ort{}-trt", runtime.version))
}

/// Returns whether TensorRT has built the engine of a model.
pub(super) fn has_engine(sha256: &str, runtime: &Runtime, environment: &Environment) -> bool {
    engine_folder(sha256, runtime, environment).is_some_and(|folder| EngineFolder::is_complete(&folder))
}

/// Refuses TensorRT where it would take minutes to start. Where it cannot run at all, that is the
/// reason.
pub(super) fn require_engine(
    spec: &BackboneSpec,
    runtime: &Runtime,
    environment: &Environment,
) -> Result<(), String> {
    check_library(Provider::TensorRt, runtime)?;
    if has_engine(&spec.sha256, runtime, environment) {
        return Ok(());
    }
    Err("its engine is not built yet: that takes minutes; run `kaizen warmup`, or ask for `--provider tensorrt`".into())
}

/// Checks that `provider` is compiled in and its part of the library is there. This is cheap and
/// loads nothing.
pub(super) fn check_library(provider: Provider, runtime: &Runtime) -> Result<(), String> {
    let (name, compiled) = match provider {
        Provider::TensorRt => ("tensorrt", cfg!(all(feature = "tensorrt", feature = "cuda"))),
        _ => ("cuda", cfg!(feature = "cuda")),
    };
    if !compiled {
        return Err(not_compiled_in(name));
    }
    let part = runtime.path.with_file_name(format!("libonnxruntime_providers_{name}.so"));
    if part.exists() {
        return Ok(());
    }
    Err(format!(
        "not in this ONNX Runtime: {} was built without it, there is no {}",
        runtime.name(),
        part.display()
    ))
}

/// Returns the sentence for a provider that this build leaves out.
pub(super) fn not_compiled_in(feature: &str) -> String {
    format!("not compiled in: this program was built without the feature `{feature}`")
}

/// Returns the registration of `provider` for a model whose input is called `input`.
pub(super) fn register(
    provider: Provider,
    (spec, input): (&BackboneSpec, &str),
    runtime: &Runtime,
    environment: &Environment,
) -> Result<Registration, String> {
    let hints = preload(&runtime.path);
    let cuda = cuda(runtime, Search::Thorough)?;
    if provider == Provider::Cuda {
        return Ok(Registration { providers: vec![cuda], hints, engines: None });
    }
    let cache = engine_folder(&spec.sha256, runtime, environment)
        .ok_or("no folder for its engines: set HOME or XDG_CACHE_HOME")?;
    let engines = EngineFolder::open(&cache)
        .map_err(|e| format!("no folder for its engines: {e}: {}", cache.display()))?;
    let tensorrt = tensorrt(spec, input, &cache)?;
    Ok(Registration { providers: vec![tensorrt, cuda], hints, engines: Some(engines) })
}

/// How CUDA finds the algorithm of each convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// By trying all with the first batch: for a session that stays.
    Thorough,
    /// By rules: for a session that has to answer at once.
    #[cfg_attr(not(feature = "tract"), expect(dead_code, reason = "nothing is cut"))]
    Quick,
}

/// Returns the CUDA provider.
#[cfg(feature = "cuda")]
#[expect(clippy::unnecessary_wraps, reason = "its twin for builds without the feature fails")]
pub(super) fn cuda(runtime: &Runtime, search: Search) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::cuda::ConvAlgorithmSearch;
    let cuda = ort::ep::CUDA::default();
    // TF32 rounds to 10 bits, so the features would not be those of the CPU; the switch is there
    // since 1.18.
    let cuda = if runtime.minor >= 18 { cuda.with_tf32(false) } else { cuda };
    let search = match search {
        Search::Thorough => ConvAlgorithmSearch::Exhaustive,
        Search::Quick => ConvAlgorithmSearch::Heuristic,
    };
    Ok(cuda.with_conv_algorithm_search(search).build().error_on_failure())
}

#[cfg(not(feature = "cuda"))]
pub(super) fn cuda(_: &Runtime, _: Search) -> Result<ExecutionProviderDispatch, String> {
    Err(not_compiled_in("cuda"))
}

#[cfg(feature = "tensorrt")]
#[expect(clippy::unnecessary_wraps, reason = "its twin for builds without the feature fails")]
fn tensorrt(spec: &BackboneSpec, input: &str, cache: &Path) -> Result<ExecutionProviderDispatch, String> {
    use super::batch::CHUNK;
    use super::spec::Precision;
    let side = spec.input_size;
    // One engine serves every batch within the profile; without it each new batch size builds
    // another.
    let shape = |batch: usize| format!("{input}:{batch}x3x{side}x{side}");
    Ok(ort::ep::TensorRT::default()
        .with_engine_cache(true)
        .with_engine_cache_path(cache.display())
        .with_timing_cache(true)
        .with_timing_cache_path(cache.display())
        .with_profile_min_shapes(shape(1))
        .with_profile_opt_shapes(shape(8))
        .with_profile_max_shapes(shape(CHUNK))
        .with_fp16(spec.precision == Precision::Fp16)
        .with_int8(spec.precision == Precision::Int8)
        .build()
        .error_on_failure())
}

#[cfg(not(feature = "tensorrt"))]
fn tensorrt(_: &BackboneSpec, _: &str, _: &Path) -> Result<ExecutionProviderDispatch, String> {
    Err(not_compiled_in("tensorrt"))
}

/// Loads the NVIDIA libraries that pip put beside an `onnxruntime-gpu` wheel, where the system's
/// loader does not look. Returns what could not be loaded, as the end of a sentence.
fn preload(library: &Path) -> String {
    let failure = |path: PathBuf| {
        let error = ort::util::preload_dylib(&path).err()?;
        Some(format!("{}: {error}", path.display()))
    };
    let failures: Vec<String> = wheel_libraries(library).into_iter().filter_map(failure).collect();
    if failures.is_empty() { String::new() } else { format!("; also: {}", failures.join("; ")) }
}

/// Returns the libraries of the wheels beside `library`, in the order in which they need each
/// other.
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
    let mut folders = sorted_entries(&packages.join("nvidia"), |_| true);
    folders.iter_mut().for_each(|folder| folder.push("lib"));
    folders.push(packages.join("tensorrt_libs"));
    let named = |start: &&str| -> Vec<PathBuf> {
        folders.iter().flat_map(|folder| sorted_entries(folder, |name| name.starts_with(start))).collect()
    };
    ORDER.iter().flat_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
