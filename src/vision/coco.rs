//! COCO annotations: each box of a picture becomes a frame of its own, cropped, with its category
//! as label.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use super::pictures::{Picture, Pictures};
use super::recording::is_inside;
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

/// Opens the boxes of a COCO file (`images`, `annotations` with `bbox`, `categories`), by picture
/// and annotation id; the pictures lie in `images`. Boxes of crowds are left out. The whole table
/// is checked.
///
/// # Errors
/// [`Error::Source`] if the file is no COCO document or names a picture or category that it does
/// not define; [`Error::Io`] if it cannot be read.
pub(crate) fn open_coco(
    annotations: &Path,
    images: &Path,
    options: &SourceOptions,
) -> Result<Box<dyn FrameSource>> {
    let uri = annotations.display().to_string();
    let refuse = |reason: String| Error::Source { uri: uri.clone(), reason };
    let file = File::open(annotations).map_err(Error::io(annotations))?;
    let document: Document = serde_json::from_reader(BufReader::new(file))
        .map_err(|error| refuse(format!("it is no COCO document with bounding boxes: {error}")))?;
    let files: BTreeMap<i64, String> =
        document.images.into_iter().map(|image| (image.id, image.file_name)).collect();
    let names: BTreeMap<i64, String> =
        document.categories.into_iter().map(|category| (category.id, category.name)).collect();
    let (mut boxes, mut crowds) = (Vec::new(), 0);
    let mut annotations = document.annotations;
    annotations.sort_by_key(|annotation| (annotation.image_id, annotation.id));
    for Annotation { id, image_id, category_id, bbox, iscrowd } in annotations {
        let (Some(file), Some(label)) = (files.get(&image_id), names.get(&category_id)) else {
            let reason =
                format!("annotation {id}: image {image_id} or category {category_id} is not defined");
            return Err(refuse(reason));
        };
        if !is_inside(Path::new(file)) || is_linked_out(images, &images.join(file)) {
            return Err(refuse(format!("image `{file}` leaves the folder of the images")));
        }
        if iscrowd == 0 {
            let (path, name) = (images.join(file), format!("{file}#{id}"));
            let label = Some(label.clone());
            boxes.push(Picture { path, name, label, bbox: Some(bbox), ..Picture::default() });
        } else {
            crowds += 1;
        }
    }
    let mut source = Pictures::new(&uri, boxes, options.max_pixels);
    source.warning = (crowds > 0).then(|| format!("{uri}: {crowds} boxes of crowds left out"));
    Ok(Box::new(source))
}

/// Whether a link leads from a file of the folder to one outside; not for a file that is not there.
fn is_linked_out(folder: &Path, file: &Path) -> bool {
    match (folder.canonicalize(), file.canonicalize()) {
        (Ok(folder), Ok(file)) => !file.starts_with(folder),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::read;
    use super::super::decode::tests::{jpeg, ramp};
    use super::*;

    fn open(folder: &Path, json: &str) -> Result<Box<dyn FrameSource>> {
        std::fs::write(folder.join("coco.json"), json).unwrap();
        std::fs::write(folder.join("a.jpg"), jpeg(&ramp(8, 6, 3))).unwrap();
        open_coco(&folder.join("coco.json"), folder, &SourceOptions::default())
    }

    const HEAD: &str =
        r#""images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 5, "name": "cup"}]"#;

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_within_it_is_not() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = elsewhere.path().join("secret.jpg");
        std::fs::write(&secret, jpeg(&ramp(8, 6, 3))).unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(&secret, folder.path().join("out.jpg")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("sub/out")).unwrap();
        std::os::unix::fs::symlink("a.jpg", folder.path().join("in.jpg")).unwrap();
        let with = |file: &str| {
            let head = HEAD.replace("a.jpg", file);
            let boxes =
                r#""annotations": [{"id": 2, "image_id": 1, "category_id": 5, "bbox": [0, 0, 4, 4]}]"#;
            open(folder.path(), &format!("{{{head}, {boxes}}}"))
        };
        for file in ["out.jpg", "sub/out/secret.jpg"] {
            let refused = with(file).err().unwrap().to_string();
            assert!(refused.contains("leaves the folder of the images"), "{file}: {refused}");
        }
        let mut source = with("in.jpg").unwrap();
        assert_eq!(source.next_frame().unwrap().unwrap().width, 4);
    }

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
        let whole = read(&folder.path().join("a.jpg"), "a", u64::MAX).unwrap();
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
            let error = open(folder.path(), &json).err().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
