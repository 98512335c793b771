//! The class that each row belongs to, surely or in part.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::ids::ClassId;

/// Classes of the rows h [N, D].
#[derive(Clone, Copy, Debug)]
pub enum Responsibilities<'a> {
    /// One class per row, `[N]`.
    Labels(&'a [ClassId]),
    /// Shares of each row in some classes, as expectation-maximisation gives them.
    Soft {
        /// The classes of the columns, `[K]`, each once.
        classes: &'a [ClassId],
        /// Shares [N, K], each finite and 0 or more. A row of zeros is left out.
        shares: &'a [f32],
    },
}

impl Responsibilities<'_> {
    /// Checks the values, and the shape for `rows` rows.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of rows or a class given twice, [`Error::Refused`] for a
    /// share that is negative or not finite.
    pub(super) fn check(&self, rows: usize) -> Result<()> {
        match *self {
            Self::Labels(labels) if labels.len() == rows => Ok(()),
            Self::Labels(labels) => Err(Error::shape("labels [N]", [rows], [labels.len()])),
            Self::Soft { classes, shares } => {
                if shares.len() != rows * classes.len() {
                    return Err(Error::shape("class shares [N, K]", [rows, classes.len()], [shares.len()]));
                }
                let mut sorted = classes.to_vec();
                sorted.sort_unstable();
                if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err(Error::shape("classes of the shares [K]", "each class once", pair));
                }
                match shares.iter().find(|share| !share.is_finite() || **share < 0.0) {
                    Some(bad) => Err(Error::refused(
                        "a row's share in a class",
                        format!("it is {bad}"),
                        "give finite numbers of 0 or more",
                    )),
                    None => Ok(()),
                }
            }
        }
    }

    /// Returns the responsibilities of some of the rows.
    pub(super) fn rows(&self, rows: Range<usize>) -> Self {
        match *self {
            Self::Labels(labels) => Self::Labels(&labels[rows]),
            Self::Soft { classes, shares } => {
                let columns = classes.len();
                Self::Soft { classes, shares: &shares[rows.start * columns..rows.end * columns] }
            }
        }
    }

    /// Returns the (class, share) pairs of one row that are not zero.
    pub(super) fn of_row(&self, row: usize) -> impl Iterator<Item = (ClassId, f64)> {
        let (classes, shares): (&[ClassId], &[f32]) = match *self {
            Self::Labels(labels) => (&labels[row..=row], &[1.0]),
            Self::Soft { classes, shares } => {
                (classes, &shares[row * classes.len()..(row + 1) * classes.len()])
            }
        };
        let pairs = classes.iter().copied().zip(shares.iter().map(|&share| f64::from(share)));
        pairs.filter(|&(_, share)| share > 0.0)
    }

    /// Returns the total share of one row.
    pub(super) fn weight_of_row(&self, row: usize) -> f64 {
        self.of_row(row).map(|(_, share)| share).sum()
    }
}
