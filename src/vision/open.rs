//! Opening a source by its URI, and the frames of one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::avi::AviSource;
use super::frame::Frame;
use super::raw::RawSource;
use super::recording::{self, LABELS_FILE};
use super::source::{FrameSource, Loss, SourceOptions};
use super::{folder, unsupported};
use crate::error::{Error, Result};

/// Opens the source that a URI names:
///
/// | URI | frames |
/// | --- | --- |
/// | `recording://DIR`, or a folder that holds `labels.csv` | the rows of `labels.csv`, in order |
/// | a folder | its JPEG and PNG files by name; class subfolders give the labels |
/// | a JPEG or PNG file | one frame |
/// | an AVI file | its motion-JPEG frames |
/// | `-` | raw RGB8 frames on standard input, size and rate from `options` |
///
/// In a folder, `train` and `test` subfolders that hold the class folders give the split.
///
/// `file://` may precede a path. The feature `gstreamer` adds `/dev/videoN`, `v4l2://DEVICE`,
/// `csi://N`, `rtsp://…`, `gst://PIPELINE` and films of any kind; cameras and streams that are lost
/// are opened again, with growing pauses.
///
/// # Errors
/// [`Error::Source`] if there is nothing to read there or this build cannot read it, with the way
/// out; [`Error::Config`] for options out of range; [`Error::Io`] if the file system refuses.
pub fn open(uri: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>> {
    open_with(uri, options, Loss::Reopens)
}

/// Opens a source as [`open`] does, but a camera or a stream that is lost is an error.
///
/// # Errors
/// As [`open`].
#[cfg(feature = "serve")]
pub(crate) fn open_once(uri: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>> {
    open_with(uri, options, Loss::Fails)
}

/// Whether a source that cannot be opened or was lost may be there later: a camera or a stream that
/// this build knows, or a path where there is nothing yet.
#[cfg(feature = "serve")]
pub(crate) fn may_come_later(uri: &str, options: &SourceOptions) -> bool {
    if uri == "-" || options.check().is_err() {
        return false;
    }
    #[cfg(feature = "gstreamer")]
    if let Some(can_be_made) = super::gstreamer::can_be_made(uri, options) {
        return can_be_made;
    }
    let path = match uri.split_once("://") {
        None => uri,
        Some(("file" | "recording", path)) => path,
        Some(_) => return false,
    };
    !path.is_empty() && !path.starts_with("/dev/") && !Path::new(path).exists()
}

#[cfg_attr(not(feature = "gstreamer"), expect(unused_variables, reason = "no other source is lost"))]
fn open_with(uri: &str, options: &SourceOptions, loss: Loss) -> Result<Box<dyn FrameSource>> {
    options.check()?;
    if uri == "-" {
        return Ok(Box::new(RawSource::new(std::io::stdin(), uri, options)?));
    }
    if let Some(folder) = uri.strip_prefix("recording://") {
        return Ok(Box::new(recording::open(Path::new(folder), uri, options)?));
    }
    #[cfg(feature = "gstreamer")]
    if let Some(source) = super::gstreamer::open(uri, options, loss)? {
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
        let is_recording = path.join(LABELS_FILE).is_file();
        let open = if is_recording { recording::open } else { folder::open };
        return Ok(Box::new(open(path, uri, options)?));
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(12).read_to_end(&mut head)).map_err(Error::io(path))?;
    match head.as_slice() {
        [] => Err(refuse("the file is empty")),
        [0xFF, 0xD8, ..] | [0x89, b'P', b'N', b'G', ..] => Ok(Box::new(folder::single(path, uri, options))),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => {
            Ok(Box::new(AviSource::open(path, uri, options)?))
        }
        #[cfg(feature = "gstreamer")]
        _ => super::gstreamer::open_film(path, uri, options),
        #[cfg(not(feature = "gstreamer"))]
        _ => Err(unsupported::file(uri, path, options)),
    }
}

/// Opens the frames of a folder, a recording, a clip, a camera or standard input.
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
/// [`Error::Source`] if there is nothing to read there, or this build cannot read it, with the way
/// out.
pub fn frames(uri: &str) -> Result<Frames> {
    Ok(Frames { source: open(uri, &SourceOptions::default())?, is_over: false })
}

/// The frames of a source, see [`frames`]. A frame that cannot be used is an error in its place.
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
        // Any error but one of a single frame ends the source.
        self.is_over = match &next {
            Some(Ok(_) | Err(Error::Frame { .. })) => false,
            Some(Err(_)) | None => true,
        };
        next
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

    #[cfg(feature = "serve")]
    #[test]
    fn what_may_come_later_is_awaited_and_what_cannot_work_is_not() {
        let later = |uri: &str| may_come_later(uri, &SourceOptions::default());
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.txt");
        std::fs::write(&text, b"no picture").unwrap();
        for uri in ["", "-", "recording://", "ftp://cam/1", "csi://front", "gst://", text.to_str().unwrap()] {
            assert!(!later(uri), "{uri}");
        }
        for uri in ["no/such/folder", "recording://no/such", "file:///no/such"] {
            assert!(later(uri), "{uri}");
        }
        for uri in ["/dev/video99", "v4l2:///dev/video99", "rtsp://127.0.0.1:1/none", "gst://videotestsrc"] {
            assert_eq!(later(uri), cfg!(feature = "gstreamer"), "{uri}");
        }
        assert!(!later("gst://nosuchelement ! appsink"));
        let options = SourceOptions { max_pixels: 0, ..Default::default() };
        assert!(!may_come_later("no/such/folder", &options));
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
