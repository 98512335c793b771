//! COCO annotations: each box of a picture becomes a frame of its own, cropped, with its category as label.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::folder;
use super::frame::Frame;
use super::source::{FrameSource, SourceOptions};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: i64,
    image_id: i64,
    category_id: i64,
    /// x, y, width, height in pixels.
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

/// One box to crop.
#[derive(Debug)]
struct Crop {
    file: PathBuf,
    name: String,
    label: String,
    bbox: [f64; 4],
}

/// The boxes of a COCO file (`images`, `annotations` with `bbox`, `categories`), by picture and annotation id. Boxes of
/// crowds are left out; the whole table is checked on opening.
#[derive(Debug)]
pub struct CocoSource {
    uri: String,
    root: PathBuf,
    max_pixels: u64,
    crops: Vec<Crop>,
    crowds: usize,
    position: usize,
    /// The picture that the last box was cut from.
    open: Option<(PathBuf, Frame)>,
}

impl CocoSource {
    /// Opens annotations whose pictures lie in `images`.
    ///
    /// # Errors
    /// [`Error::Source`] if the file is no COCO document or names a picture or category that it does not define;
    /// [`Error::Io`] if it cannot be read.
    pub fn open(annotations: &Path, images: &Path, options: &SourceOptions) -> Result<Self> {
        let uri = annotations.display().to_string();
        let refuse = |reason: String| Error::Source { uri: uri.clone(), reason };
        let file = File::open(annotations).map_err(Error::io(annotations))?;
        let document: Document = serde_json::from_reader(BufReader::new(file))
            .map_err(|error| refuse(format!("it is no COCO document with bounding boxes: {error}")))?;
        let files: BTreeMap<i64, String> =
            document.images.into_iter().map(|image| (image.id, image.file_name)).collect();
        let names: BTreeMap<i64, String> =
            document.categories.into_iter().map(|category| (category.id, category.name)).collect();
        let mut crops = Vec::new();
        let mut crowds = 0;
        let mut annotations = document.annotations;
        annotations.sort_by_key(|annotation| (annotation.image_id, annotation.id));
        for Annotation { id, image_id, category_id, bbox, iscrowd } in annotations {
            let (Some(file), Some(label)) = (files.get(&image_id), names.get(&category_id)) else {
                let reason =
                    format!("annotation {id}: image {image_id} or category {category_id} is not defined");
                return Err(refuse(reason));
            };
            let path = PathBuf::from(file);
            if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(refuse(format!("image `{file}` leaves the folder of the images")));
            }
            if iscrowd == 0 {
                crops.push(Crop { file: path, name: format!("{file}#{id}"), label: label.clone(), bbox });
            } else {
                crowds += 1;
            }
        }
        let (root, max_pixels) = (images.to_path_buf(), options.max_pixels);
        Ok(Self { uri, root, max_pixels, crops, crowds, position: 0, open: None })
    }
}

impl FrameSource for CocoSource {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let Some(crop) = self.crops.get(self.position) else {
            return Ok(None);
        };
        self.position += 1;
        let whole = match self.open.take() {
            Some((file, whole)) if file == crop.file => whole,
            _ => folder::read(&self.root.join(&crop.file), &crop.name, self.max_pixels)?,
        };
        let cut = cut(&whole, crop);
        self.open = Some((crop.file.clone(), whole));
        cut.map(Some)
    }

    fn frames_hint(&self) -> Option<usize> {
        Some(self.crops.len())
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn is_live(&self) -> bool {
        false
    }

    fn warning(&self) -> Option<String> {
        (self.crowds > 0).then(|| format!("{}: {} boxes of crowds left out", self.uri, self.crowds))
    }
}

/// The box within the picture, to whole pixels.
fn cut(whole: &Frame, crop: &Crop) -> Result<Frame> {
    let [x, y, width, height] = crop.bbox;
    let bad = |reason: &str| Error::Frame { name: crop.name.clone(), reason: reason.to_owned() };
    if !crop.bbox.iter().all(|value| value.is_finite()) {
        return Err(bad("its box is not finite"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
    let inside = |value: f64, most: u32| value.round().clamp(0.0, f64::from(most)) as u32;
    let (left, right) = (inside(x, whole.width), inside(x + width, whole.width));
    let (top, bottom) = (inside(y, whole.height), inside(y + height, whole.height));
    if left >= right || top >= bottom {
        return Err(bad("its box has no pixel within the picture"));
    }
    let bytes = |columns: u32| 3 * columns as usize;
    let mut rgb = Vec::with_capacity(bytes(right - left) * (bottom - top) as usize);
    for line in top..bottom {
        let start = bytes(whole.width) * line as usize;
        rgb.extend_from_slice(&whole.rgb[start + bytes(left)..start + bytes(right)]);
    }
    let frame = Frame::new(right - left, bottom - top, rgb, crop.name.clone())?;
    Ok(Frame { label: Some(crop.label.clone()), ..frame })
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::{jpeg, ramp};
    use super::*;

    fn open(folder: &Path, json: &str) -> Result<CocoSource> {
        std::fs::write(folder.join("coco.json"), json).unwrap();
        std::fs::write(folder.join("a.jpg"), jpeg(&ramp(8, 6, 3))).unwrap();
        CocoSource::open(&folder.join("coco.json"), folder, &SourceOptions::default())
    }

    const HEAD: &str =
        r#""images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 5, "name": "cup"}]"#;

    #[test]
    fn boxes_are_cut_out_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let json = format!(
            r#"{{{HEAD}, "annotations": [
                {{"id": 3, "image_id": 1, "category_id": 5, "bbox": [2, 1, 4, 3]}},
                {{"id": 2, "image_id": 1, "category_id": 5, "bbox": [6, 4, 90, 90]}},
                {{"id": 4, "image_id": 1, "category_id": 5, "bbox": [8, 0, 2, 2]}},
                {{"id": 5, "image_id": 1, "category_id": 5, "bbox": [0, 0, 2, 2], "iscrowd": 1}}]}}"#
        );
        let mut source = open(folder.path(), &json).unwrap();
        let whole = folder::read(&folder.path().join("a.jpg"), "a", u64::MAX).unwrap();
        let edge = source.next_frame().unwrap().unwrap();
        assert_eq!((edge.width, edge.height, edge.name.as_str()), (2, 2, "a.jpg#2"));
        let frame = source.next_frame().unwrap().unwrap();
        assert_eq!((frame.width, frame.height, frame.label.as_deref()), (4, 3, Some("cup")));
        assert_eq!(frame.rgb[..12], whole.rgb[3 * (8 + 2)..][..12]);
        assert!(matches!(source.next_frame(), Err(Error::Frame { .. })), "outside the picture");
        assert!(source.next_frame().unwrap().is_none());
        assert!(source.warning().unwrap().contains("1 boxes of crowds"));
    }

    #[test]
    fn what_is_not_defined_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (annotation, word) in [
            (r#"{"id": 3, "image_id": 9, "category_id": 5, "bbox": [0, 0, 1, 1]}"#, "image 9"),
            (r#"{"id": 3, "image_id": 1, "category_id": 6, "bbox": [0, 0, 1, 1]}"#, "category 6"),
            (r#"{"id": 3, "image_id": 1, "category_id": 5, "bbox": [0, 0]}"#, "bounding boxes"),
        ] {
            let json = format!(r#"{{{HEAD}, "annotations": [{annotation}]}}"#);
            let error = open(folder.path(), &json).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
