//! `models/manifest.toml`: which model files there are, and where it is looked for.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::environment::Environment;
use super::spec::BackboneSpec;
use crate::error::{Error, Result};
use crate::number::sha256_hex;

/// File name of the manifest.
pub(crate) const MANIFEST_FILE: &str = "manifest.toml";

/// A manifest that was read and checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Name of the model that is taken when none is asked for.
    pub default: String,
    /// The models.
    #[serde(rename = "model")]
    pub models: Vec<BackboneSpec>,
}

impl Manifest {
    /// Reads `folder/manifest.toml`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Model`] for an unknown or missing key, a name
    /// twice, a default that is not there, a malformed hash.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        Self::parse(&text, folder)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::Model { path: folder.join(MANIFEST_FILE), reason };
        let mut manifest: Self =
            toml::from_str(text).map_err(|error| refuse(format!("manifest: {error}")))?;
        for (at, spec) in manifest.models.iter().enumerate() {
            let twice = manifest.models[..at].iter().any(|other| other.name == spec.name);
            let fault = if twice { Some("it is there twice".to_owned()) } else { fault(spec) };
            if let Some(fault) = fault {
                return Err(refuse(format!("model `{}`: {fault}", spec.name)));
            }
        }
        if manifest.get(&manifest.default).is_none() {
            let (default, names) = (&manifest.default, manifest.names());
            return Err(refuse(format!("default `{default}` is not a model; there are: {names}")));
        }
        for spec in &mut manifest.models {
            spec.path = folder.join(&spec.path);
            spec.tail_path = spec.tail_path.take().map(|path| folder.join(path));
        }
        Ok(manifest)
    }

    fn get(&self, name: &str) -> Option<&BackboneSpec> {
        self.models.iter().find(|spec| spec.name == name)
    }

    fn names(&self) -> String {
        self.models.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Returns what is wrong with an entry, if anything is.
fn fault(spec: &BackboneSpec) -> Option<String> {
    let BackboneSpec { path, sha256, mean, std, cut, tail_path, tail_sha256, .. } = spec;
    if tail_path.is_some() != tail_sha256.is_some() || (tail_path.is_some() && cut.is_none()) {
        return Some("`tail_file` and `tail_sha256` go together, and both need a `cut`".to_owned());
    }
    let files = [("", Some(path), Some(sha256)), ("tail_", tail_path.as_ref(), tail_sha256.as_ref())];
    for (prefix, path, sha256) in files {
        let (Some(path), Some(sha256)) = (path, sha256) else { continue };
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Some(format!(
                "`{prefix}sha256` is `{sha256}`: needed are 64 lower-case hexadecimal digits"
            ));
        }
        if path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
            return Some(format!(
                "`{prefix}file` is {}: it must lie in the manifest's folder",
                path.display()
            ));
        }
    }
    if spec.input_size == 0 || spec.feature_width == 0 {
        return Some("`input_size` and `feature_width` must be above 0".to_owned());
    }
    let is_usable = mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s > 0.0);
    (!is_usable).then(|| "`mean` must be finite and `std` finite and above 0".to_owned())
}

/// Returns the folder with the models: `models_dir` if given; else the first with a manifest of
/// `models` in the crate that cargo runs, beside the program and up to four folders above it, of
/// the user's data folder, `share/kaizen-edge/models` of the system, and `models` in the crate that
/// this was built from. The current folder is not looked into.
///
/// # Errors
/// [`Error::Model`] that lists the folders searched.
pub(crate) fn locate(models_dir: Option<&Path>) -> Result<PathBuf> {
    locate_in(models_dir, &Environment::of_process()?)
}

fn locate_in(models_dir: Option<&Path>, environment: &Environment) -> Result<PathBuf> {
    let folders = models_dir.map_or_else(|| standard_folders(environment), |given| vec![given.to_path_buf()]);
    if let Some(found) = folders.iter().find(|folder| folder.join(MANIFEST_FILE).is_file()) {
        return Ok(found.clone());
    }
    let looked = folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
    let reason = format!("no {MANIFEST_FILE} in any of: {looked}; give `--models-dir`");
    Err(Error::Model { path: folders.into_iter().next().unwrap_or_default(), reason })
}

fn standard_folders(environment: &Environment) -> Vec<PathBuf> {
    let above_program = environment.program_dir.iter().flat_map(|folder| folder.ancestors().take(5));
    let own = environment.cargo_dir.as_deref().into_iter().chain(above_program);
    let mut folders: Vec<_> =
        own.chain(environment.data_dir.as_deref()).map(|folder| folder.join("models")).collect();
    let shared = ["usr/local/share", "usr/share"].map(|share| environment.system_root.join(share));
    folders.extend(shared.map(|share| share.join("kaizen-edge/models")));
    folders.push(environment.source_dir.join("models"));
    folders
}

/// Returns the entry for a name of the manifest, for the path of an `.onnx` file whose folder has a
/// manifest with that file, or, with neither, the manifest's default.
///
/// # Errors
/// [`Error::Model`] for an unknown name (the message lists the known ones) and for a file that is
/// in no manifest (the message shows the entry to add, with the file's hash).
pub fn resolve(name_or_path: Option<&str>, models_dir: Option<&Path>) -> Result<BackboneSpec> {
    resolve_in(name_or_path, models_dir, &Environment::of_process()?)
}

fn resolve_in(
    name_or_path: Option<&str>,
    models_dir: Option<&Path>,
    environment: &Environment,
) -> Result<BackboneSpec> {
    if let Some(file) = name_or_path.map(Path::new)
        && (file.extension().is_some_and(|e| e == "onnx") || file.components().count() > 1)
    {
        return resolve_file(file);
    }
    let folder = locate_in(models_dir, environment)?;
    let manifest = Manifest::read(&folder)?;
    let name = name_or_path.unwrap_or(&manifest.default);
    manifest.get(name).cloned().ok_or_else(|| Error::Model {
        path: folder.join(MANIFEST_FILE),
        reason: format!(
            "no model `{name}`; there are: {}; or give the path of an .onnx file",
            manifest.names()
        ),
    })
}

fn resolve_file(file: &Path) -> Result<BackboneSpec> {
    let bytes = std::fs::read(file).map_err(Error::io(file))?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = Path::new(file.file_name().unwrap_or_default());
    let has_manifest = folder.join(MANIFEST_FILE).is_file();
    if has_manifest {
        let models = Manifest::read(folder)?.models;
        if let Some(spec) = models.into_iter().find(|spec| spec.path == folder.join(name)) {
            return Ok(spec);
        }
    }
    let stem = name.file_stem().unwrap_or_default().to_string_lossy();
    let head = if has_manifest { String::new() } else { format!("default = \"{stem}\"\n\n") };
    let reason = format!(
        "it is in no manifest, so its input is not known; add this to {} and fill in what is in <>:\n{head}[[model]]\n\
         name = \"{stem}\"\nfile = \"{}\"\nsha256 = \"{}\"\nlicence = \"<licence>\"\norigin = \"<where from>\"\n\
         input_size = <pixels>\nmean = [<r>, <g>, <b>]  # of pixel values 0..255\nstd = [<r>, <g>, <b>]\n\
         layout = \"nchw\"\nchannels = \"rgb\"\nfeature_width = <D>\nprecision = \"fp32\"  # or fp16, int8\n",
        folder.join(MANIFEST_FILE).display(),
        name.display(),
        sha256_hex(&bytes),
    );
    Err(Error::Model { path: file.into(), reason })
}

#[cfg(test)]
mod tests;
