//! The frame: one picture with its time, name and, if known, label.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which part of a recording or data set a frame belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The frame may be learned from.
    #[default]
    Train,
    /// The frame is held out, for measuring only.
    Test,
}

impl Split {
    /// Returns the split called `train` or `test`, in exactly this spelling.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "train" => Some(Self::Train),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    /// Returns `train` or `test`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// One decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Columns, in pixels.
    pub width: u32,
    /// Rows, in pixels.
    pub height: u32,
    /// RGB, 8 bits per channel, `[height, width, 3]` row-major.
    pub rgb: Vec<u8>,
    /// Time since the start of the source, in milliseconds; as recorded where the source has a
    /// clock.
    pub timestamp_millis: u64,
    /// File name or position within the source.
    pub name: String,
    /// Class name, if the source gives one.
    pub label: Option<String>,
    /// Whether the frame may be learned from.
    pub split: Split,
}

impl Frame {
    /// An unlabelled training frame at time 0.
    ///
    /// # Errors
    /// [`Error::Shape`] if a side is zero or `rgb` is not `height * width * 3` bytes.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let frame = Self { width, height, rgb, timestamp_millis: 0, name, label: None, split: Split::Train };
        frame.check()?;
        Ok(frame)
    }

    /// Returns the number of pixels.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Confirms that the sides are not zero and that `rgb` has the size they imply.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the frame.
    pub fn check(&self) -> Result<()> {
        let bytes = self.pixels().saturating_mul(3);
        if bytes == 0 || bytes != self.rgb.len() as u64 {
            return Err(Error::Shape {
                what: format!("frame {}", self.name),
                expected: format!("[{}, {}, 3], no side zero", self.height, self.width),
                got: format!("{} bytes", self.rgb.len()),
            });
        }
        Ok(())
    }
}

impl From<&Frame> for Frame {
    fn from(frame: &Frame) -> Self {
        frame.clone()
    }
}

/// Takes the frame out of a result, as sources give it.
impl TryFrom<Result<Frame>> for Frame {
    type Error = Error;

    fn try_from(frame: Result<Self>) -> Result<Self> {
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_count_must_fit_the_sides() {
        assert!(Frame::new(2, 3, vec![0; 18], "a").is_ok());
        for (width, height, bytes) in [(2, 3, 17), (0, 3, 0), (2, 0, 0), (u32::MAX, u32::MAX, 3)] {
            let error = Frame::new(width, height, vec![0; bytes], "odd").unwrap_err().to_string();
            assert!(error.contains("frame odd"), "{error}");
        }
    }

    #[test]
    fn split_names_round_trip() {
        for split in [Split::Train, Split::Test] {
            assert_eq!(Split::from_name(split.name()), Some(split));
        }
        assert_eq!(Split::from_name("Test"), None);
    }
}
