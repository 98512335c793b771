//! The student's projection, and what its gradient gathers from.

use super::writer::Writer;
use crate::Result;
use crate::learn::objective::SslMethod;
use crate::learn::op::{Buf, Finish, NormTrace, Op, Slot, Span};
use crate::learn::program::Role;
use crate::number::real;
use crate::reference::contrast::Correlation;
use crate::reference::linear::Layout;
use crate::reference::normalize::{BatchNorm, BatchShape};

/// The student's projection with the gradient that gathers on it.
///
/// `MoCo` normalises before its loss *and* before the distillation predictor, so there the gradient
/// gathers on the unit rows; `SimCLR` normalises for its loss alone.
pub(super) struct Projection {
    /// What losses and predictors read: z, or its unit rows for `MoCo`.
    pub z: Buf,
    /// Unit rows and norms of z.
    pub unit: [Buf; 2],
    /// The gradient so far.
    pub d_z: Option<Buf>,
    gathers_on_unit: bool,
}

impl Projection {
    pub(super) fn new(writer: &mut Writer<'_>, z: Buf) -> Self {
        let unit = writer.unit_rows(z);
        writer.watch_collapse(unit[0]);
        let gathers_on_unit = writer.spec.objective.method == SslMethod::Moco;
        Self { z: if gathers_on_unit { unit[0] } else { z }, unit, gathers_on_unit, d_z: None }
    }

    /// The gradient buffer and how to finish a product into it: the first writer replaces, later
    /// ones add.
    pub(super) fn target(&mut self, writer: &mut Writer<'_>) -> (Buf, Finish) {
        let finish = if self.d_z.is_some() { Finish::Add } else { Finish::PLAIN };
        (*self.d_z.get_or_insert_with(|| writer.projections()), finish)
    }

    /// The gradient with respect to z.
    pub(super) fn backward(self, writer: &mut Writer<'_>) -> Option<Buf> {
        let d_z = self.d_z?;
        Some(if self.gathers_on_unit { writer.unit_backward(self.unit, d_z) } else { d_z })
    }
}

/// Columns brought to mean 0 and deviation 1 per view (biased variance, eps 1e-5): batch norm
/// without parameters.
pub(super) struct Standardised {
    shape: BatchShape,
    x: Buf,
    pub y: Buf,
    stats: Buf,
}

impl Standardised {
    pub(super) fn new(writer: &mut Writer<'_>, x: Buf) -> Result<Self> {
        let shape = BatchShape::new(writer.m, writer.p, 2)?;
        let (y, stats) = (writer.projections(), writer.program.scratch(4 * writer.p));
        let [weight, bias] = [1.0, 0.0].map(|v| writer.program.shared(Role::Constant(v), writer.p));
        let [mean, var] = [(); 2].map(|()| writer.program.scratch(writer.p));
        let (settings, parameters) = (BatchNorm::new(false), [weight, bias, mean, var]);
        writer.program.push(Op::BatchNormForward { shape, settings, x, parameters, out: [y, stats] });
        Ok(Self { shape, x, y, stats })
    }

    /// The gradient of x from that of y.
    pub(super) fn backward(self, writer: &mut Writer<'_>, d_y: Buf) -> Buf {
        let Self { shape, x, stats, .. } = self;
        let weight = writer.program.shared(Role::Constant(1.0), writer.p);
        let d_x = writer.projections();
        let d_affine = [(); 2].map(|()| writer.program.scratch(writer.p));
        let trace = NormTrace { d_y, x, mask: None, stats };
        writer.program.push(Op::BatchNormBackward { shape, trace, weight, d_x, d_affine });
        d_x
    }
}

/// `C = aᵀ b / N` of two views and `share` of the Barlow Twins term on it; leaves the term's
/// gradient in the buffer returned.
pub(super) fn correlate(
    writer: &mut Writer<'_>,
    [a, b]: [Span; 2],
    weight: f64,
    slot: Slot,
    share: f64,
) -> Buf {
    let (n, p, [scale, off]) = (writer.spec.rows, writer.p, writer.spec.objective.barlow);
    let (c, loss) = (writer.program.scratch(p * p), writer.program.scratch(p));
    writer.product(Layout::Tn, [p, p, n], a, b, c, 1.0 / real(n), Finish::PLAIN);
    let settings = Correlation {
        diagonal_target: 1.0,
        diagonal_scale: scale,
        off_scale: scale * off,
        weight: weight * share,
    };
    writer.program.push(Op::Correlation { width: p, settings, c, loss });
    writer.term(loss, p, slot, share);
    c
}
