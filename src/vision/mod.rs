//! Frames and where they come from: sources by URI, decoding under limits, preprocessing for a backbone,
//! seeded augmentation, thumbnails. Pixels are RGB, 8 bits a channel, everywhere in this module.

mod augment;
mod avi;
mod coco;
mod colour;
mod decode;
mod folder;
mod frame;
mod frames;
#[cfg(feature = "gstreamer")]
mod gstreamer;
mod preprocess;
mod raw;
mod recording;
mod source;
mod unsupported;

pub use augment::{Augmentation, ColourJitter};
pub use avi::AviSource;
pub use coco::CocoSource;
pub use decode::{DEFAULT_MAX_PIXELS, decode, thumbnail_jpeg};
pub use folder::ImageSource;
pub use folder::{is_picture, read};
pub use frame::{Frame, Split};
pub use frames::{Frames, frames};
pub use preprocess::Preprocess;
pub use raw::RawSource;
pub use recording::{LABELS_FILE, RecordingSource};
pub use source::{FrameSource, SourceOptions, open};
