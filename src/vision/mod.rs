//! Frames and where they come from: sources by URI, decoding under limits, preprocessing for a
//! backbone, seeded augmentation, thumbnails. Pixels are RGB, 8 bits per channel, everywhere in
//! this module.

mod augment;
mod avi;
mod coco;
mod colour;
mod decode;
mod folder;
mod frame;
#[cfg(feature = "gstreamer")]
mod gstreamer;
mod open;
mod pictures;
mod preprocess;
mod raw;
mod recording;
mod source;
mod unsupported;

pub use augment::Augmentation;
pub(crate) use coco::open_coco;
pub use decode::{DEFAULT_MAX_PIXELS, read};
pub(crate) use decode::{decode, thumbnail_jpeg};
pub use folder::is_picture;
pub use frame::{Frame, Split};
pub use open::{Frames, frames, open};
#[cfg(feature = "serve")]
pub(crate) use open::{may_come_later, open_once};
pub use preprocess::Preprocess;
pub(crate) use recording::LABELS_FILE;
pub use source::{FrameSource, SourceOptions};
