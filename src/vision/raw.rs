//! Raw RGB8 frames from a byte stream, such as a pipe from ffmpeg or GStreamer.

use std::io::Read;

use super::frame::Frame;
use super::source::{FrameSource, SourceOptions};
use crate::error::{Error, Result};

/// A source of frames of `raw_width * raw_height * 3` bytes each, one after the other, with no
/// header.
#[derive(Debug)]
pub(super) struct RawSource<R> {
    stream: R,
    uri: String,
    options: SourceOptions,
    frame_bytes: usize,
    position: u64,
    ended: bool,
}

impl<R: Read + Send> RawSource<R> {
    /// Reads frames from `stream`, which errors call `uri`.
    ///
    /// # Errors
    /// [`Error::Config`] if a side is zero or the frame is larger than `max_pixels`.
    pub(super) fn new(stream: R, uri: &str, options: &SourceOptions) -> Result<Self> {
        options.check()?;
        let (width, height) = (options.raw_width, options.raw_height);
        let pixels = u64::from(width) * u64::from(height);
        let frame_bytes = pixels.checked_mul(3).and_then(|bytes| usize::try_from(bytes).ok());
        let frame_bytes = frame_bytes.filter(|bytes| *bytes > 0 && pixels <= options.max_pixels);
        let frame_bytes = frame_bytes.ok_or_else(|| {
            let allowed = format!("width times height from 1 to max_pixels, {}", options.max_pixels);
            Error::config("raw_width", format!("{width} with raw_height {height}"), allowed)
        })?;
        let (uri, options) = (uri.to_owned(), options.clone());
        Ok(Self { stream, uri, options, frame_bytes, position: 0, ended: false })
    }

    fn broken(&self, reason: String) -> Error {
        Error::Source { uri: self.uri.clone(), reason }
    }
}

impl<R: Read + Send> FrameSource for RawSource<R> {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let mut rgb = Vec::with_capacity(self.frame_bytes);
        let read = self.stream.by_ref().take(self.frame_bytes as u64).read_to_end(&mut rgb);
        read.map_err(|error| self.broken(format!("reading frame {} failed: {error}", self.position)))?;
        if rgb.is_empty() {
            return Ok(None);
        }
        if rgb.len() < self.frame_bytes {
            let SourceOptions { raw_width, raw_height, .. } = self.options;
            return Err(self.broken(format!(
                "the stream ends inside frame {}: {} of {} bytes ({raw_width}x{raw_height}x3; check that the \
                 sender's size and pixel format are these)",
                self.position,
                rgb.len(),
                self.frame_bytes
            )));
        }
        self.ended = false;
        let position = self.position;
        self.position += 1;
        let SourceOptions { raw_width, raw_height, .. } = self.options;
        let timestamp_millis = self.options.millis_at(position);
        let frame = Frame::new(raw_width, raw_height, rgb, format!("frame {position}"))?;
        Ok(Some(Frame { timestamp_millis, ..frame }))
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn options(raw_width: u32, raw_height: u32) -> SourceOptions {
        SourceOptions { raw_width, raw_height, raw_frame_rate: 25.0, ..Default::default() }
    }

    /// Gives one byte at a time, with an interruption before each.
    struct Trickle<'a>(&'a [u8], bool);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = out.len().min(1);
            self.0.read(&mut out[..count])
        }
    }

    #[test]
    fn frames_are_cut_from_the_stream() {
        let bytes: Vec<u8> = (0..36).collect();
        let mut source = RawSource::new(Trickle(&bytes, false), "-", &options(3, 2)).unwrap();
        let first = source.next_frame().unwrap().unwrap();
        assert_eq!((first.rgb.as_slice(), first.timestamp_millis), (&bytes[..18], 0));
        let second = source.next_frame().unwrap().unwrap();
        assert_eq!((second.rgb.as_slice(), second.timestamp_millis), (&bytes[18..], 40));
        assert!(source.next_frame().unwrap().is_none() && source.is_live());
    }

    #[test]
    fn a_cut_frame_names_its_bytes_and_ends_the_stream() {
        let mut source = RawSource::new(&[7_u8; 18 + 11][..], "-", &options(3, 2)).unwrap();
        assert!(source.next_frame().unwrap().is_some());
        let error = source.next_frame().unwrap_err();
        assert!(matches!(error, Error::Source { .. }));
        assert!(error.to_string().contains("inside frame 1: 11 of 18 bytes"), "{error}");
        assert!(source.next_frame().unwrap().is_none());
    }

    #[test]
    fn sizes_are_checked() {
        for (width, height) in [(0, 2), (2, 0), (60_000, 60_000), (u32::MAX, u32::MAX)] {
            assert!(matches!(
                RawSource::new(&[][..], "-", &options(width, height)),
                Err(Error::Config { .. })
            ));
        }
    }
}
