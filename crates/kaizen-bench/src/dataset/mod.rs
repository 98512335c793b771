//! Labelled collections of pictures: CIFAR-100 (binary), Fashion-MNIST (idx) and class folders.

mod cifar;
mod class_folders;
mod idx;
mod side;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kaizen_edge::low_level::number::hex;
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::vision::{self, DEFAULT_MAX_PIXELS};
use kaizen_edge::{Error, Frame, Result, Split};
use sha2::{Digest as _, Sha256};

pub(crate) use side::DatasetSide;

/// The pixels of one picture, or the file that they are in.
#[derive(Clone, Debug, PartialEq)]
enum Pixels {
    /// Planes R, G, B of a square of `side`.
    Planes { side: u32, bytes: Vec<u8> },
    /// One grey value a pixel.
    Grey { width: u32, height: u32, bytes: Vec<u8> },
    /// A JPEG or PNG file.
    File(PathBuf),
}

/// One picture with its class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    /// The number of the class, in the order of [`Dataset::classes`].
    pub(crate) class: usize,
    /// The number of the domain, in the order of the names; 0 unless a folder has several.
    pub(crate) domain: usize,
    pixels: Pixels,
}

/// A kind of collection, and the folder where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatasetSource {
    /// `train.bin`, `test.bin` and `fine_label_names.txt` of the official binary download.
    Cifar100(PathBuf),
    /// The four idx files of the official download, `.gz` or unpacked.
    FashionMnist(PathBuf),
    /// `DIR/{train,test,val}/CLASS/*`, or `DIR/CLASS/*` split by a seed. A level of domain folders
    /// above the classes (`DIR/DOMAIN/CLASS/*`) makes a collection of several domains.
    Folder(PathBuf),
}

impl FromStr for DatasetSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, folder) =
            text.split_once(':').filter(|(_, folder)| !folder.is_empty()).unwrap_or_default();
        match kind {
            "cifar100" => Ok(Self::Cifar100(folder.into())),
            "fashion-mnist" => Ok(Self::FashionMnist(folder.into())),
            "folder" => Ok(Self::Folder(folder.into())),
            _ => Err(Error::config("data", text, "cifar100:DIR, fashion-mnist:DIR or folder:DIR")),
        }
    }
}

/// A collection with a training and a test side.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    /// The name is `cifar100`, `fashion-mnist` or the folder's.
    pub(crate) name: String,
    /// The names of the classes, in the order of their numbers.
    pub(crate) classes: Vec<String>,
    /// The pictures to learn from.
    pub(crate) train: Vec<Picture>,
    /// The pictures to be judged by.
    pub(crate) test: Vec<Picture>,
}

impl Dataset {
    /// Reads the collection, or for a folder its listing; `seed` splits a folder that has no split.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is missing, [`Error::Corrupt`] for one that is truncated or
    /// malformed, [`Error::Source`] naming the class that one side lacks, or that there is one
    /// class only.
    pub(crate) fn read(source: &DatasetSource, seed: u64) -> Result<Self> {
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
            return Err(unusable(&self.name, "it has one class, and a classifier needs two or more"));
        }
        for split in [Split::Train, Split::Test] {
            if let Some(class) = self.counts(split).iter().position(|&count| count == 0) {
                let (class, side) = (&self.classes[class], side_name(split));
                let reason = format!("class `{class}` has no {side} picture: add some or remove it");
                return Err(unusable(&self.name, reason));
            }
        }
        Ok(())
    }

    /// The pictures of one side.
    pub(crate) fn side(&self, split: Split) -> &[Picture] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// The number of pictures of each class on one side.
    fn counts(&self, split: Split) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.side(split).iter().for_each(|picture| counts[picture.class] += 1);
        counts
    }

    /// Refuses sides whose classes are not equally large: accuracies and labelled shares would not
    /// mean the same for every class.
    ///
    /// # Errors
    /// [`Error::Refused`] naming the smallest and the largest class.
    pub(crate) fn check_balanced(&self) -> Result<()> {
        for split in [Split::Train, Split::Test] {
            let counts = self.counts(split);
            let least = (0..counts.len()).min_by_key(|&class| counts[class]).unwrap_or(0);
            let most = (0..counts.len()).max_by_key(|&class| counts[class]).unwrap_or(0);
            if counts[least] != counts[most] {
                let named = |class: usize| format!("`{}` has {}", self.classes[class], counts[class]);
                let (least, most, side) = (named(least), named(most), side_name(split));
                return Err(Error::refused(
                    format!("data set {}", self.name),
                    format!("its classes are unequal: {least} {side} pictures, {most}"),
                    "pass --unequal to go on, or --per-class to take as many of each",
                ));
            }
        }
        Ok(())
    }

    /// Keeps `train` and `test` pictures of each class, drawn by `seed`.
    ///
    /// # Errors
    /// [`Error::Refused`] naming a class that has fewer.
    pub(crate) fn limit(&mut self, [train, test]: [usize; 2], seed: u64) -> Result<()> {
        for (split, wanted) in [(Split::Train, train), (Split::Test, test)] {
            let side = side_name(split);
            let mut kept = Vec::new();
            for (class, name) in self.classes.iter().enumerate() {
                let pictures = self.side(split);
                let mut rows: Vec<usize> =
                    (0..pictures.len()).filter(|&row| pictures[row].class == class).collect();
                if rows.len() < wanted {
                    return Err(Error::refused(
                        format!("--per-class of {train} and {test}"),
                        format!("class `{name}` has {} {side} pictures, not {wanted}", rows.len()),
                        "ask for fewer or add some",
                    ));
                }
                Rng::named(seed, &format!("limit {side} {class}")).shuffle(&mut rows);
                kept.extend(rows.into_iter().take(wanted));
            }
            kept.sort_unstable();
            let kept = kept.into_iter().map(|row| self.side(split)[row].clone()).collect();
            match split {
                Split::Train => self.train = kept,
                Split::Test => self.test = kept,
            }
        }
        Ok(())
    }

    /// Decodes one picture.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Frame`] for a file that cannot be read or decoded.
    fn frame(&self, split: Split, row: usize) -> Result<Frame> {
        let name = format!("{} {} {row}", self.name, split.name());
        let frame = match &self.side(split)[row].pixels {
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
        };
        Ok(Frame { split, ..frame? })
    }

    /// The SHA-256 over pixels (or files), classes and order of one side, in hexadecimal.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read.
    pub(crate) fn digest(&self, split: Split) -> Result<String> {
        let mut hash = Sha256::new();
        for picture in self.side(split) {
            hash.update((picture.class as u64).to_le_bytes());
            match &picture.pixels {
                Pixels::Planes { bytes, .. } | Pixels::Grey { bytes, .. } => hash.update(bytes),
                Pixels::File(path) => hash.update(std::fs::read(path).map_err(Error::io(path))?),
            }
        }
        Ok(hex(&hash.finalize()))
    }
}

fn side_name(split: Split) -> &'static str {
    match split {
        Split::Train => "training",
        Split::Test => "test",
    }
}

/// The collection cannot be learned from as it is.
fn unusable(what: impl Display, reason: impl Into<String>) -> Error {
    Error::Source { uri: what.to_string(), reason: reason.into() }
}

/// A file of the collection is not what was published.
fn damaged(file: impl Display, reason: impl Into<String>) -> Error {
    Error::corrupt(file.to_string(), reason, "copy it again")
}

fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io(path))
}

#[cfg(test)]
mod tests;
