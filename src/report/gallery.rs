//! Small images with what was said about them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::markup::escape;
use super::number::percent;
use crate::error::{Error, Result};

/// One image of a gallery; its bytes travel inside the page.
#[derive(Clone, Debug)]
pub struct Picture {
    data_uri: String,
    class: String,
    probability: Option<f64>,
}

impl Picture {
    /// An image from the bytes of a PNG or JPEG file, the class it shows and that class's probability in 0..1.
    ///
    /// # Errors
    /// [`Error::Frame`] naming `class` if the bytes are neither PNG nor JPEG.
    pub fn new(bytes: &[u8], class: impl Into<String>, probability: Option<f64>) -> Result<Self> {
        let class = class.into();
        let kind = match bytes {
            [0x89, b'P', b'N', b'G', ..] => "png",
            [0xFF, 0xD8, 0xFF, ..] => "jpeg",
            _ => {
                return Err(Error::Frame {
                    name: class,
                    reason: "a report shows PNG or JPEG images only".to_owned(),
                });
            }
        };
        Ok(Self {
            data_uri: format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)),
            class,
            probability,
        })
    }
}

/// The pictures as a grid of figures.
pub(super) fn html(pictures: &[Picture]) -> String {
    if pictures.is_empty() {
        return "<p class=\"note\">No images yet.</p>".to_owned();
    }
    let mut out = String::from("<div class=\"gallery\">");
    for picture in pictures {
        let class = escape(&picture.class);
        let probability = picture.probability.unwrap_or(f64::NAN);
        let share = if probability.is_finite() { probability.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
        out.push_str(&format!(
            "<figure><img src=\"{}\" alt=\"{class}\" loading=\"lazy\" decoding=\"async\"/><figcaption><span class=\"name\">{class}</span><i class=\"meter\" style=\"--p:{share:.0}%\"></i><span class=\"prob\">{}</span></figcaption></figure>",
            picture.data_uri,
            percent(probability)
        ));
    }
    out.push_str("</div>");
    out
}
