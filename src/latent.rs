//! Latents, the maps at the cut of a backbone, in 8 bits with a scale per sample and channel.

use crate::{Error, Result};

/// Largest code.
const LARGEST: f32 = 127.0;

/// Latents `[S, positions, channels]` (channels last) as codes of 8 bits. A value is its code times
/// the scale of its row and channel, which is the largest size of that channel over 127, rounded to
/// half precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatentTable {
    positions: usize,
    channels: usize,
    codes: Vec<i8>,
    scales: Vec<half::f16>,
}

impl LatentTable {
    /// An empty table for maps of `positions` and `channels`.
    #[must_use]
    pub fn new(positions: usize, channels: usize) -> Self {
        Self { positions, channels, ..Self::default() }
    }

    /// A table from its codes `[S, positions, channels]` and scales `[S, channels]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if their numbers do not belong together.
    pub fn from_parts(
        [positions, channels]: [usize; 2],
        codes: Vec<i8>,
        scales: Vec<half::f16>,
    ) -> Result<Self> {
        let rows = scales.len() / channels.max(1);
        if rows * channels != scales.len() || rows * positions * channels != codes.len() {
            let expected = format!("codes [S, {positions}, {channels}] and scales [S, {channels}]");
            return Err(Error::shape("latents", expected, [codes.len(), scales.len()]));
        }
        Ok(Self { positions, channels, codes, scales })
    }

    /// Adds a latent `[positions, channels]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of values, [`Error::Frame`] for values that are not
    /// finite in half precision.
    pub fn push(&mut self, latent: &[f32]) -> Result<()> {
        if latent.len() != self.positions * self.channels || self.channels == 0 {
            return Err(Error::shape("latent", [self.positions, self.channels], latent.len()));
        }
        let mut largest = vec![0.0_f32; self.channels];
        for position in latent.chunks_exact(self.channels) {
            for (largest, &value) in largest.iter_mut().zip(position) {
                // A value that is not a number stays, so that it is seen below.
                *largest = if value.abs() <= *largest { *largest } else { value.abs() };
            }
        }
        let scales: Vec<_> = largest.iter().map(|largest| half::f16::from_f32(largest / LARGEST)).collect();
        if scales.iter().any(|scale| !scale.is_finite()) {
            let reason = "its latent is not finite in half precision".to_owned();
            return Err(Error::Frame { name: "latent".to_owned(), reason });
        }
        let inverse: Vec<f32> = (scales.iter().map(|scale| scale.to_f32()))
            .map(|scale| if scale > 0.0 { 1.0 / scale } else { 0.0 })
            .collect();
        self.codes.reserve(latent.len());
        for position in latent.chunks_exact(self.channels) {
            let codes = position.iter().zip(&inverse).map(|(value, inverse)| {
                #[allow(clippy::cast_possible_truncation, reason = "kept within -127..=127")]
                let code = (value * inverse).round().clamp(-LARGEST, LARGEST) as i8;
                code
            });
            self.codes.extend(codes);
        }
        self.scales.extend(scales);
        Ok(())
    }

    /// Adds row `row` of `from` as it is.
    ///
    /// # Errors
    /// [`Error::Shape`] for a table of other maps or a row that it does not have.
    pub fn copy_row(&mut self, from: &Self, row: usize) -> Result<()> {
        if (self.positions, self.channels) != (from.positions, from.channels) || row >= from.rows() {
            let expected = format!("a row of latents [{}, {}]", self.positions, self.channels);
            return Err(Error::shape("latent", expected, (row, from.rows(), from.positions, from.channels)));
        }
        let (width, channels) = (self.width(), self.channels);
        self.codes.extend_from_slice(&from.codes[row * width..(row + 1) * width]);
        self.scales.extend_from_slice(&from.scales[row * channels..(row + 1) * channels]);
        Ok(())
    }

    /// Positions and channels of a latent.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.positions, self.channels]
    }

    /// Number of latents.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.scales.len() / self.channels.max(1)
    }

    /// Elements of a latent.
    #[must_use]
    pub fn width(&self) -> usize {
        self.positions * self.channels
    }

    /// Codes `[S, positions, channels]`.
    #[must_use]
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// Scales `[S, channels]`.
    #[must_use]
    pub fn scales(&self) -> &[half::f16] {
        &self.scales
    }

    /// Adds the values of row `row` to `into`; nothing for a row that is not there.
    pub fn append_to(&self, row: usize, into: &mut Vec<f32>) {
        let width = self.width();
        let (Some(codes), Some(scales)) = (
            self.codes.get(row * width..(row + 1) * width),
            self.scales.get(row * self.channels..(row + 1) * self.channels),
        ) else {
            return;
        };
        for position in codes.chunks_exact(self.channels.max(1)) {
            into.extend(position.iter().zip(scales).map(|(&code, scale)| f32::from(code) * scale.to_f32()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn latent(seed: u64, positions: usize, channels: usize) -> Vec<f32> {
        let mut rng = Rng::new(seed, 0);
        // Each channel has a range of its own; one is empty.
        (0..positions * channels).map(|i| rng.normal() * ((i % channels) as f32).powi(2)).collect()
    }

    #[test]
    fn values_come_back_within_half_a_step_of_their_channel() {
        let (positions, channels) = (25, 7);
        let mut table = LatentTable::new(positions, channels);
        let rows: Vec<_> = (0..3).map(|seed| latent(seed, positions, channels)).collect();
        rows.iter().for_each(|row| table.push(row).unwrap());
        assert_eq!((table.rows(), table.width()), (3, 175));
        for (number, row) in rows.iter().enumerate() {
            let mut back = Vec::new();
            table.append_to(number, &mut back);
            for c in 0..channels {
                let of_channel =
                    |values: &[f32]| values.iter().skip(c).step_by(channels).copied().collect::<Vec<_>>();
                let (row, back) = (of_channel(row), of_channel(&back));
                let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let worst = row.iter().zip(&back).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                // Half a step, and the rounding of the scale at the largest value.
                assert!(worst <= largest * (0.5 / 127.0 + 1e-3), "channel {c}: {worst} of {largest}");
                assert!(largest == 0.0 || worst > 0.0, "channel {c}: nothing was rounded");
            }
        }
        let parts =
            LatentTable::from_parts([positions, channels], table.codes().to_vec(), table.scales().to_vec());
        assert_eq!(parts.unwrap(), table);
    }

    #[test]
    fn what_is_not_a_latent_is_refused() {
        let mut table = LatentTable::new(2, 3);
        assert!(matches!(table.push(&[1.0; 5]), Err(Error::Shape { .. })));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e12] {
            assert!(matches!(table.push(&[0.0, 0.0, 0.0, 1.0, bad, 0.0]), Err(Error::Frame { .. })), "{bad}");
        }
        assert_eq!(table.rows(), 0);
        assert!(LatentTable::from_parts([2, 3], vec![0; 6], vec![half::f16::ONE; 2]).is_err());
        assert!(LatentTable::from_parts([2, 3], vec![0; 7], vec![half::f16::ONE; 3]).is_err());
    }
}
