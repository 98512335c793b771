//! Frame sources and how a URI selects one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::avi::AviSource;
use super::decode::DEFAULT_MAX_PIXELS;
use super::folder::ImageSource;
use super::frame::Frame;
use super::raw::RawSource;
use super::recording::{LABELS_FILE, RecordingSource};
use super::unsupported;
use crate::error::{Error, Result};

/// A stream of frames.
pub trait FrameSource: Send {
    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Frame`]: this one frame is bad, the next call gives the next one. Any other error ends the
    /// stream.
    fn next_frame(&mut self) -> Result<Option<Frame>>;

    /// How many frames the whole source has, if that is known beforehand.
    fn frames_hint(&self) -> Option<usize>;

    /// The URI the source was opened with.
    fn uri(&self) -> &str;

    /// Whether frames arrive in real time, so that a slow reader must drop some.
    fn is_live(&self) -> bool;

    /// A sentence on what was left out (files that are no pictures, the missing end of a clip), or `None`.
    /// May change while frames are read: ask again at the end.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// What a URI alone does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceOptions {
    /// Pixels a picture may have; larger ones are refused by their header.
    pub max_pixels: u64,
    /// Columns of raw frames on standard input.
    pub raw_width: u32,
    /// Rows of raw frames on standard input.
    pub raw_height: u32,
    /// Frames a second, for sources without a clock of their own (raw frames, folders of images).
    pub raw_frame_rate: f64,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { max_pixels: DEFAULT_MAX_PIXELS, raw_width: 640, raw_height: 480, raw_frame_rate: 30.0 }
    }
}

impl SourceOptions {
    pub(super) fn check(&self) -> Result<()> {
        if !(self.raw_frame_rate.is_finite() && self.raw_frame_rate > 0.0) {
            return Err(Error::config("raw_frame_rate", self.raw_frame_rate, "a number above 0"));
        }
        if self.max_pixels == 0 {
            return Err(Error::config("max_pixels", self.max_pixels, "1 or more"));
        }
        Ok(())
    }

    /// Time of the frame at `position`, in milliseconds, at the frame rate of the options.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positions are far below 2^53 and the quotient is not negative; the cast saturates"
    )]
    pub(super) fn millis_at(&self, position: u64) -> u64 {
        (position as f64 * 1000.0 / self.raw_frame_rate).round() as u64
    }
}

/// Opens a source:
///
/// | URI | source |
/// | --- | --- |
/// | `recording://DIR`, or a folder that holds `labels.csv` | frames in the order of `labels.csv` |
/// | a folder | its JPEG and PNG files by name; class subfolders give labels, `train`/`test` above them the split |
/// | a JPEG or PNG file | one frame |
/// | an AVI file | its motion-JPEG frames |
/// | `-` | raw RGB8 frames on standard input, size and rate from `options` |
///
/// `file://` may precede a path. With the feature `gstreamer` also `/dev/videoN`, `v4l2://DEVICE`, `csi://N`, `rtsp://…`,
/// `gst://PIPELINE` and films of any kind; cameras and streams that are lost are opened again, with growing pauses.
///
/// # Errors
/// [`Error::Source`] if there is nothing to read there or this build cannot read it, with the way out;
/// [`Error::Config`] for options out of range; [`Error::Io`] if the file system refuses.
pub fn open(uri: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>> {
    options.check()?;
    if uri == "-" {
        return Ok(Box::new(RawSource::new(std::io::stdin(), uri, options)?));
    }
    if let Some(folder) = uri.strip_prefix("recording://") {
        return Ok(Box::new(RecordingSource::open(Path::new(folder), uri, options)?));
    }
    #[cfg(feature = "gstreamer")]
    if let Some(source) = super::gstreamer::open(uri, options)? {
        return Ok(source);
    }
    let path = match uri.split_once("://") {
        None => uri,
        Some(("file", path)) => path,
        Some(_) => return Err(unsupported::scheme(uri, options)),
    };
    if path.starts_with("/dev/") {
        return Err(unsupported::scheme(uri, options));
    }
    open_path(Path::new(path), uri, options)
}

fn open_path(path: &Path, uri: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>> {
    let refuse = |reason: &str| Error::Source { uri: uri.to_owned(), reason: reason.to_owned() };
    if path.as_os_str().is_empty() {
        return Err(refuse("the source is empty; give a folder, a file, recording://DIR or -"));
    }
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse("there is no such file or folder"));
        }
        Err(error) => return Err(Error::io(path)(error)),
    };
    if metadata.is_dir() {
        return if path.join(LABELS_FILE).is_file() {
            Ok(Box::new(RecordingSource::open(path, uri, options)?))
        } else {
            Ok(Box::new(ImageSource::folder(path, uri, options)?))
        };
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(12).read_to_end(&mut head)).map_err(Error::io(path))?;
    match head.as_slice() {
        [] => Err(refuse("the file is empty")),
        [0xFF, 0xD8, ..] | [0x89, b'P', b'N', b'G', ..] => {
            Ok(Box::new(ImageSource::single(path, uri, options)))
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => {
            Ok(Box::new(AviSource::open(path, uri, options)?))
        }
        #[cfg(feature = "gstreamer")]
        _ => super::gstreamer::open_film(path, uri, options),
        #[cfg(not(feature = "gstreamer"))]
        _ => Err(unsupported::file(uri, path, options)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(uri: &str) -> String {
        match open(uri, &SourceOptions::default()) {
            Err(error @ Error::Source { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{uri} opened"),
        }
    }

    /// What a build without GStreamer says of a camera, a stream or a film.
    fn refusal_without_gstreamer(uri: &str) -> String {
        if cfg!(not(feature = "gstreamer")) {
            return refusal(uri);
        }
        let options = SourceOptions::default();
        let error = match uri.strip_prefix("file://") {
            Some(path) => unsupported::file(uri, Path::new(path), &options),
            None => unsupported::scheme(uri, &options),
        };
        error.to_string()
    }

    #[test]
    fn cameras_and_streams_name_the_pipe() {
        for (uri, words) in [
            ("/dev/video0", "ffmpeg -loglevel error -f v4l2 -i '/dev/video0' -vf scale=640:480,fps=30"),
            ("v4l2:///dev/video1", "-f v4l2 -i '/dev/video1'"),
            ("csi://0", "gst-launch-1.0 -q nvarguscamerasrc sensor-id=0"),
            ("rtsp://cam/stream", "-rtsp_transport tcp -i 'rtsp://cam/stream'"),
            ("gst://videotestsrc ! appsink", "gst-launch-1.0 -q videotestsrc ! videoconvert"),
            ("http://cam/clip", "ffmpeg -loglevel error -i 'http://cam/clip'"),
        ] {
            let text = refusal_without_gstreamer(uri);
            assert!(text.contains(words) && text.contains("recording://DIR"), "{text}");
            assert!(text.contains("| camera_stream --source -"), "{text}");
        }
        assert!(
            !refusal_without_gstreamer("rtsp://cam/it's").contains("'rtsp://cam/it's'"),
            "a quote must not end the argument"
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert!(refusal("no/such/folder").contains("no such file or folder"));
        assert!(refusal("").contains("the source is empty"));
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.jpg");
        std::fs::write(&empty, b"").unwrap();
        assert!(refusal(empty.to_str().unwrap()).contains("the file is empty"));
    }

    #[test]
    fn a_film_is_refused_with_the_command_that_makes_it_fit() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip.mp4");
        std::fs::write(&clip, b"\0\0\0\x20ftypisom....").unwrap();
        let text = refusal_without_gstreamer(&format!("file://{}", clip.display()));
        assert!(text.contains("ffmpeg -loglevel error -i '") && text.contains("clip.mp4'"), "{text}");
        assert!(text.contains("-c:v mjpeg"), "{text}");
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let options = SourceOptions { raw_frame_rate: rate, ..Default::default() };
            assert!(matches!(open("-", &options), Err(Error::Config { field: "raw_frame_rate", .. })));
        }
        let options = SourceOptions { max_pixels: 0, ..Default::default() };
        assert!(matches!(open("-", &options), Err(Error::Config { field: "max_pixels", .. })));
    }
}
