//! The frames of a source, one after the other.

use super::frame::Frame;
use super::source::{FrameSource, SourceOptions, open};
use crate::Result;

/// Frames of a folder, a recording, a clip, a camera or standard input.
///
/// | URI | frames |
/// | --- | --- |
/// | a folder | its JPEG and PNG files by name |
/// | a JPEG or PNG file | one frame |
/// | `recording://DIR` | the rows of `DIR/labels.csv`, in order |
/// | a motion-JPEG AVI file | its frames |
/// | `-` | raw RGB frames of 640x480 on standard input |
/// | `/dev/video0`, `csi://0`, `rtsp://…`, `gst://…` | a camera or stream (feature `gstreamer`) |
///
/// # Errors
/// [`crate::Error::Source`] if there is nothing to read there, or this build cannot read it, with the way out.
pub fn frames(uri: &str) -> Result<Frames> {
    Ok(Frames { source: open(uri, &SourceOptions::default())?, is_over: false })
}

/// Frames of a source, see [`frames`]. A frame that cannot be used is an error in its place.
pub struct Frames {
    source: Box<dyn FrameSource>,
    is_over: bool,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("uri", &self.source.uri()).finish_non_exhaustive()
    }
}

impl Iterator for Frames {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.source.next_frame().transpose();
        // After any other error than one of a single frame the source is over.
        self.is_over = match &next {
            Some(Ok(_) | Err(crate::Error::Frame { .. })) => false,
            Some(Err(_)) | None => true,
        };
        next
    }
}
