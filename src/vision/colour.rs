//! Colour and mirror operations on RGB8 pixels, `[height, width, 3]` row-major, in place. Each
//! rounds to nearest and saturates.

/// Returns `x` as a pixel value.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255 first")]
fn byte(x: f32) -> u8 {
    // Adding a half and cutting off is rounding, and needs no call into the maths library.
    (x.clamp(0.0, 255.0) + 0.5) as u8
}

/// Returns the luma of ITU-R BT.601: `0.299 R + 0.587 G + 0.114 B`, rounded.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    byte(0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
}

fn each(rgb: &mut [u8], mut change: impl FnMut([u8; 3]) -> [u8; 3]) {
    for pixel in rgb.as_chunks_mut::<3>().0 {
        *pixel = change(*pixel);
    }
}

/// Returns `factor * value + (1 - factor) * other`.
fn blend(value: u8, other: f32, factor: f32) -> u8 {
    byte(factor * f32::from(value) + (1.0 - factor) * other)
}

/// Blends every value with the same other one. There are only 256 results, so they are looked up.
fn blend_all(rgb: &mut [u8], other: f32, factor: f32) {
    let mut table = [0; 256];
    for (result, value) in table.iter_mut().zip(0_u8..=255) {
        *result = blend(value, other, factor);
    }
    rgb.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// Blends with black: 0 is black, 1 changes nothing.
pub(super) fn brightness(rgb: &mut [u8], factor: f32) {
    blend_all(rgb, 0.0, factor);
}

/// Blends with the mean luma of the picture: 0 is flat grey, 1 changes nothing.
#[allow(clippy::cast_possible_truncation, reason = "a mean of bytes")]
pub(super) fn contrast(rgb: &mut [u8], factor: f32) {
    let pixels = rgb.as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64) as f32;
    blend_all(rgb, mean, factor);
}

/// Blends each pixel with its luma: 0 is grey, 1 changes nothing.
pub(super) fn saturation(rgb: &mut [u8], factor: f32) {
    each(rgb, |pixel| {
        let grey = f32::from(luma(pixel));
        pixel.map(|value| blend(value, grey, factor))
    });
}

/// Turns the hue by `shift` of a full circle at the same HSV saturation and value.
pub(super) fn hue(rgb: &mut [u8], shift: f32) {
    each(rgb, |pixel| {
        let [r, g, b] = pixel.map(f32::from);
        let value = r.max(g).max(b);
        let chroma = value - r.min(g).min(b);
        if chroma == 0.0 {
            return pixel;
        }
        // In sixths of the circle, from red.
        let sixths = if value == r {
            (g - b) / chroma
        } else if value == g {
            2.0 + (b - r) / chroma
        } else {
            4.0 + (r - g) / chroma
        };
        // Within -1..11, so every place is within 0..16.
        let turned = sixths + 6.0 * (shift - shift.floor());
        // Red, green and blue fall off from their peaks at 0, 2 and 4 sixths alike.
        [5.0_f32, 3.0, 1.0].map(|offset| {
            let place = offset + turned;
            let place = if place >= 12.0 { place - 12.0 } else { place };
            let place = if place >= 6.0 { place - 6.0 } else { place };
            byte(value - chroma * place.min(4.0 - place).clamp(0.0, 1.0))
        })
    });
}

/// Mirrors left and right.
pub(super) fn flip(rgb: &mut [u8], width: usize) {
    for row in rgb.chunks_exact_mut(width * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: [u8; 12] = [200, 30, 90, 12, 240, 7, 128, 127, 250, 90, 90, 90];

    fn after(change: impl Fn(&mut [u8])) -> [u8; 12] {
        let mut pixels = PIXELS;
        change(&mut pixels);
        pixels
    }

    /// Pillow 13.0.0's `ImageEnhance` (which truncates and keeps the mean as an integer) and
    /// Python's `colorsys`.
    #[test]
    fn values_agree_with_pillow_and_colorsys() {
        let cases: [(&str, [u8; 12], [u8; 12]); 6] = [
            (
                "brightness",
                after(|p| brightness(p, 1.3)),
                [255, 39, 116, 15, 255, 9, 166, 165, 255, 116, 116, 116],
            ),
            (
                "contrast",
                after(|p| contrast(p, 0.6)),
                [166, 64, 100, 53, 190, 50, 123, 122, 196, 100, 100, 100],
            ),
            ("saturation", after(|p| saturation(p, 1.4)), [244, 6, 90, 0, 255, 0, 122, 121, 255, 90, 90, 90]),
            ("hue", after(|p| hue(p, 0.1)), [200, 72, 30, 7, 240, 142, 202, 127, 250, 90, 90, 90]),
            ("hue back", after(|p| hue(p, -0.3)), [30, 56, 200, 240, 49, 7, 127, 250, 153, 90, 90, 90]),
            ("grey", after(|p| saturation(p, 0.0)), [88, 88, 88, 145, 145, 145, 141, 141, 141, 90, 90, 90]),
        ];
        for (name, got, expected) in cases {
            let worst = got.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            assert!(worst <= 1, "{name}: {got:?}");
            assert_ne!(got, PIXELS, "{name}");
        }
    }

    #[test]
    fn neutral_factors_change_nothing() {
        for change in [brightness, contrast, saturation] {
            assert_eq!(after(|p| change(p, 1.0)), PIXELS);
        }
        assert_eq!(after(|p| hue(p, 0.0)), PIXELS);
        assert_eq!(after(|p| hue(p, 1.0)), PIXELS);
        assert_eq!(after(|p| (0..3).for_each(|_| hue(p, 1.0 / 3.0))), PIXELS);
    }

    #[test]
    fn flip_by_hand() {
        assert_eq!(after(|p| flip(p, 2)), [12, 240, 7, 200, 30, 90, 90, 90, 90, 128, 127, 250]);
        assert_eq!(after(|p| flip(p, 1)), PIXELS);
    }
}
