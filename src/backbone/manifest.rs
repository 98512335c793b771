//! `models/manifest.toml`: which model files there are, what they take and give, and the hash that names them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::environment::Environment;
use crate::error::{Error, Result};

/// File name of the manifest.
pub const MANIFEST_FILE: &str = "manifest.toml";

/// Number format of a model's weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers (quantise / dequantise pairs).
    Int8,
}

impl Precision {
    /// The name as written in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

/// Order of the axes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[B, 3, S, S]`: batch, channel, row, column.
    Nchw,
}

/// Order of the colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
}

/// One `[[model]]` of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The name it is asked for by.
    pub name: String,
    /// File name, relative to the manifest's folder.
    pub file: PathBuf,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
    /// Licence of the weights.
    pub licence: String,
    /// Where the weights come from.
    pub origin: String,
    /// Side S of the square input, pixels.
    pub input_size: usize,
    /// Per channel, subtracted from the pixel value 0..255.
    pub mean: [f32; 3],
    /// Per channel, divides what is left.
    pub std: [f32; 3],
    /// Order of the axes.
    pub layout: Layout,
    /// Order of the channels.
    pub channels: Channels,
    /// Width D of the features.
    pub feature_width: usize,
    /// Number format.
    pub precision: Precision,
    /// Folder of the manifest that the entry was read from.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl ModelEntry {
    /// The model file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }

    /// The bytes of the model file, which are those that the manifest names.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Model`] if its hash is another.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = self.path();
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let found = sha256_hex(&bytes);
        if found == self.sha256 {
            return Ok(bytes);
        }
        let reason = format!(
            "its SHA-256 is {found}, the manifest says {} for `{}`; fetch the file again, or, if it was changed on \
             purpose, put the new hash in {}",
            self.sha256,
            self.name,
            self.folder.join(MANIFEST_FILE).display()
        );
        Err(Error::Model { path, reason })
    }

    fn check(&self, manifest: &Path) -> Result<()> {
        let refuse = |reason: String| {
            Err(Error::Model { path: manifest.into(), reason: format!("model `{}`: {reason}", self.name) })
        };
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return refuse(format!(
                "`sha256` is `{}`: needed are 64 lower-case hexadecimal digits",
                self.sha256
            ));
        }
        if self.file.is_absolute() || self.file.components().any(|c| c.as_os_str() == "..") {
            return refuse(format!(
                "`file` is {}: it must lie in the manifest's folder",
                self.file.display()
            ));
        }
        if self.input_size == 0 || self.feature_width == 0 {
            return refuse("`input_size` and `feature_width` must be above 0".into());
        }
        if !self.mean.iter().all(|m| m.is_finite()) || !self.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return refuse("`mean` must be finite and `std` finite and above 0".into());
        }
        Ok(())
    }
}

/// A manifest that was read and checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the model that is taken when none is asked for.
    pub default: String,
    /// The models.
    #[serde(rename = "model")]
    pub models: Vec<ModelEntry>,
}

impl Manifest {
    /// Reads `folder/manifest.toml`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Model`] for an unknown or missing key, a name twice, a default
    /// that is not there, a malformed hash.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        Self::parse(&text, folder)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let mut manifest: Self = toml::from_str(text)
            .map_err(|e| Error::Model { path: path.clone(), reason: format!("manifest: {e}") })?;
        for entry in &mut manifest.models {
            entry.folder = folder.into();
            entry.check(&path)?;
        }
        for (at, entry) in manifest.models.iter().enumerate() {
            if manifest.models[..at].iter().any(|other| other.name == entry.name) {
                return Err(Error::Model { path, reason: format!("model `{}` is there twice", entry.name) });
            }
        }
        if manifest.get(&manifest.default).is_none() {
            let reason =
                format!("default `{}` is not a model; there are: {}", manifest.default, manifest.names());
            return Err(Error::Model { path, reason });
        }
        Ok(manifest)
    }

    /// The model called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ModelEntry> {
        self.models.iter().find(|entry| entry.name == name)
    }

    fn names(&self) -> String {
        self.models.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The folder with the models: `models_dir` if given; else the first with a manifest of `models` under the working
/// directory, beside the program and up to four folders above it, and `share/kaizen-edge/models` of the user and of
/// the system.
///
/// # Errors
/// [`Error::Model`] that lists the folders looked at.
pub fn locate(models_dir: Option<&Path>) -> Result<PathBuf> {
    locate_in(models_dir, &Environment::of_process()?)
}

pub(super) fn locate_in(models_dir: Option<&Path>, environment: &Environment) -> Result<PathBuf> {
    let folders = models_dir.map_or_else(|| standard_folders(environment), |given| vec![given.to_path_buf()]);
    if let Some(found) = folders.iter().find(|folder| folder.join(MANIFEST_FILE).is_file()) {
        return Ok(found.clone());
    }
    let looked = folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
    let reason =
        format!("no {MANIFEST_FILE} in any of: {looked}; run in the project's folder or give `--models-dir`");
    Err(Error::Model { path: folders.into_iter().next().unwrap_or_default(), reason })
}

fn standard_folders(environment: &Environment) -> Vec<PathBuf> {
    let mut folders = vec![environment.current_dir.join("models")];
    if let Some(program_dir) = &environment.program_dir {
        folders.extend(program_dir.ancestors().take(5).map(|folder| folder.join("models")));
    }
    folders.extend(environment.data_dir.as_ref().map(|dir| dir.join("models")));
    folders.extend(
        ["usr/local/share", "usr/share"]
            .map(|share| environment.system_root.join(share).join("kaizen-edge/models")),
    );
    folders
}

/// The entry for a name of the manifest, for the path of an `.onnx` file whose folder has a manifest with that file,
/// or, with neither, the manifest's default.
///
/// # Errors
/// [`Error::Model`] for an unknown name (the message lists the known ones) and for a file that is in no manifest (the
/// message shows the entry to add, with the file's hash).
pub fn resolve(name_or_path: Option<&str>, models_dir: Option<&Path>) -> Result<ModelEntry> {
    resolve_in(name_or_path, models_dir, &Environment::of_process()?)
}

pub(super) fn resolve_in(
    name_or_path: Option<&str>,
    models_dir: Option<&Path>,
    environment: &Environment,
) -> Result<ModelEntry> {
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

fn resolve_file(file: &Path) -> Result<ModelEntry> {
    let bytes = std::fs::read(file).map_err(Error::io(file))?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = Path::new(file.file_name().unwrap_or_default());
    let has_manifest = folder.join(MANIFEST_FILE).is_file();
    if has_manifest {
        let manifest = Manifest::read(folder)?;
        if let Some(entry) = manifest.models.into_iter().find(|entry| entry.file == name) {
            return Ok(entry);
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

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
