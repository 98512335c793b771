//! The specification of a step, and its check.

use crate::heads::Architecture;
use crate::learn::objective::{Objective, SslMethod};
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::{Error, Result};

/// What decides the shape of a step.
#[derive(Clone, Debug)]
pub struct StepSpec<'a> {
    /// Parts and widths.
    pub architecture: &'a Architecture,
    /// Terms and weights.
    pub objective: &'a Objective,
    /// Update rule; `None` leaves the gradients and updates nothing (tests).
    pub optimizer: Option<&'a Optimizer>,
    /// What of the extractor trains, and at which rates.
    pub extractor_training: ExtractorTraining,
    /// Rows N per view.
    pub rows: usize,
    /// Equal parts of the batch that are run one after the other and whose gradients are added up,
    /// so that a step holds the activations of one part. Terms are means over the parts; those that
    /// compare rows with one another compare rows of a part.
    pub micro_batches: usize,
    /// Rows S of the feature table.
    pub table_rows: usize,
    /// Whether the table is one of latents in 8 bits.
    pub has_latents: bool,
    /// Whether the table's rows have soft targets with weights in place of labels.
    pub has_soft_targets: bool,
    /// Classes that the teacher's classifier names; `None` in the first task, which has no teacher.
    pub teacher_classes: Option<usize>,
}

impl StepSpec<'_> {
    /// Checks what writing the ops does not check by itself.
    pub(super) fn check(&self) -> Result<()> {
        self.objective.check(self.architecture)?;
        if self.rows == 0 || self.table_rows == 0 {
            let allowed = "at least 1 row per view and a table of at least 1 row";
            return Err(Error::config("batch", self.rows, allowed));
        }
        let parts = self.micro_batches;
        if parts == 0 || !self.rows.is_multiple_of(parts) {
            let allowed = format!("a number that divides the {} rows of a batch", self.rows);
            return Err(Error::config("micro_batches", parts, allowed));
        }
        if parts > 1 && self.objective.method == SslMethod::Moco {
            return Err(Error::config(
                "micro_batches",
                parts,
                "1 with MoCo, whose queue takes whole batches",
            ));
        }
        if self.rows / parts < 2 && self.objective.method == SslMethod::Vicreg {
            return Err(Error::config("batch", self.rows, "at least 2 rows per view with VICReg"));
        }
        if self.rows / parts < 2 && self.objective.method == SslMethod::Simclr && self.objective.decoupled {
            return Err(Error::config("batch", self.rows, "at least 2 rows per view with decoupled SimCLR"));
        }
        if self.objective.method == SslMethod::Moco && self.objective.queue < self.rows {
            let allowed = format!("at least {}, the rows per view", self.rows);
            return Err(Error::config("queue", self.objective.queue, allowed));
        }
        if let Some(known) = self.teacher_classes {
            let classes = self.architecture.classes();
            if known == 0 || known > classes || (known != classes && !self.objective.mask_to_known) {
                let allowed = format!("1 to {classes}, exactly {classes} without the mask");
                return Err(Error::shape("classes of the teacher", allowed, known));
            }
        }
        Ok(())
    }
}
