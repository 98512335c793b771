//! Raw RGB8 frames from a byte stream, such as a pipe from ffmpeg or GStreamer.

use std::io::{ErrorKind, Read};

use super::frame::{Frame, Split};
use super::source::{FrameSource, SourceOptions};
use crate::error::{Error, Result};

/// Frames of `raw_width * raw_height * 3` bytes each, one after the other, with no header.
#[derive(Debug)]
pub struct RawSource<R> {
    stream: R,
    uri: String,
    options: SourceOptions,
    frame_bytes: usize,
    position: u64,
    ended: bool,
}

impl<R: Read + Send> RawSource<R> {
    /// Reads frames from `stream`; `uri` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Config`] if a side is zero or the frame is larger than `max_pixels`.
    pub fn new(stream: R, uri: &str, options: &SourceOptions) -> Result<Self> {
        options.check()?;
        let (width, height) = (options.raw_width, options.raw_height);
        for (field, side) in [("raw_width", width), ("raw_height", height)] {
            if side == 0 {
                return Err(Error::config(field, side, "1 or more pixels"));
            }
        }
        let pixels = u64::from(width) * u64::from(height);
        let frame_bytes = pixels.checked_mul(3).and_then(|bytes| usize::try_from(bytes).ok());
        match frame_bytes {
            Some(frame_bytes) if pixels <= options.max_pixels => Ok(Self {
                stream,
                uri: uri.to_owned(),
                options: options.clone(),
                frame_bytes,
                position: 0,
                ended: false,
            }),
            _ => {
                let allowed = format!("width times height up to max_pixels, {}", options.max_pixels);
                Err(Error::config("raw_width", format!("{width} with raw_height {height}"), allowed))
            }
        }
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
        let mut rgb = vec![0; self.frame_bytes];
        let mut filled = 0;
        while filled < self.frame_bytes {
            match self.stream.read(&mut rgb[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(self.broken(format!("reading frame {} failed: {error}", self.position)));
                }
            }
        }
        if filled < self.frame_bytes {
            self.ended = true;
            if filled == 0 {
                return Ok(None);
            }
            let SourceOptions { raw_width, raw_height, .. } = self.options;
            return Err(self.broken(format!(
                "the stream ends inside frame {}: {filled} of {} bytes ({raw_width}x{raw_height}x3; check that the \
                 sender's size and pixel format are these)",
                self.position, self.frame_bytes
            )));
        }
        let position = self.position;
        self.position += 1;
        Ok(Some(Frame {
            width: self.options.raw_width,
            height: self.options.raw_height,
            rgb,
            timestamp_millis: self.options.millis_at(position),
            name: format!("frame {position}"),
            label: None,
            split: Split::Train,
        }))
    }

    fn frames_hint(&self) -> Option<usize> {
        None
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
