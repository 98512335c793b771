//! Counts and sums of rows by class.

use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// A class with less than this total share has no mean: what is left after removal is rounding.
const LEAST_SHARE: f64 = 1e-6;

/// Per class the total share n_c and the weighted sum of its rows φ [width], in f64.
#[derive(Clone, Debug)]
pub(super) struct ClassSums {
    pub(super) width: usize,
    /// In the order in which they came, [C].
    pub(super) classes: Vec<ClassId>,
    /// [C]
    pub(super) counts: Vec<f64>,
    /// [C, width]
    pub(super) sums: Vec<f64>,
}

impl ClassSums {
    pub(super) fn new(width: usize) -> Self {
        Self { width, classes: Vec::new(), counts: Vec::new(), sums: Vec::new() }
    }

    /// The sums of the rows φ [N, width] alone.
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

    /// Adds `sign` times the sums of `other`, of the same width.
    ///
    /// # Errors
    /// [`Error::Config`] when a class would fall below zero; nothing is changed then.
    pub(super) fn add(&mut self, other: &Self, sign: f64) -> Result<()> {
        for (&class, &change) in other.classes.iter().zip(&other.counts) {
            let held = self.slot_of(class).map_or(0.0, |slot| self.counts[slot]);
            if held + sign * change < -LEAST_SHARE {
                let allowed = format!("at most the {held} that class {class} holds");
                return Err(Error::config("rows to remove", change, allowed));
            }
        }
        for (at, &class) in other.classes.iter().enumerate() {
            let slot = self.slot(class);
            self.counts[slot] += sign * other.counts[at];
            let sum = &mut self.sums[slot * self.width..][..self.width];
            sum.iter_mut().zip(&other.sums[at * self.width..]).for_each(|(sum, &value)| *sum += sign * value);
        }
        Ok(())
    }

    /// Slots of the classes that have rows, ascending by class; an error when there is none.
    pub(super) fn live(&self) -> Result<Vec<usize>> {
        let mut slots: Vec<usize> =
            (0..self.classes.len()).filter(|&slot| self.counts[slot] > LEAST_SHARE).collect();
        slots.sort_unstable_by_key(|&slot| self.classes[slot]);
        if slots.is_empty() {
            return Err(Error::config("labelled rows", 0, "at least one: teach a class first"));
        }
        Ok(slots)
    }

    /// Mean over all rows, [width], and how many they weigh; an error without any row.
    pub(super) fn mean(&self) -> Result<(Vec<f64>, f64)> {
        let live = self.live()?;
        let total: f64 = live.iter().map(|&slot| self.counts[slot]).sum();
        let mut mean = vec![0.0; self.width];
        for &slot in &live {
            mean.iter_mut().zip(self.sum(slot)).for_each(|(mean, value)| *mean += value / total);
        }
        Ok((mean, total))
    }

    /// The classes that have rows, ascending, each with its count.
    pub(super) fn live_counts(&self) -> Vec<(ClassId, f64)> {
        self.live().map_or_else(
            |_| Vec::new(),
            |live| live.iter().map(|&s| (self.classes[s], self.counts[s])).collect(),
        )
    }

    /// Sum of one slot, [width].
    pub(super) fn sum(&self, slot: usize) -> &[f64] {
        &self.sums[slot * self.width..][..self.width]
    }

    fn slot_of(&self, class: ClassId) -> Option<usize> {
        self.classes.iter().position(|&known| known == class)
    }

    fn slot(&mut self, class: ClassId) -> usize {
        self.slot_of(class).unwrap_or_else(|| {
            self.classes.push(class);
            self.counts.push(0.0);
            self.sums.resize(self.sums.len() + self.width, 0.0);
            self.classes.len() - 1
        })
    }
}
