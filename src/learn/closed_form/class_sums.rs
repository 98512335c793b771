//! Counts and sums of rows by class.

use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// A class with less than this total share has no mean.
const LEAST_SHARE: f64 = 1e-6;

/// The total share n_c of each class and the weighted sum of its rows φ [width], in f64.
#[derive(Clone, Debug)]
pub(super) struct ClassSums {
    pub(super) width: usize,
    /// The classes in the order in which their first rows were added, [C].
    pub(super) classes: Vec<ClassId>,
    /// [C]
    pub(super) counts: Vec<f64>,
    /// [C, width]
    sums: Vec<f64>,
}

impl ClassSums {
    pub(super) fn new(width: usize) -> Self {
        Self { width, classes: Vec::new(), counts: Vec::new(), sums: Vec::new() }
    }

    /// Returns the sums of the rows φ [N, width] alone.
    pub(super) fn of_rows(
        width: usize,
        mapped: &[f32],
        responsibilities: Responsibilities<'_>,
    ) -> Result<Self> {
        if !mapped.len().is_multiple_of(width) {
            return Err(Error::shape("mapped rows [N, width]", format!("[N, {width}]"), [mapped.len()]));
        }
        responsibilities.check(mapped.len() / width)?;
        let mut own = Self::new(width);
        for (row, values) in mapped.chunks_exact(width).enumerate() {
            for (class, share) in responsibilities.of_row(row) {
                let slot = own.slot(class);
                own.counts[slot] += share;
                let sum = &mut own.sums[slot * width..][..width];
                sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += share * f64::from(value));
            }
        }
        Ok(own)
    }

    /// Adds the sums of `other`, of the same width.
    pub(super) fn add(&mut self, other: &Self) {
        for (at, &class) in other.classes.iter().enumerate() {
            let slot = self.slot(class);
            self.counts[slot] += other.counts[at];
            let sum = &mut self.sums[slot * self.width..][..self.width];
            sum.iter_mut().zip(other.sum(at)).for_each(|(sum, &value)| *sum += value);
        }
    }

    /// Returns the slots of the classes that have rows, ascending by class.
    ///
    /// # Errors
    /// [`Error::NotReady`] when there is none.
    pub(super) fn live(&self) -> Result<Vec<usize>> {
        let mut slots: Vec<usize> =
            (0..self.classes.len()).filter(|&slot| self.counts[slot] > LEAST_SHARE).collect();
        slots.sort_unstable_by_key(|&slot| self.classes[slot]);
        if slots.is_empty() {
            return Err(Error::not_ready("the head", "no row is labelled", "teach a class first"));
        }
        Ok(slots)
    }

    /// Returns the mean over all rows, [width], and how many rows there are.
    ///
    /// # Errors
    /// As [`ClassSums::live`].
    pub(super) fn mean(&self) -> Result<(Vec<f64>, f64)> {
        let live = self.live()?;
        let total: f64 = live.iter().map(|&slot| self.counts[slot]).sum();
        let mut mean = vec![0.0; self.width];
        for &slot in &live {
            mean.iter_mut().zip(self.sum(slot)).for_each(|(mean, value)| *mean += value / total);
        }
        Ok((mean, total))
    }

    /// Returns the sum of one slot, [width].
    pub(super) fn sum(&self, slot: usize) -> &[f64] {
        &self.sums[slot * self.width..][..self.width]
    }

    fn slot(&mut self, class: ClassId) -> usize {
        self.classes.iter().position(|&known| known == class).unwrap_or_else(|| {
            self.classes.push(class);
            self.counts.push(0.0);
            self.sums.resize(self.sums.len() + self.width, 0.0);
            self.classes.len() - 1
        })
    }
}
