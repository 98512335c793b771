//! Labelled picture collections as benchmarks use them: CIFAR-100 (binary), Fashion-MNIST (idx), class folders.

mod cifar;
mod class_folders;
mod idx;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::vision::{self, DEFAULT_MAX_PIXELS};
use kaizen_edge::{Error, Result};
use kaizen_edge::{Frame, Split};

/// Pixels of one picture, or where they are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pixels {
    /// Planes R, G, B of a square of `side`.
    Planes { side: u32, bytes: Vec<u8> },
    /// One grey value a pixel.
    Grey { width: u32, height: u32, bytes: Vec<u8> },
    /// A JPEG or PNG file.
    File(PathBuf),
}

/// One picture with its class.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Index in [`Dataset::classes`].
    pub class: usize,
    /// Index in [`Dataset::domains`].
    pub domain: usize,
    pub(super) pixels: Pixels,
}

/// Which collection, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatasetSource {
    /// `train.bin`, `test.bin`, `fine_label_names.txt` of the official binary download.
    Cifar100(PathBuf),
    /// The four idx files of the official download, `.gz` or unpacked.
    FashionMnist(PathBuf),
    /// `DIR/{train,test,val}/CLASS/*`, or `DIR/CLASS/*` split by a seed; a level of domain folders above the classes
    /// (`DIR/DOMAIN/CLASS/*`) makes a collection of several domains.
    Folder(PathBuf),
}

impl std::str::FromStr for DatasetSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = "cifar100:DIR, fashion-mnist:DIR or folder:DIR";
        match text.split_once(':') {
            Some(("cifar100", folder)) if !folder.is_empty() => Ok(Self::Cifar100(folder.into())),
            Some(("fashion-mnist", folder)) if !folder.is_empty() => Ok(Self::FashionMnist(folder.into())),
            Some(("folder", folder)) if !folder.is_empty() => Ok(Self::Folder(folder.into())),
            _ => Err(Error::config("data", text, allowed)),
        }
    }
}

/// A collection with a training and a test side.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// `cifar100`, `fashion-mnist` or the folder's name.
    pub name: String,
    /// Class names; a picture's `class` counts into them.
    pub classes: Vec<String>,
    /// Domain names; one unless the folder has several.
    pub domains: Vec<String>,
    /// Pictures to learn from.
    pub train: Vec<Picture>,
    /// Pictures to be judged by.
    pub test: Vec<Picture>,
}

impl Dataset {
    /// Reads the collection (for folders: its listing).
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is missing, [`Error::Source`] naming the file that is truncated or malformed, the
    /// class that one side lacks, or that there is one class only.
    pub fn read(source: &DatasetSource, seed: u64) -> Result<Self> {
        let dataset = match source {
            DatasetSource::Cifar100(folder) => cifar::read(folder)?,
            DatasetSource::FashionMnist(folder) => idx::read(folder)?,
            DatasetSource::Folder(folder) => class_folders::read(folder, seed)?,
        };
        dataset.check()?;
        Ok(dataset)
    }

    fn check(&self) -> Result<()> {
        if self.classes.len() < 2 {
            return Err(refused(&self.name, "it has one class, and a classifier needs two or more"));
        }
        for (side, pictures) in [("training", &self.train), ("test", &self.test)] {
            let counts = self.counts(pictures);
            if let Some(class) = counts.iter().position(|&count| count == 0) {
                let reason =
                    format!("class `{}` has no {side} picture: add some or remove it", self.classes[class]);
                return Err(refused(&self.name, reason));
            }
        }
        Ok(())
    }

    /// Pictures of each class.
    #[must_use]
    pub fn counts(&self, pictures: &[Picture]) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        pictures.iter().for_each(|picture| counts[picture.class] += 1);
        counts
    }

    /// Refuses sides whose classes are not equally large: accuracies and labelled shares would not mean the same for
    /// every class.
    ///
    /// # Errors
    /// [`Error::Source`] naming the smallest and the largest class.
    pub fn check_balanced(&self) -> Result<()> {
        for (side, pictures) in [("training", &self.train), ("test", &self.test)] {
            let counts = self.counts(pictures);
            let least = (0..counts.len()).min_by_key(|&class| counts[class]).unwrap_or(0);
            let most = (0..counts.len()).max_by_key(|&class| counts[class]).unwrap_or(0);
            if counts[least] != counts[most] {
                let reason = format!(
                    "its classes are unequal: `{}` has {} {side} pictures, `{}` has {}; pass --unequal to go on, or \
                     --per-class to take as many of each",
                    self.classes[least], counts[least], self.classes[most], counts[most]
                );
                return Err(refused(&self.name, reason));
            }
        }
        Ok(())
    }

    /// Keeps `train` and `test` pictures of each class, drawn by `seed`.
    ///
    /// # Errors
    /// [`Error::Source`] naming a class that has fewer.
    pub fn limit(&mut self, [train, test]: [usize; 2], seed: u64) -> Result<()> {
        let (name, classes) = (self.name.clone(), self.classes.clone());
        for (side, pictures, wanted) in [("training", &mut self.train, train), ("test", &mut self.test, test)]
        {
            let mut kept = Vec::new();
            for (class, class_name) in classes.iter().enumerate() {
                let mut rows: Vec<usize> =
                    (0..pictures.len()).filter(|&row| pictures[row].class == class).collect();
                if rows.len() < wanted || wanted == 0 {
                    let reason =
                        format!("class `{class_name}` has {} {side} pictures, not {wanted}", rows.len());
                    return Err(refused(&name, reason));
                }
                Rng::named(seed, &format!("limit {side} {class}")).shuffle(&mut rows);
                kept.extend(rows.into_iter().take(wanted));
            }
            kept.sort_unstable();
            *pictures = kept.into_iter().map(|row| pictures[row].clone()).collect();
        }
        Ok(())
    }

    /// Decodes one picture.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Frame`] for a file that cannot be read or decoded.
    pub fn frame(&self, split: Split, row: usize) -> Result<Frame> {
        let side = if split == Split::Train { &self.train } else { &self.test };
        let name = format!("{} {} {row}", self.name, split.name());
        let picture = side.get(row).ok_or_else(|| Error::shape(&name, side.len(), row))?;
        match &picture.pixels {
            Pixels::Planes { side, bytes } => {
                let plane = bytes.len() / 3;
                let rgb = (0..3 * plane).map(|at| bytes[at % 3 * plane + at / 3]).collect();
                Frame::new(*side, *side, rgb, name)
            }
            Pixels::Grey { width, height, bytes } => {
                let rgb = bytes.iter().flat_map(|&value| [value; 3]).collect();
                Frame::new(*width, *height, rgb, name)
            }
            Pixels::File(path) => vision::read(path, &path.display().to_string(), DEFAULT_MAX_PIXELS),
        }
    }

    /// SHA-256 over pixels (or files), classes and order of one side, in hexadecimal.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read.
    pub fn digest(&self, split: Split) -> Result<String> {
        let mut hash = Sha256::new();
        let side = if split == Split::Train { &self.train } else { &self.test };
        for picture in side {
            hash.update((picture.class as u64).to_le_bytes());
            match &picture.pixels {
                Pixels::Planes { bytes, .. } | Pixels::Grey { bytes, .. } => hash.update(bytes),
                Pixels::File(path) => hash.update(std::fs::read(path).map_err(Error::io(path))?),
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn refused(what: impl std::fmt::Display, reason: impl Into<String>) -> Error {
    Error::Source { uri: what.to_string(), reason: reason.into() }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io(path))
}

#[cfg(test)]
mod tests;
