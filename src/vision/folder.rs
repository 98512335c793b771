//! Pictures in files: a folder of them, or one.

use std::path::{Path, PathBuf};

use super::frame::Split;
use super::pictures::{Picture, Pictures};
use super::source::SourceOptions;
use crate::error::{Error, Result};

/// Opens one picture file.
pub(super) fn single(path: &Path, uri: &str, options: &SourceOptions) -> Pictures {
    let picture = Picture { path: path.to_owned(), name: file_name(path), ..Picture::default() };
    Pictures::new(uri, vec![picture], options.max_pixels)
}

/// Opens the JPEG and PNG files of a folder, in the order of their names. A class subfolder
/// (`DIR/CLASS/picture.jpg`) gives the label; where the folder has both a `train` and a `test`
/// subfolder these give the split and hold the class folders. Timestamps follow from the position
/// and `raw_frame_rate`.
///
/// # Errors
/// [`Error::Source`] if the folder is missing or holds no picture, [`Error::Io`] if it cannot be
/// listed.
pub(super) fn open(folder: &Path, uri: &str, options: &SourceOptions) -> Result<Pictures> {
    let refuse = |reason: &str| Error::Source { uri: uri.to_owned(), reason: reason.to_owned() };
    if !folder.is_dir() {
        return Err(refuse("there is no such folder"));
    }
    let mut scan = Scan::default();
    let splits = ["train", "test"];
    if splits.iter().all(|name| folder.join(name).is_dir()) {
        for split in [Split::Train, Split::Test] {
            scan.classes(&folder.join(split.name()), &format!("{}/", split.name()), split)?;
        }
        let others = listing(folder)?.into_iter().map(|path| file_name(&path));
        scan.skipped.extend(others.filter(|name| !splits.contains(&name.as_str())));
    } else {
        scan.classes(folder, "", Split::Train)?;
    }
    let Scan { mut pictures, skipped } = scan;
    let others = skipped.len();
    if pictures.is_empty() {
        return Err(match skipped.first() {
            None => refuse("the folder is empty; put JPEG or PNG files in it, or in one subfolder per class"),
            Some(first) => refuse(&format!("no JPEG or PNG file in it ({others} other, such as {first})")),
        });
    }
    for (position, picture) in (0..).zip(&mut pictures) {
        picture.timestamp_millis = options.millis_at(position);
    }
    let mut source = Pictures::new(uri, pictures, options.max_pixels);
    source.warning = skipped.first().map(|first| {
        format!("{others} entries that are no JPEG or PNG files were left out, such as {first}")
    });
    Ok(source)
}

/// What a walk over the folder found.
#[derive(Default)]
struct Scan {
    pictures: Vec<Picture>,
    skipped: Vec<String>,
}

impl Scan {
    /// Adds the pictures directly in `folder` (unlabelled) and those of its subfolders (labelled by
    /// folder name).
    fn classes(&mut self, folder: &Path, prefix: &str, split: Split) -> Result<()> {
        for path in listing(folder)? {
            let name = file_name(&path);
            if path.is_dir() {
                for picture in listing(&path)? {
                    let full = format!("{prefix}{name}/{}", file_name(&picture));
                    self.file(picture, full, Some(name.clone()), split);
                }
            } else {
                self.file(path, format!("{prefix}{name}"), None, split);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, name: String, label: Option<String>, split: Split) {
        if is_picture(&path) {
            self.pictures.push(Picture { path, name, label, split, ..Picture::default() });
        } else {
            self.skipped.push(name);
        }
    }
}

/// Returns the entries of a folder, sorted by name.
fn listing(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().map_err(Error::io(folder))?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Returns whether the name says JPEG or PNG; the content is judged when it is decoded.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) && !path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::{jpeg, ramp};
    use super::super::open::open;
    use super::super::source::FrameSource;
    use super::*;

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn rows(source: &mut dyn FrameSource) -> Vec<(String, Option<String>, Split, u64)> {
        let mut rows = vec![];
        while let Some(frame) = source.next_frame().unwrap() {
            rows.push((frame.name, frame.label, frame.split, frame.timestamp_millis));
        }
        rows
    }

    #[test]
    fn names_give_the_order_and_subfolders_the_label() {
        let folder = tempfile::tempdir().unwrap();
        let picture = jpeg(&ramp(8, 6, 3));
        for name in ["b.jpg", "a.JPEG", "cup/2.jpg", "cup/1.jpg"] {
            write(folder.path(), name, &picture);
        }
        write(folder.path(), "notes.txt", b"hello");
        write(folder.path(), "cup/deeper/x.jpg", &picture);
        let options = SourceOptions { raw_frame_rate: 2.0, ..Default::default() };
        let mut source = open(folder.path().to_str().unwrap(), &options).unwrap();
        assert_eq!((source.frames_hint(), source.is_live()), (Some(4), false));
        let cup = || Some("cup".to_owned());
        assert_eq!(
            rows(source.as_mut()),
            [
                ("a.JPEG".to_owned(), None, Split::Train, 0),
                ("b.jpg".to_owned(), None, Split::Train, 500),
                ("cup/1.jpg".to_owned(), cup(), Split::Train, 1000),
                ("cup/2.jpg".to_owned(), cup(), Split::Train, 1500),
            ]
        );
        assert_eq!(
            source.warning().unwrap(),
            "2 entries that are no JPEG or PNG files were left out, such as cup/deeper"
        );
    }

    #[test]
    fn train_and_test_folders_give_the_split() {
        let folder = tempfile::tempdir().unwrap();
        let picture = jpeg(&ramp(8, 6, 3));
        for name in ["train/cup/1.jpg", "train/pen/1.jpg", "test/cup/1.jpg", "stray.jpg"] {
            write(folder.path(), name, &picture);
        }
        let mut source = open(folder.path().to_str().unwrap(), &SourceOptions::default()).unwrap();
        let found: Vec<_> =
            rows(source.as_mut()).into_iter().map(|row| (row.0, row.1.unwrap(), row.2)).collect();
        let row = |name: &str, label: &str, split| (name.to_owned(), label.to_owned(), split);
        assert_eq!(
            found,
            [
                row("train/cup/1.jpg", "cup", Split::Train),
                row("train/pen/1.jpg", "pen", Split::Train),
                row("test/cup/1.jpg", "cup", Split::Test),
            ]
        );
        assert!(source.warning().unwrap().contains("stray.jpg"));
    }

    #[test]
    fn folders_without_pictures_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let uri = folder.path().to_str().unwrap();
        let reason = || match open(uri, &SourceOptions::default()).err() {
            Some(Error::Source { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason().contains("the folder is empty"));
        write(folder.path(), "notes.txt", b"hello");
        assert_eq!(reason(), "no JPEG or PNG file in it (1 other, such as notes.txt)");
        let missing = folder.path().join("none");
        assert!(matches!(
            super::open(&missing, "none", &SourceOptions::default()),
            Err(Error::Source { .. })
        ));
    }

    #[test]
    fn a_bad_picture_costs_one_frame() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "1.jpg", b"no picture");
        write(folder.path(), "2.jpg", &jpeg(&ramp(8, 6, 3)));
        let mut source = open(folder.path().to_str().unwrap(), &SourceOptions::default()).unwrap();
        assert!(matches!(source.next_frame(), Err(Error::Frame { name, .. }) if name == "1.jpg"));
        assert_eq!(source.next_frame().unwrap().unwrap().name, "2.jpg");
        assert!(source.next_frame().unwrap().is_none());
    }

    #[test]
    fn a_single_picture_is_one_frame() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "one.bin", &jpeg(&ramp(8, 6, 3)));
        let uri = format!("file://{}", folder.path().join("one.bin").display());
        let mut source = open(&uri, &SourceOptions::default()).unwrap();
        let frame = source.next_frame().unwrap().unwrap();
        assert_eq!((frame.name.as_str(), frame.width, frame.height), ("one.bin", 8, 6));
        assert!(source.next_frame().unwrap().is_none());
        assert_eq!((source.uri(), source.frames_hint(), source.warning()), (uri.as_str(), Some(1), None));
    }
}
