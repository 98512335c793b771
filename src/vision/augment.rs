//! Seeded augmentation: the random views that self-supervised losses compare.

use fast_image_resize::images::TypedCroppedImage;
use fast_image_resize::{FilterType, Resizer};
use serde::Serialize;

use super::colour;
use super::decode::{resize, view};
use super::frame::Frame;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// The number of attempts at a crop that fits before the centre is taken.
const CROP_ATTEMPTS: usize = 10;

/// The distribution of views, applied in this order: random resized crop (bicubic), colour jitter
/// (its four operations in random order), horizontal flip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Augmentation {
    /// Least and greatest area of the crop, as a fraction of the frame's.
    crop_scale: [f32; 2],
    /// Least and greatest width / height of the crop.
    crop_ratio: [f32; 2],
    /// The probability that colours vary.
    jitter_probability: f32,
    /// Ranges x of brightness, contrast and saturation, which are multiplied by a factor from
    /// `[1 - x, 1 + x]`.
    jitter: [f32; 3],
    /// Range x of the hue, which is turned by `[-x, x]` of a full circle.
    hue_jitter: f32,
    /// The probability that left and right are swapped.
    flip_probability: f32,
}

/// A rectangle within a frame, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crop {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Augmentation {
    /// Mild views for a frozen backbone, whose features must stay recognisable: at least half of
    /// the frame, a flip, and half the colour jitter of Kaizen's scripts (Tang et al., WACV 2024).
    #[must_use]
    pub fn gentle() -> Self {
        Self {
            crop_scale: [0.5, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            jitter_probability: 0.8,
            jitter: [0.2, 0.2, 0.1],
            hue_jitter: 0.05,
            flip_probability: 0.5,
        }
    }

    /// Returns one random view, `size` by `size`; name, time, label and split are the frame's. The
    /// same frame and the same position of `rng` give the same bytes.
    ///
    /// # Errors
    /// [`Error::Config`] for a zero size, [`Error::Shape`] for a malformed frame.
    pub fn view(&self, frame: &Frame, size: u32, rng: &mut Rng) -> Result<Frame> {
        if size == 0 {
            return Err(Error::config("size", size, "1 or more pixels"));
        }
        let source = view(frame)?;
        let Crop { left, top, width, height } = self.crop(frame.width, frame.height, rng);
        // A cropped picture, not a crop box, so that no pixel outside of it shines through the
        // kernel.
        let source = TypedCroppedImage::from_ref(&source, left, top, width, height)
            .map_err(|e| Error::Frame { name: frame.name.clone(), reason: e.to_string() })?;
        let side = size as usize;
        let mut rgb = vec![0; side * side * 3];
        resize(&mut Resizer::new(), &source, &mut rgb, (size, size), FilterType::CatmullRom)?;
        if chance(self.jitter_probability, rng) {
            self.jitter(&mut rgb, rng);
        }
        // Three numbers lie unused between jitter and flip; stored views depend on it.
        let _unused = [rng.bits(), rng.bits(), rng.bits()];
        if chance(self.flip_probability, rng) {
            colour::flip(&mut rgb, side);
        }
        let Frame { timestamp_millis, name, label, split, .. } = frame.clone();
        Ok(Frame { width: size, height: size, rgb, timestamp_millis, name, label, split })
    }

    /// Returns Inception's random crop (Szegedy et al., CVPR 2015): area, logarithm of the ratio
    /// and place are uniform. Where none of ten fits, it is the largest centred crop of an allowed
    /// ratio.
    fn crop(&self, width: u32, height: u32, rng: &mut Rng) -> Crop {
        let (full_width, full_height) = (f64::from(width), f64::from(height));
        let [narrow, wide] = self.crop_ratio.map(f64::from);
        for _ in 0..CROP_ATTEMPTS {
            let area =
                full_width * full_height * f64::from(rng.between(self.crop_scale[0], self.crop_scale[1]));
            let ratio = (narrow.ln() + (wide.ln() - narrow.ln()) * f64::from(rng.uniform())).exp();
            let crop_width = pixels((area * ratio).sqrt());
            let crop_height = pixels((area / ratio).sqrt());
            if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
                let top = place(height - crop_height, rng);
                let left = place(width - crop_width, rng);
                return Crop { left, top, width: crop_width, height: crop_height };
            }
        }
        let ratio = full_width / full_height;
        let crop_width = if ratio > wide { pixels(full_height * wide).clamp(1, width) } else { width };
        let crop_height = if ratio < narrow { pixels(full_width / narrow).clamp(1, height) } else { height };
        let (left, top) = ((width - crop_width) / 2, (height - crop_height) / 2);
        Crop { left, top, width: crop_width, height: crop_height }
    }

    /// Applies the four colour operations in random order, each with its own random factor.
    fn jitter(&self, rgb: &mut [u8], rng: &mut Rng) {
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        let [brightness, contrast, saturation] =
            self.jitter.map(|range| rng.between((1.0 - range).max(0.0), 1.0 + range));
        let turn = rng.between(-self.hue_jitter, self.hue_jitter);
        for operation in order {
            match operation {
                0 => colour::brightness(rgb, brightness),
                1 => colour::contrast(rgb, contrast),
                2 => colour::saturation(rgb, saturation),
                _ => colour::hue(rgb, turn),
            }
        }
    }
}

fn chance(probability: f32, rng: &mut Rng) -> bool {
    rng.uniform() < probability
}

/// Returns a length as whole pixels, to nearest.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; the cast saturates"
)]
fn pixels(length: f64) -> u32 {
    length.round() as u32
}

/// Returns a uniform offset in `0..=free`.
fn place(free: u32, rng: &mut Rng) -> u32 {
    u32::try_from(rng.below(free as usize + 1)).unwrap_or(free)
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::ramp;
    use super::super::frame::Split;
    use super::*;

    /// Nothing happens with any probability; the crop is the whole frame.
    fn still() -> Augmentation {
        Augmentation {
            crop_scale: [1.0, 1.0],
            crop_ratio: [1.0, 1.0],
            jitter_probability: 0.0,
            flip_probability: 0.0,
            ..Augmentation::gentle()
        }
    }

    /// Crops from 8 % of the area, as Kaizen's scripts have them.
    fn tight() -> Augmentation {
        Augmentation { crop_scale: [0.08, 1.0], ..Augmentation::gentle() }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
        let frame = ramp(50, 40, 120);
        for augmentation in [tight(), Augmentation::gentle()] {
            let views = |seed| -> Vec<Frame> {
                let mut rng = Rng::named(seed, "views");
                (0..8).map(|_| augmentation.view(&frame, 32, &mut rng).unwrap()).collect()
            };
            let (first, again, other) = (views(1), views(1), views(2));
            assert_eq!(first, again);
            assert_ne!(first, other);
            for (i, a) in first.iter().enumerate() {
                assert_eq!((a.width, a.height, a.rgb.len()), (32, 32, 3 * 32 * 32));
                assert!(first[..i].iter().all(|b| b.rgb != a.rgb), "views differ");
            }
        }
    }

    #[test]
    fn a_view_keeps_what_the_frame_says() {
        let mut frame = ramp(9, 9, 1);
        (frame.timestamp_millis, frame.label, frame.split) = (77, Some("cup".to_owned()), Split::Test);
        let seen = still().view(&frame, 9, &mut Rng::new(1, 0)).unwrap();
        assert_eq!(seen, frame);
    }

    #[test]
    fn crops_fit_and_cover_their_ranges() {
        let augmentation = tight();
        let mut rng = Rng::new(3, 0);
        let (mut least, mut greatest, mut corners) = (1.0_f64, 0.0_f64, [false; 4]);
        for _ in 0..4000 {
            let crop = augmentation.crop(200, 100, &mut rng);
            let (right, bottom) = (crop.left + crop.width, crop.top + crop.height);
            assert!(crop.width > 0 && crop.height > 0 && right <= 200 && bottom <= 100, "{crop:?}");
            let ratio = f64::from(crop.width) / f64::from(crop.height);
            assert!((0.7..1.4).contains(&ratio), "{crop:?}");
            let area = f64::from(crop.width * crop.height) / 20_000.0;
            (least, greatest) = (least.min(area), greatest.max(area));
            for (corner, touched) in
                corners.iter_mut().zip([crop.left == 0, crop.top == 0, right == 200, bottom == 100])
            {
                *corner |= touched;
            }
        }
        // The largest crop that fits 200x100 at 4:3 is 133x100.
        assert!(least < 0.09 && greatest > 0.6 && greatest < 0.67, "{least} {greatest}");
        assert_eq!(corners, [true; 4]);
    }

    #[test]
    fn a_frame_no_crop_fits_gives_its_centre() {
        let augmentation = Augmentation { crop_scale: [0.9, 1.0], ..tight() };
        let strip = |width, height| augmentation.crop(width, height, &mut Rng::new(1, 0));
        assert_eq!(strip(1000, 30), Crop { left: 480, top: 0, width: 40, height: 30 });
        assert_eq!(strip(30, 1000), Crop { left: 0, top: 480, width: 30, height: 40 });
        let point = tight().view(&ramp(1, 1, 9), 4, &mut Rng::new(1, 0)).unwrap();
        assert_eq!(point.rgb.len(), 48);
    }

    #[test]
    fn pixels_outside_of_the_crop_do_not_shine_through() {
        // One white column in black: a quarter of the area is cropped, so most crops miss it and
        // must stay black.
        let mut frame = Frame::new(64, 64, vec![0; 64 * 64 * 3], "line").unwrap();
        for row in frame.rgb.chunks_exact_mut(64 * 3) {
            row[32 * 3..33 * 3].fill(255);
        }
        let quarter = Augmentation { crop_scale: [0.25, 0.25], ..still() };
        let (mut seen, mut missed) = (0, 0);
        for seed in 0..60 {
            let Crop { left, width, .. } = quarter.crop(64, 64, &mut Rng::new(seed, 0));
            let inside = (left..left + width).contains(&32);
            let shows = quarter.view(&frame, 48, &mut Rng::new(seed, 0)).unwrap().rgb.iter().any(|v| *v > 0);
            assert_eq!(inside, shows, "{left} {width}");
            seen += u32::from(shows);
            missed += u32::from(!shows);
        }
        assert!(seen > 0 && missed > 0, "{seen} {missed}");
    }

    #[test]
    fn each_operation_does_its_own() {
        let frame = ramp(16, 16, 200);
        let view =
            |augmentation: Augmentation| augmentation.view(&frame, 16, &mut Rng::new(5, 0)).unwrap().rgb;
        assert_eq!(view(still()), frame.rgb);
        let flipped = view(Augmentation { flip_probability: 1.0, ..still() });
        assert_eq!(flipped[..3], frame.rgb[15 * 3..16 * 3]);
        let jittered = view(Augmentation { jitter_probability: 1.0, ..still() });
        assert_ne!(jittered, frame.rgb);
        let none = Augmentation { jitter_probability: 1.0, jitter: [0.0; 3], hue_jitter: 0.0, ..still() };
        assert_eq!(view(none), frame.rgb);
    }

    #[test]
    fn jitter_runs_its_operations_in_random_order() {
        // Saturation and hue change nothing here, so the result is that of one of two orders, drawn
        // about equally often.
        let augmentation = Augmentation { jitter: [0.9, 0.9, 0.0], hue_jitter: 0.0, ..still() };
        let start = ramp(8, 8, 40).rgb;
        let (mut brightness_first, mut contrast_first) = (0, 0);
        for seed in 0..64 {
            let mut rgb = start.clone();
            augmentation.jitter(&mut rgb, &mut Rng::new(seed, 0));
            let mut rng = Rng::new(seed, 0);
            rng.shuffle(&mut [0, 1, 2, 3]);
            let (bright, contrast) = (rng.between(0.1, 1.9), rng.between(0.1, 1.9));
            let (mut one, mut other) = (start.clone(), start.clone());
            colour::brightness(&mut one, bright);
            colour::contrast(&mut one, contrast);
            colour::contrast(&mut other, contrast);
            colour::brightness(&mut other, bright);
            assert!(rgb == one || rgb == other, "seed {seed}");
            brightness_first += u32::from(one != other && rgb == one);
            contrast_first += u32::from(one != other && rgb == other);
        }
        assert!(brightness_first > 10 && contrast_first > 10, "{brightness_first} {contrast_first}");
    }

    #[test]
    fn probabilities_are_kept() {
        let frame = ramp(4, 4, 40);
        let half = Augmentation { flip_probability: 0.5, ..still() };
        let mut rng = Rng::new(11, 0);
        let flips = (0..1000).filter(|_| half.view(&frame, 4, &mut rng).unwrap().rgb != frame.rgb).count();
        assert!((430..570).contains(&flips), "{flips}");
    }

    #[test]
    fn a_view_of_no_pixels_is_refused() {
        let none = still().view(&ramp(4, 4, 0), 0, &mut Rng::new(1, 0));
        assert!(matches!(none, Err(Error::Config { field: "size", .. })));
    }

    #[test]
    fn a_view_draws_as_many_numbers_as_views_that_are_stored_did() {
        let mut rng = Rng::new(5, 0);
        still().view(&ramp(16, 16, 9), 16, &mut rng).unwrap();
        // Four for the crop, one for the jitter, three that lie unused, one for the flip.
        let mut nine = Rng::new(5, 0);
        let _drawn: Vec<u32> = (0..9).map(|_| nine.bits()).collect();
        assert_eq!(rng.bits(), nine.bits());
    }
}
