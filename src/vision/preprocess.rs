//! From a frame to the input of a backbone.

use fast_image_resize::{FilterType, Resizer};

use super::decode::{resize, view};
use super::frame::Frame;
use crate::error::{Error, Result};

/// A preprocessor: bilinear resize to a square, then `(pixel - mean) / std` per channel. The whole
/// frame is used, and the aspect ratio is not kept. The resize is Pillow's
/// `Image.resize(.., BILINEAR)` (a triangle kernel that widens when shrinking), so that features
/// equal those of a Python pipeline.
#[derive(Clone, Debug)]
pub struct Preprocess {
    /// Side S of the output, in pixels.
    pub size: u32,
    /// The values subtracted from R, G, B, on the scale of pixels, 0..255.
    pub mean: [f32; 3],
    /// The values by which R, G, B are divided, on the scale of pixels, 0..255.
    pub std: [f32; 3],
    resizer: Resizer,
    resized: Vec<u8>,
}

impl Preprocess {
    /// A preprocessor to `[3, size, size]` with `mean` and `std` on the scale of pixels, 0..255.
    ///
    /// # Errors
    /// [`Error::Config`] for a zero size, a mean that is not finite or a standard deviation that is
    /// not above 0.
    pub fn new(size: u32, mean: [f32; 3], std: [f32; 3]) -> Result<Self> {
        let this = Self { size, mean, std, resizer: Resizer::new(), resized: Vec::new() };
        this.check()?;
        Ok(this)
    }

    fn check(&self) -> Result<()> {
        if self.size == 0 {
            return Err(Error::config("size", self.size, "1 or more pixels"));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(Error::config("mean", mean, "finite numbers on the scale of pixels, 0..255"));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(Error::config("std", std, "numbers above 0 on the scale of pixels, 0..255"));
        }
        Ok(())
    }

    /// Writes the frame to `out`, `[3, size, size]` row-major (planes R, G, B). Pixel buffers are
    /// kept between calls.
    ///
    /// # Errors
    /// [`Error::Shape`] if the frame is malformed or `out` has another length, [`Error::Config`] as
    /// in [`Self::new`].
    pub fn run(&mut self, frame: &Frame, out: &mut [f32]) -> Result<()> {
        self.check()?;
        let side = self.size as usize;
        if out.len() != 3 * side * side {
            return Err(Error::shape("preprocessed frame", [3, side, side], out.len()));
        }
        let source = view(frame)?;
        self.resized.resize(3 * side * side, 0);
        let sides = (self.size, self.size);
        resize(&mut self.resizer, &source, &mut self.resized, sides, FilterType::Bilinear)?;
        let (pixels, _) = self.resized.as_chunks::<3>();
        for (channel, plane) in out.chunks_exact_mut(side * side).enumerate() {
            // There are only 256 values to normalise.
            let table = normalised(self.mean[channel], self.std[channel]);
            for (value, pixel) in plane.iter_mut().zip(pixels) {
                *value = table[usize::from(pixel[channel])];
            }
        }
        Ok(())
    }
}

fn normalised(mean: f32, std: f32) -> [f32; 256] {
    let mut table = [0.0; 256];
    for (value, pixel) in table.iter_mut().zip(0_u8..=255) {
        *value = (f32::from(pixel) - mean) / std;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::ramp;
    use super::*;

    const IDENTITY: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);

    /// Pillow 13.0.0: `Image.resize((4, 4), BILINEAR)` of the 13x9 pattern, planes R, G, B.
    #[rustfmt::skip]
    const DOWN: [u8; 48] = [
        55, 138, 121, 130, 125, 126, 121, 115, 153, 138, 135, 138, 113, 127, 149, 159, 135, 139, 121, 139,
        163, 121, 122, 132, 106, 134, 127, 127, 102, 133, 127, 145, 174, 117, 145, 145, 96, 137, 123, 128,
        119, 128, 116, 140, 143, 120, 121, 137,
    ];
    /// Pillow 13.0.0: `Image.resize((5, 5), BILINEAR)` of the 3x2 pattern, planes R, G, B.
    #[rustfmt::skip]
    const UP: [u8; 75] = [
        0, 3, 7, 20, 28, 3, 6, 11, 24, 32, 16, 20, 25, 40, 49, 28, 33, 39, 55, 65, 31, 36, 43, 59, 69, 83,
        86, 90, 103, 111, 86, 89, 94, 107, 115, 99, 103, 108, 123, 132, 111, 116, 122, 138, 148, 114, 119,
        126, 142, 152, 166, 169, 173, 186, 194, 169, 172, 177, 190, 198, 182, 186, 191, 206, 215, 194, 199,
        205, 221, 231, 197, 202, 209, 225, 235,
    ];
    /// Pillow 13.0.0: `Image.resize((8, 8), BILINEAR)` of the 40x6 pattern, planes R, G, B.
    #[rustfmt::skip]
    const MIXED: [u8; 192] = [
        62, 146, 135, 146, 119, 154, 120, 129, 81, 123, 134, 129, 117, 117, 111, 103, 101, 123, 141, 147,
        127, 107, 101, 71, 114, 139, 147, 182, 145, 130, 96, 60, 121, 104, 108, 107, 142, 139, 117, 150,
        149, 126, 113, 155, 135, 109, 149, 175, 159, 133, 127, 146, 137, 100, 162, 165, 150, 117, 139, 71,
        148, 114, 154, 139, 110, 96, 126, 86, 110, 135, 142, 201, 137, 137, 138, 139, 121, 124, 127, 182,
        156, 144, 145, 130, 127, 110, 120, 154, 159, 114, 140, 75, 129, 101, 122, 123, 149, 110, 116, 155,
        150, 118, 113, 90, 138, 125, 124, 87, 127, 129, 89, 59, 122, 132, 123, 78, 109, 130, 98, 93, 105,
        129, 110, 144, 108, 125, 134, 175, 158, 158, 137, 138, 141, 105, 122, 39, 156, 136, 136, 96, 127,
        132, 126, 129, 145, 124, 124, 94, 137, 145, 132, 180, 123, 129, 108, 139, 162, 134, 137, 175, 95,
        148, 130, 165, 129, 97, 141, 169, 103, 115, 114, 139, 123, 105, 134, 142, 113, 111, 121, 149, 133,
        123, 116, 110, 118, 140, 152, 196, 150, 137, 94, 84,
    ];

    /// The picture the expected values were computed from.
    fn pattern(width: u32, height: u32) -> Frame {
        let mut rgb = vec![];
        for y in 0..height {
            for x in 0..width {
                for c in 0..3 {
                    rgb.push(u8::try_from((x * x * 7 + y * 31 + x * y * 5 + c * 83) % 256).unwrap());
                }
            }
        }
        Frame::new(width, height, rgb, "pattern").unwrap()
    }

    #[test]
    fn the_resize_is_pillows() {
        for (width, height, size, expected) in
            [(13, 9, 4, &DOWN[..]), (3, 2, 5, &UP[..]), (40, 6, 8, &MIXED[..])]
        {
            let mut out = vec![0.0; expected.len()];
            let mut preprocess = Preprocess::new(size, IDENTITY.0, IDENTITY.1).unwrap();
            preprocess.run(&pattern(width, height), &mut out).unwrap();
            let worst = out
                .iter()
                .zip(expected)
                .map(|(got, want)| (got - f32::from(*want)).abs())
                .fold(0.0, f32::max);
            assert!(worst <= 1.0, "{width}x{height} to {size}: off by {worst}");
            // Negative control: another picture is nowhere near.
            preprocess.run(&ramp(width, height, 0), &mut out).unwrap();
            assert!(out.iter().zip(expected).any(|(got, want)| (got - f32::from(*want)).abs() > 50.0));
        }
    }

    #[test]
    fn planes_are_normalised_by_channel() {
        let frame = Frame::new(2, 2, vec![0, 10, 20, 30, 40, 50, 60, 70, 80, 255, 100, 110], "four").unwrap();
        let mut out = [0.0; 12];
        Preprocess::new(2, [10.0, 20.0, 30.0], [2.0, 4.0, 5.0]).unwrap().run(&frame, &mut out).unwrap();
        let expected = [-5.0, 10.0, 25.0, 122.5, -2.5, 5.0, 12.5, 20.0, -2.0, 4.0, 10.0, 16.0];
        assert_eq!(out, expected);
    }

    #[test]
    fn one_preprocessor_takes_frames_of_all_sizes() {
        let mut shared = Preprocess::new(7, [1.0; 3], [2.0; 3]).unwrap();
        let mut addresses = vec![];
        for (width, height) in [(64, 48), (7, 7), (3, 90), (64, 48)] {
            let frame = ramp(width, height, 200);
            let (mut got, mut fresh) = (vec![0.0; 147], vec![0.0; 147]);
            shared.run(&frame, &mut got).unwrap();
            Preprocess::new(7, [1.0; 3], [2.0; 3]).unwrap().run(&frame, &mut fresh).unwrap();
            assert_eq!(got, fresh);
            addresses.push(shared.resized.as_ptr());
        }
        assert!(addresses.iter().all(|address| *address == addresses[0]), "the buffer is kept");
    }

    #[test]
    fn wrong_shapes_and_settings_are_refused() {
        let mut preprocess = Preprocess::new(4, IDENTITY.0, IDENTITY.1).unwrap();
        let mut frame = ramp(5, 5, 0);
        assert!(matches!(preprocess.run(&frame, &mut [0.0; 47]), Err(Error::Shape { .. })));
        frame.height = 6;
        assert!(matches!(preprocess.run(&frame, &mut [0.0; 48]), Err(Error::Shape { .. })));
        assert!(Preprocess::new(0, IDENTITY.0, IDENTITY.1).is_err());
        assert!(Preprocess::new(4, IDENTITY.0, [1.0, 0.0, 1.0]).is_err());
        assert!(Preprocess::new(4, [f32::NAN; 3], IDENTITY.1).is_err());
    }
}
