//! The trait of frame sources and the options that they are opened with.

use super::decode::DEFAULT_MAX_PIXELS;
use super::frame::Frame;
use crate::error::{Error, Result};

/// A stream of frames.
pub trait FrameSource: Send {
    /// Returns the next frame, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Frame`] if this one frame is bad; the next call gives the next one. Any other error
    /// ends the stream.
    fn next_frame(&mut self) -> Result<Option<Frame>>;

    /// Returns the URI that the source was opened with.
    fn uri(&self) -> &str;

    /// Returns how many frames the whole source has, if that is known beforehand.
    fn frames_hint(&self) -> Option<usize> {
        None
    }

    /// Returns whether frames arrive in real time, so that a slow reader must drop some.
    fn is_live(&self) -> bool {
        false
    }

    /// Returns a sentence about frames that were left out (files that are no pictures, the missing
    /// end of a clip), or `None`. It may change while frames are read: ask again at the end.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// Settings of a source that its URI does not contain.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceOptions {
    /// The number of pixels that a picture may have; larger ones are refused by their header.
    pub max_pixels: u64,
    /// Columns of a raw frame on standard input.
    pub raw_width: u32,
    /// Rows of a raw frame on standard input.
    pub raw_height: u32,
    /// Frames per second, for sources without a clock of their own (raw frames, folders of images).
    pub raw_frame_rate: f64,
}

/// What becomes of a camera or a stream that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The source opens it again.
    Reopens,
    /// It is an error, and the caller opens it again.
    #[cfg(feature = "serve")]
    Fails,
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

    /// Returns the time of the frame at `position`, in milliseconds, at the frame rate of the
    /// options.
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
