//! A source whose pictures are known beforehand: a folder, a recording, or boxes of annotated
//! pictures.

use std::path::PathBuf;

use super::decode::read;
use super::frame::{Frame, Split};
use super::source::FrameSource;
use crate::error::{Error, Result};

/// A picture file, or a box of one.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) timestamp_millis: u64,
    pub(super) label: Option<String>,
    pub(super) split: Split,
    /// x, y, width and height of the box in pixels; `None` for the whole picture.
    pub(super) bbox: Option<[f64; 4]>,
}

/// Pictures in order, each read when its frame is asked for.
#[derive(Debug)]
pub(super) struct Pictures {
    uri: String,
    pictures: Vec<Picture>,
    max_pixels: u64,
    /// The canonical folder that no link may leave.
    pub(super) root: Option<PathBuf>,
    /// The sentence about what was left out.
    pub(super) warning: Option<String>,
    position: usize,
    /// The picture that the last box was cut from.
    open: Option<(PathBuf, Frame)>,
}

impl Pictures {
    pub(super) fn new(uri: &str, pictures: Vec<Picture>, max_pixels: u64) -> Self {
        Self { uri: uri.to_owned(), pictures, max_pixels, root: None, warning: None, position: 0, open: None }
    }

    fn full_picture(&self, picture: &Picture) -> Result<Frame> {
        let bad = |reason: String| Error::Frame { name: picture.name.clone(), reason };
        let mut path = picture.path.clone();
        if let Some(root) = &self.root {
            path = path.canonicalize().map_err(|e| bad(format!("cannot be read: {e}")))?;
            if !path.starts_with(root) {
                return Err(bad("it is a link that leaves the folder".to_owned()));
            }
        }
        read(&path, &picture.name, self.max_pixels)
    }
}

impl FrameSource for Pictures {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let open = self.open.take();
        let Some(picture) = self.pictures.get(self.position) else { return Ok(None) };
        self.position += 1;
        let full_picture = match open {
            Some((path, full_picture)) if path == picture.path => full_picture,
            _ => self.full_picture(picture)?,
        };
        let frame = match picture.bbox {
            None => full_picture,
            Some(bbox) => {
                let cut = cut(&full_picture, &picture.name, bbox);
                self.open = Some((picture.path.clone(), full_picture));
                cut?
            }
        };
        let Picture { timestamp_millis, ref label, split, .. } = *picture;
        Ok(Some(Frame { timestamp_millis, label: label.clone(), split, ..frame }))
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn frames_hint(&self) -> Option<usize> {
        Some(self.pictures.len())
    }

    fn warning(&self) -> Option<String> {
        self.warning.clone()
    }
}

/// Returns the box within the picture, to whole pixels.
fn cut(full_picture: &Frame, name: &str, bbox: [f64; 4]) -> Result<Frame> {
    let bad = |reason: &str| Error::Frame { name: name.to_owned(), reason: reason.to_owned() };
    if !bbox.iter().all(|value| value.is_finite()) {
        return Err(bad("its box is not finite"));
    }
    let [x, y, width, height] = bbox;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
    let inside = |value: f64, most: u32| value.round().clamp(0.0, f64::from(most)) as u32;
    let (left, right) = (inside(x, full_picture.width), inside(x + width, full_picture.width));
    let (top, bottom) = (inside(y, full_picture.height), inside(y + height, full_picture.height));
    if left >= right || top >= bottom {
        return Err(bad("its box has no pixel within the picture"));
    }
    let lines = full_picture.rgb.chunks_exact(3 * full_picture.width as usize);
    let lines = lines.skip(top as usize).take((bottom - top) as usize);
    let rgb = lines.flat_map(|line| &line[3 * left as usize..3 * right as usize]).copied().collect();
    Frame::new(right - left, bottom - top, rgb, name)
}
