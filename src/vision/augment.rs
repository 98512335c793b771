//! Seeded augmentation: the random views that self-supervised losses compare.

use fast_image_resize::images::TypedCroppedImage;
use fast_image_resize::{FilterType, Resizer};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::colour;
use super::decode::{resize, view};
use super::frame::Frame;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Attempts at a crop that fits before the centre is taken.
const CROP_ATTEMPTS: usize = 10;
/// Range of the blur's standard deviation, in pixels of the view (SimCLR, Chen et al., ICML 2020, appendix
/// A).
const BLUR_SIGMA: [f32; 2] = [0.1, 2.0];

/// How much colours vary. Brightness, contrast and saturation are multiplied by a factor from `[1 - x, 1 +
/// x]` (not below 0), the hue is turned by `[-hue, hue]` of a full circle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourJitter {
    /// Range of the brightness factor, 0 or more.
    pub brightness: f32,
    /// Range of the contrast factor, 0 or more.
    pub contrast: f32,
    /// Range of the saturation factor, 0 or more.
    pub saturation: f32,
    /// Range of the hue turn, 0 to 0.5.
    pub hue: f32,
}

/// The distribution of views. Applied in this order: random resized crop (bicubic), colour jitter (its four
/// operations in random order), grayscale, Gaussian blur, solarise, horizontal flip.
///
/// [`Default`] is the CIFAR setting of Kaizen's scripts (Tang et al., WACV 2024), first view; the second view
/// is [`Self::second_view`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Least and greatest area of the crop, as a fraction of the frame's.
    pub crop_scale: [f32; 2],
    /// Least and greatest width / height of the crop.
    pub crop_ratio: [f32; 2],
    /// How much colours vary when they do.
    pub jitter: ColourJitter,
    /// How often colours vary.
    pub jitter_probability: f32,
    /// How often colour is dropped.
    pub grayscale_probability: f32,
    /// How often the view is blurred.
    pub blur_probability: f32,
    /// How often values from 128 up are inverted.
    pub solarise_probability: f32,
    /// How often left and right are swapped.
    pub flip_probability: f32,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            jitter: ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 },
            jitter_probability: 0.8,
            grayscale_probability: 0.2,
            blur_probability: 0.0,
            solarise_probability: 0.0,
            flip_probability: 0.5,
        }
    }
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
    /// The paper's second view: the default, solarised one time in five.
    #[must_use]
    pub fn second_view() -> Self {
        Self { solarise_probability: 0.2, ..Self::default() }
    }

    /// Mild views for a frozen backbone, whose features must stay recognisable: at least half of the frame, a
    /// flip, half the jitter.
    #[must_use]
    pub fn gentle() -> Self {
        Self {
            crop_scale: [0.5, 1.0],
            jitter: ColourJitter { brightness: 0.2, contrast: 0.2, saturation: 0.1, hue: 0.05 },
            grayscale_probability: 0.0,
            ..Self::default()
        }
    }

    /// Confirms that every setting is within its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let [least, greatest] = self.crop_scale;
        if !(0.0 < least && least <= greatest && greatest <= 1.0) {
            let got = format!("{:?}", self.crop_scale);
            return Err(Error::config(
                "crop_scale",
                got,
                "[least, greatest] with 0 < least <= greatest <= 1",
            ));
        }
        let [least, greatest] = self.crop_ratio;
        if !(0.0 < least && least <= greatest && greatest.is_finite()) {
            let got = format!("{:?}", self.crop_ratio);
            return Err(Error::config("crop_ratio", got, "[least, greatest] with 0 < least <= greatest"));
        }
        let ColourJitter { brightness, contrast, saturation, hue } = self.jitter;
        for (field, value) in [
            ("jitter.brightness", brightness),
            ("jitter.contrast", contrast),
            ("jitter.saturation", saturation),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::config(field, value, "a number from 0 up"));
            }
        }
        if !(0.0..=0.5).contains(&hue) {
            return Err(Error::config("jitter.hue", hue, "0 to 0.5"));
        }
        for (field, value) in [
            ("jitter_probability", self.jitter_probability),
            ("grayscale_probability", self.grayscale_probability),
            ("blur_probability", self.blur_probability),
            ("solarise_probability", self.solarise_probability),
            ("flip_probability", self.flip_probability),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(field, value, "0 to 1"));
            }
        }
        Ok(())
    }

    /// One random view, `size` by `size`; name, time, label and split are the frame's. The same frame,
    /// settings and position of `rng` give the same bytes.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range or a zero size, [`Error::Shape`] for a malformed frame.
    pub fn view(&self, frame: &Frame, size: u32, rng: &mut Rng) -> Result<Frame> {
        self.check()?;
        if size == 0 {
            return Err(Error::config("size", size, "1 or more pixels"));
        }
        let source = view(frame)?;
        let Crop { left, top, width, height } = self.crop(frame.width, frame.height, rng);
        // Pixels outside of the crop must not shine through the kernel, hence a cropped picture, not a crop
        // box.
        let source = TypedCroppedImage::from_ref(&source, left, top, width, height)
            .map_err(|e| Error::Frame { name: frame.name.clone(), reason: e.to_string() })?;
        let side = size as usize;
        let mut rgb = vec![0; side * side * 3];
        resize(&mut Resizer::new(), &source, &mut rgb, (size, size), FilterType::CatmullRom)?;
        if chance(self.jitter_probability, rng) {
            self.jitter.apply(&mut rgb, rng);
        }
        if chance(self.grayscale_probability, rng) {
            colour::grayscale(&mut rgb);
        }
        if chance(self.blur_probability, rng) {
            rgb = blurred(rgb, size, rng.between(BLUR_SIGMA[0], BLUR_SIGMA[1]))?;
        }
        if chance(self.solarise_probability, rng) {
            colour::solarise(&mut rgb);
        }
        if chance(self.flip_probability, rng) {
            colour::flip(&mut rgb, side);
        }
        Ok(Frame {
            width: size,
            height: size,
            rgb,
            timestamp_millis: frame.timestamp_millis,
            name: frame.name.clone(),
            label: frame.label.clone(),
            split: frame.split,
        })
    }

    /// Inception's random crop (Szegedy et al., CVPR 2015): the area is uniform, the logarithm of the ratio
    /// is uniform, the place is uniform; where none of ten fits, the largest centred crop of an allowed
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
}

impl ColourJitter {
    /// The four operations, each with its own random factor, in random order.
    fn apply(&self, rgb: &mut [u8], rng: &mut Rng) {
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        let mut factor = |range: f32| rng.between((1.0 - range).max(0.0), 1.0 + range);
        let factors = [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turn = rng.between(-self.hue, self.hue);
        for operation in order {
            match operation {
                0 => colour::brightness(rgb, factors[0]),
                1 => colour::contrast(rgb, factors[1]),
                2 => colour::saturation(rgb, factors[2]),
                _ => colour::hue(rgb, turn),
            }
        }
    }
}

fn chance(probability: f32, rng: &mut Rng) -> bool {
    rng.uniform() < probability
}

/// A length as whole pixels, to nearest.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; the cast saturates"
)]
fn pixels(length: f64) -> u32 {
    length.round() as u32
}

/// A uniform offset in `0..=free`.
fn place(free: u32, rng: &mut Rng) -> u32 {
    u32::try_from(rng.below(free as usize + 1)).unwrap_or(free)
}

fn blurred(rgb: Vec<u8>, size: u32, sigma: f32) -> Result<Vec<u8>> {
    let got = rgb.len();
    let picture = RgbImage::from_raw(size, size, rgb)
        .ok_or_else(|| Error::shape("view to blur", [size as usize, size as usize, 3], got))?;
    Ok(image::imageops::blur(&picture, sigma).into_raw())
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
            grayscale_probability: 0.0,
            flip_probability: 0.0,
            ..Default::default()
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
        let frame = ramp(50, 40, 120);
        let noisy = Augmentation { blur_probability: 0.5, ..Augmentation::second_view() };
        for augmentation in [noisy, Augmentation::gentle()] {
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
        let augmentation = Augmentation::default();
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
        let augmentation = Augmentation { crop_scale: [0.9, 1.0], ..Default::default() };
        let strip = |width, height| augmentation.crop(width, height, &mut Rng::new(1, 0));
        assert_eq!(strip(1000, 30), Crop { left: 480, top: 0, width: 40, height: 30 });
        assert_eq!(strip(30, 1000), Crop { left: 0, top: 480, width: 30, height: 40 });
        let point = Augmentation::default().view(&ramp(1, 1, 9), 4, &mut Rng::new(1, 0)).unwrap();
        assert_eq!(point.rgb.len(), 48);
    }

    #[test]
    fn pixels_outside_of_the_crop_do_not_shine_through() {
        // One white column in black: a quarter of the area is cropped, so most crops miss it and must stay
        // black.
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
        let grey = view(Augmentation { grayscale_probability: 1.0, ..still() });
        assert!(grey.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b));
        let solarised = view(Augmentation { solarise_probability: 1.0, ..still() });
        assert!(solarised.iter().all(|value| *value < 128));
        let spread = |rgb: &[u8]| -> u32 { rgb.chunks_exact(3).map(|p| u32::from(p[0].abs_diff(127))).sum() };
        let blurred = view(Augmentation { blur_probability: 1.0, ..still() });
        assert!(spread(&blurred) < spread(&frame.rgb), "edges are softened");
        let jittered = view(Augmentation { jitter_probability: 1.0, ..still() });
        assert_ne!(jittered, frame.rgb);
        let none = ColourJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 };
        assert_eq!(view(Augmentation { jitter_probability: 1.0, jitter: none, ..still() }), frame.rgb);
    }

    #[test]
    fn jitter_runs_its_operations_in_random_order() {
        // Saturation and hue change nothing here, so the result is that of one of two orders, drawn about
        // equally often.
        let jitter = ColourJitter { brightness: 0.9, contrast: 0.9, saturation: 0.0, hue: 0.0 };
        let start = ramp(8, 8, 40).rgb;
        let (mut brightness_first, mut contrast_first) = (0, 0);
        for seed in 0..64 {
            let mut rgb = start.clone();
            jitter.apply(&mut rgb, &mut Rng::new(seed, 0));
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
    fn settings_out_of_range_are_named() {
        let base = Augmentation::default();
        let jitter = |change: fn(&mut ColourJitter)| {
            let mut augmentation = base;
            change(&mut augmentation.jitter);
            augmentation
        };
        for (augmentation, name) in [
            (Augmentation { crop_scale: [0.0, 1.0], ..base }, "crop_scale"),
            (Augmentation { crop_scale: [0.5, 1.5], ..base }, "crop_scale"),
            (Augmentation { crop_ratio: [2.0, 1.0], ..base }, "crop_ratio"),
            (Augmentation { flip_probability: f32::NAN, ..base }, "flip_probability"),
            (Augmentation { blur_probability: 1.1, ..base }, "blur_probability"),
            (jitter(|j| j.contrast = -0.1), "jitter.contrast"),
            (jitter(|j| j.hue = 0.6), "jitter.hue"),
        ] {
            let error = augmentation.view(&ramp(4, 4, 0), 4, &mut Rng::new(1, 0)).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        assert!(base.view(&ramp(4, 4, 0), 0, &mut Rng::new(1, 0)).is_err());
        for good in [base, Augmentation::second_view(), Augmentation::gentle()] {
            good.check().unwrap();
        }
    }

    #[test]
    fn a_configuration_may_name_only_what_differs() {
        let read: Augmentation = toml::from_str("flip_probability = 0.25").unwrap();
        assert_eq!(read, Augmentation { flip_probability: 0.25, ..Default::default() });
        assert!(toml::from_str::<Augmentation>("flip = 0.25").is_err());
    }
}
