//! JPEG and PNG to frames, under limits; frames to small JPEGs.

use std::fs::File;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::frame::Frame;
use crate::error::{Error, Result};

/// The number of pixels that a picture may have unless set otherwise: 64 million, more than today's
/// cameras deliver.
pub const DEFAULT_MAX_PIXELS: u64 = 64_000_000;

/// The bytes of a pixel of RGB8, which every picture becomes.
const PIXEL_BYTES: u64 = 3;
/// The bytes of the widest pixel format that is decoded (RGBA, 16 bits per channel).
const WIDEST_PIXEL_BYTES: u64 = 8;
/// The bytes allowed for what surrounds the pixels (colour profiles, text) in the smallest picture.
const SMALLEST_BUDGET_BYTES: u64 = 16 << 20;

/// Returns the most bytes that the file of a picture of `max_pixels` is read from: as many as its
/// pixels take in the widest format, which no JPEG and no sensible PNG reaches.
pub(super) fn most_bytes(max_pixels: u64) -> u64 {
    max_pixels.saturating_mul(WIDEST_PIXEL_BYTES).max(SMALLEST_BUDGET_BYTES)
}

/// Decodes a JPEG or PNG to RGB8. Grey, palette, 16-bit and CMYK pictures are converted,
/// transparency is dropped and the EXIF orientation is applied. The size is read from the header
/// and compared with `max_pixels` before any pixel is decoded. A pixel of a wider format than RGB8
/// counts as more than one, by its bytes, so that decoding takes at most 9 bytes for each of
/// `max_pixels`: the picture as it is stored, as RGB8, and turned upright.
///
/// # Errors
/// [`Error::Frame`] naming `name`: not a JPEG or PNG, too large, damaged, or cut short.
pub(crate) fn decode(bytes: &[u8], name: &str, max_pixels: u64) -> Result<Frame> {
    let bad = |reason: String| Error::Frame { name: name.to_owned(), reason };
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| bad(e.to_string()))?;
    let format = match reader.format() {
        Some(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        Some(other) => return Err(bad(format!("{other:?} is not read; convert it to JPEG or PNG"))),
        None if bytes.is_empty() => return Err(bad("the file is empty".to_owned())),
        None => return Err(bad("neither JPEG nor PNG".to_owned())),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most_bytes(max_pixels));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| bad(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return Err(bad(format!(
            "{width}x{height} is {pixels} pixels, allowed are {max_pixels} (scale it down, or raise max_pixels)"
        )));
    }
    let stored_bytes = decoder.total_bytes();
    if stored_bytes > max_pixels.saturating_mul(PIXEL_BYTES) {
        let counted = stored_bytes.div_ceil(PIXEL_BYTES);
        return Err(bad(format!(
            "{width}x{height} pixels of {:?} count as {counted}, allowed are {max_pixels} (store it with 8 bits a \
             channel and without transparency, or raise max_pixels)",
            decoder.color_type()
        )));
    }
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err(bad("the JPEG is cut short: it has no end marker".to_owned()));
    }
    let orientation = decoder.orientation().map_err(|e| bad(e.to_string()))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| bad(e.to_string()))?;
    picture.apply_orientation(orientation);
    let picture = picture.into_rgb8();
    Frame::new(picture.width(), picture.height(), picture.into_raw(), name)
}

/// Reads and decodes one picture file.
///
/// # Errors
/// [`Error::Frame`] naming `name`: the file cannot be read, or as `decode`.
pub fn read(path: &Path, name: &str, max_pixels: u64) -> Result<Frame> {
    let bad = |reason: String| Error::Frame { name: name.to_owned(), reason };
    let cannot = |error: std::io::Error| bad(format!("cannot be read: {error}"));
    let (most, mut bytes) = (most_bytes(max_pixels), Vec::new());
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > most {
        return Err(bad(format!(
            "the file has more than {most} bytes, which no picture of {max_pixels} pixels has"
        )));
    }
    decode(&bytes, name, max_pixels)
}

/// Reads the picture in a JPEG or PNG file.
impl TryFrom<&Path> for Frame {
    type Error = Error;

    fn try_from(path: &Path) -> Result<Self> {
        read(path, &path.display().to_string(), DEFAULT_MAX_PIXELS)
    }
}

/// Reads the picture in a JPEG or PNG file.
impl TryFrom<PathBuf> for Frame {
    type Error = Error;

    fn try_from(path: PathBuf) -> Result<Self> {
        path.as_path().try_into()
    }
}

/// Reads the picture in a JPEG or PNG file.
impl TryFrom<&str> for Frame {
    type Error = Error;

    fn try_from(path: &str) -> Result<Self> {
        Path::new(path).try_into()
    }
}

/// Returns whether an end-of-image marker follows the last scan. The decoder paints the missing
/// part of a cut file in grey and reports nothing. Within a scan 0xFF is always followed by zero or
/// a restart marker.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    last(0xD9) > last(0xDA)
}

/// Encodes a copy of the frame whose longer side is at most `max_side` pixels (never enlarged) as a
/// JPEG of `quality` 1..=100.
///
/// # Errors
/// [`Error::Config`] for a zero side or a quality out of range, [`Error::Shape`] for a malformed
/// frame, [`Error::Frame`] if it cannot be encoded (a side above 65 535).
pub(crate) fn thumbnail_jpeg(frame: &Frame, max_side: u32, quality: u8) -> Result<Vec<u8>> {
    if max_side == 0 {
        return Err(Error::config("thumbnail_side", max_side, "1 or more pixels"));
    }
    if !(1..=100).contains(&quality) {
        return Err(Error::config("thumbnail_quality", quality, "1 to 100"));
    }
    let source = view(frame)?;
    let longer = frame.width.max(frame.height);
    let [width, height] = [frame.width, frame.height]
        .map(|side| if longer <= max_side { side } else { scaled(side, max_side, longer) });
    let mut small = Vec::new();
    if longer > max_side {
        small.resize(width as usize * height as usize * 3, 0);
        resize(&mut Resizer::new(), &source, &mut small, (width, height), FilterType::Bilinear)?;
    }
    let rgb = if longer > max_side { &small } else { &frame.rgb };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Error::Frame { name: frame.name.clone(), reason: e.to_string() })?;
    Ok(jpeg)
}

/// Returns `side * max_side / longer`, rounded to nearest, at least 1.
fn scaled(side: u32, max_side: u32, longer: u32) -> u32 {
    let rounded = (u64::from(side) * u64::from(max_side) + u64::from(longer) / 2) / u64::from(longer).max(1);
    u32::try_from(rounded).unwrap_or(max_side).max(1)
}

/// Returns the frame's pixels as the resizer takes them.
pub(super) fn view(frame: &Frame) -> Result<TypedImageRef<'_, U8x3>> {
    frame.check()?;
    TypedImageRef::from_buffer(frame.width, frame.height, &frame.rgb)
        .map_err(|e| Error::Frame { name: frame.name.clone(), reason: e.to_string() })
}

/// Resizes `source` into `out`, RGB8 `[height, width, 3]`, with a kernel that widens when shrinking
/// (as Pillow's).
pub(super) fn resize(
    resizer: &mut Resizer,
    source: &impl ImageView<Pixel = U8x3>,
    out: &mut [u8],
    (width, height): (u32, u32),
    filter: FilterType,
) -> Result<()> {
    let bad = |reason: String| Error::Frame { name: format!("resize to {width}x{height}"), reason };
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, out).map_err(|e| bad(e.to_string()))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    resizer.resize_typed(source, &mut target, &options).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use image::ImageEncoder as _;
    use image::codecs::png::PngEncoder;

    use super::*;

    /// A smooth colour ramp; `shade` sets the blue channel.
    pub(in super::super) fn ramp(width: u32, height: u32, shade: u8) -> Frame {
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let shares = [x * 255 / width, y * 255 / height].map(|share| u8::try_from(share).unwrap());
                rgb.extend([shares[0], shares[1], shade]);
            }
        }
        Frame::new(width, height, rgb, "ramp").unwrap()
    }

    pub(in super::super) fn png(bytes: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(bytes, width, height, colour).unwrap();
        file
    }

    pub(in super::super) fn jpeg(frame: &Frame) -> Vec<u8> {
        thumbnail_jpeg(frame, u32::MAX, 95).unwrap()
    }

    fn reason(bytes: &[u8]) -> String {
        match decode(bytes, "cat.jpg", DEFAULT_MAX_PIXELS).unwrap_err() {
            Error::Frame { name, reason } => {
                assert_eq!(name, "cat.jpg");
                reason
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn png_is_exact_and_jpeg_is_close() {
        let frame = ramp(40, 30, 77);
        let exact = decode(&png(&frame.rgb, 40, 30, ExtendedColorType::Rgb8), "ramp", 1200).unwrap();
        assert_eq!(exact, frame);
        let lossy = decode(&jpeg(&frame), "ramp", 1200).unwrap();
        let worst = frame.rgb.iter().zip(&lossy.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst > 0 && worst < 12, "{worst}");
    }

    #[test]
    fn other_pixel_formats_become_rgb8() {
        let cases: [(&[u8], ExtendedColorType, [u8; 3]); 4] = [
            (&[90], ExtendedColorType::L8, [90, 90, 90]),
            (&[90, 0], ExtendedColorType::La8, [90, 90, 90]),
            (&[10, 20, 30, 0], ExtendedColorType::Rgba8, [10, 20, 30]),
            (&[0xFF, 0xFF, 0, 0, 0x80, 0x80], ExtendedColorType::Rgb16, [255, 0, 128]),
        ];
        for (pixel, colour, expected) in cases {
            // 16-bit input of the encoder is in native order; these values read the same both ways.
            let frame = decode(&png(pixel, 1, 1, colour), "p", 10).unwrap();
            assert_eq!(frame.rgb, expected, "{colour:?}");
        }
    }

    #[test]
    fn a_cmyk_jpeg_becomes_rgb8() {
        // 8x8, all (C, M, Y, K) = (255, 0, 0, 0) stored inverted with an Adobe marker, as Pillow
        // writes it: cyan.
        let frame = decode(CMYK_JPEG, "cmyk", 64).unwrap();
        let [r, g, b] = [frame.rgb[0], frame.rgb[1], frame.rgb[2]];
        assert!(r < 8 && g > 247 && b > 247, "{r} {g} {b}");
    }

    #[test]
    fn exif_orientation_is_applied() {
        // Left half red, right half blue; orientation 6 turns it clockwise: red above blue.
        let mut rgb = Vec::new();
        for _ in 0..16 {
            for x in 0..32 {
                rgb.extend(if x < 16 { [255, 0, 0] } else { [0, 0, 255] });
            }
        }
        let upright = jpeg(&Frame::new(32, 16, rgb, "turned").unwrap());
        let mut turned = upright[..2].to_vec();
        turned.extend([0xFF, 0xE1, 0, 34]);
        turned.extend(b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
        turned.extend(&upright[2..]);
        let frame = decode(&turned, "turned", 10_000).unwrap();
        assert_eq!((frame.width, frame.height), (16, 32));
        assert!(frame.rgb[0] > 200 && frame.rgb[frame.rgb.len() - 1] > 200);
        assert_eq!(decode(&upright, "upright", 10_000).unwrap().width, 32);
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let mut bomb = png(&[0; 3], 1, 1, ExtendedColorType::Rgb8);
        bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let checksum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        let text = reason(&bomb);
        assert!(text.contains("60000x60000") && text.contains("64000000"), "{text}");
        // The same check on a JPEG header: 65 500 x 65 500.
        let mut bomb = jpeg(&ramp(8, 8, 0));
        let sof = bomb.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        bomb[sof + 5..sof + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
        assert!(reason(&bomb).contains("65500x65500"));
        // One pixel above the limit is refused, at the limit it is taken.
        let small = png(&[0; 12], 2, 2, ExtendedColorType::Rgb8);
        assert!(decode(&small, "small", 4).is_ok() && decode(&small, "small", 3).is_err());
    }

    #[test]
    fn a_picture_of_wide_pixels_counts_by_what_it_takes() {
        let pixels = 32 * 32;
        let wide = png(&[7; 32 * 32 * 8], 32, 32, ExtendedColorType::Rgba16);
        let plain = png(&[7; 32 * 32 * 3], 32, 32, ExtendedColorType::Rgb8);
        assert!(decode(&plain, "plain", pixels).is_ok());
        let refused = decode(&wide, "wide", pixels).unwrap_err().to_string();
        assert!(refused.contains("Rgba16") && refused.contains("count as 2731"), "{refused}");
        assert!(decode(&wide, "wide", 2731).is_ok());
    }

    #[test]
    fn a_file_that_no_picture_fills_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endless.jpg");
        // A hole: it takes no room on the disk, and would take 100 GB of memory.
        std::fs::File::create(&path).unwrap().set_len(100 << 30).unwrap();
        let refused = read(&path, "endless.jpg", 1000).unwrap_err().to_string();
        assert!(refused.contains("more than 16777216 bytes"), "{refused}");
    }

    #[test]
    fn damage_is_named() {
        let good = png(&ramp(20, 20, 1).rgb, 20, 20, ExtendedColorType::Rgb8);
        let mut flipped = good.clone();
        let middle = good.len() / 2;
        flipped[middle] ^= 0x55;
        reason(&flipped);
        reason(&good[..good.len() / 2]);
        let whole = jpeg(&ramp(64, 64, 1));
        assert!(reason(&whole[..whole.len() * 3 / 4]).contains("cut short"));
        assert!(reason(b"").contains("empty"));
        assert!(reason(b"not a picture at all").contains("neither JPEG nor PNG"));
        assert!(reason(b"GIF89a.............").contains("Gif is not read"));
    }

    #[test]
    fn thumbnails_keep_the_aspect_and_never_grow() {
        let frame = ramp(200, 100, 9);
        let side = |max: u32| {
            let small = decode(&thumbnail_jpeg(&frame, max, 80).unwrap(), "t", 1 << 20).unwrap();
            (small.width, small.height)
        };
        assert_eq!(side(50), (50, 25));
        assert_eq!(side(1000), (200, 100));
        assert_eq!(side(1), (1, 1));
        assert!(thumbnail_jpeg(&frame, 0, 80).is_err());
        assert!(thumbnail_jpeg(&frame, 8, 0).is_err() && thumbnail_jpeg(&frame, 8, 101).is_err());
        let mut torn = frame;
        torn.rgb.pop();
        assert!(matches!(thumbnail_jpeg(&torn, 8, 80), Err(Error::Shape { .. })));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc: u32, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xEDB8_8320 * (c & 1)))
        })
    }

    const CMYK_JPEG: &[u8] = &[
        255, 216, 255, 238, 0, 14, 65, 100, 111, 98, 101, 0, 100, 0, 0, 0, 0, 0, 255, 219, 0, 67, 0, 3, 2, 2,
        3, 2, 2, 3, 3, 3, 3, 4, 3, 3, 4, 5, 8, 5, 5, 4, 4, 5, 10, 7, 7, 6, 8, 12, 10, 12, 12, 11, 10, 11, 11,
        13, 14, 18, 16, 13, 14, 17, 14, 11, 11, 16, 22, 16, 17, 19, 20, 21, 21, 21, 12, 15, 23, 24, 22, 20,
        24, 18, 20, 21, 20, 255, 192, 0, 20, 8, 0, 8, 0, 8, 4, 67, 17, 0, 77, 17, 0, 89, 17, 0, 75, 17, 0,
        255, 196, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 255, 196, 0, 20, 16, 1, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 218, 0, 14, 4, 67, 0, 77, 0, 89, 0, 75, 0, 0, 63, 0,
        42, 138, 153, 83, 42, 111, 255, 217,
    ];
}
