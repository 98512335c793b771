//! The feature distillation matched to the method: the student must still be able to tell the
//! teacher's projection.

use super::layers;
use super::projection::{Projection, Standardised, correlate};
use super::writer::Writer;
use crate::Result;
use crate::learn::objective::SslMethod;
use crate::learn::op::{Buf, Finish, Op, Slot};
use crate::number::real;
use crate::reference::distill::{COSINE_EPS, Cosine, Mse};
use crate::reference::linear::Layout;

/// Writes the term on `r = distill_predictor(z)` against the teacher's projection `o`, same view to
/// same view.
pub(super) fn write(writer: &mut Writer<'_>, projection: &mut Projection, o: Buf) -> Result<()> {
    let (predictor, pass) = (&writer.spec.architecture.distill_predictor, writer.student());
    let trace = layers::mlp_forward(&mut writer.program, pass, "distill_predictor", predictor, projection.z)?;
    let d_r = term(writer, trace.y, o)?;
    let target = projection.target(writer);
    layers::mlp_backward(&mut writer.program, &trace, d_r, Some(target));
    Ok(())
}

/// Writes the distillation of the features u themselves, `mean(1 - cos(u, o))`, against the
/// teacher's features o; returns the gradient of u.
pub(super) fn pooled(writer: &mut Writer<'_>, u: Buf, o: Buf) -> Buf {
    let (rows, features) = (writer.m, writer.spec.architecture.features());
    let weight = writer.spec.objective.pooled_distill_weight;
    let (loss, d_p) = (writer.program.scratch(rows), writer.program.scratch(rows * features));
    let (loss_scale, slope, offset) = (1.0 / real(rows), -1.0, 1.0);
    let settings = Cosine { row_shift: 0, loss_scale, slope, offset, weight, eps: COSINE_EPS };
    writer.program.push(Op::Cosine { shape: [rows, features], settings, p: u, z: o, loss, d_p });
    writer.term(loss, rows, Slot::PooledDistill, 1.0);
    d_p
}

/// Writes the term itself; returns the gradient of `r`.
pub(super) fn term(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Result<Buf> {
    match writer.spec.objective.method {
        SslMethod::Simclr | SslMethod::Moco => Ok(contrastive(writer, r, o)),
        SslMethod::Byol | SslMethod::Simsiam => Ok(predictive(writer, r, o)),
        SslMethod::Vicreg => Ok(mse(writer, r, o)),
        SslMethod::BarlowTwins => decorrelative(writer, r, o),
    }
}

/// `1/2 [CE by rows + CE by columns]` of `S = R Oᵀ / tau` against its diagonal, both views in one
/// batch.
fn contrastive(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (m, p, objective) = (writer.m, writer.p, writer.spec.objective);
    let inverse = 1.0 / objective.distill_temperature;
    let unit_r = writer.unit_rows(r);
    let [unit_o, _] = writer.unit_rows(o);
    let s = writer.program.scratch(m * m);
    let [row_lse, column_lse, loss] = [(); 3].map(|()| writer.program.scratch(m));
    writer.product(Layout::Nt, [m, m, p], unit_r[0], unit_o, s, inverse, Finish::PLAIN);
    writer.program.push(Op::RowLse { shape: [m, m], s, lse: row_lse });
    writer.program.push(Op::ColumnLse { shape: [m, m], s, lse: column_lse });
    let (scale, weight, lse) = (0.5 / real(m), objective.feature_distill_weight, [row_lse, column_lse]);
    writer.program.push(Op::Symmetric { rows: m, scale, weight, lse, s, loss });
    writer.term(loss, m, Slot::FeatureDistill, 1.0);
    let d_unit = writer.projections();
    writer.product(Layout::Nn, [m, p, m], s, unit_o, d_unit, inverse, Finish::PLAIN);
    writer.unit_backward(unit_r, d_unit)
}

/// `1/2 [D(r1, o1) + D(r2, o2)]`, `D = 2 - 2 mean cos`.
fn predictive(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (rows, weight) = (writer.m, writer.spec.objective.feature_distill_weight);
    let (loss, d_p) = (writer.program.scratch(rows), writer.projections());
    let (loss_scale, slope, offset) = (1.0 / real(rows), -2.0, 2.0);
    let settings = Cosine { row_shift: 0, loss_scale, slope, offset, weight, eps: COSINE_EPS };
    writer.program.push(Op::Cosine { shape: [rows, writer.p], settings, p: r, z: o, loss, d_p });
    writer.term(loss, rows, Slot::FeatureDistill, 1.0);
    d_p
}

/// `1/2 [MSE(r1, o1) + MSE(r2, o2)]`.
fn mse(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (rows, weight) = (writer.m, writer.spec.objective.feature_distill_weight);
    let (loss, d_r) = (writer.program.scratch(rows), writer.projections());
    let mean = 1.0 / real(rows * writer.p);
    let settings = Mse { row_shift: 0, loss_scale: mean, gradient_scale: mean, weight };
    writer.program.push(Op::Mse { shape: [rows, writer.p], settings, r, o, loss, d_r });
    writer.term(loss, rows, Slot::FeatureDistill, 1.0);
    d_r
}

/// `1/2 [Barlow(r1, o1) + Barlow(r2, o2)]`.
fn decorrelative(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Result<Buf> {
    let (n, p) = (writer.spec.rows, writer.p);
    let weight = writer.spec.objective.feature_distill_weight;
    let student = Standardised::new(writer, r)?;
    let teacher = Standardised::new(writer, o)?;
    let d_student = writer.projections();
    for v in 0..2 {
        let [r, o, d_r] = [student.y, teacher.y, d_student].map(|buf| writer.view(buf, v, p));
        let c = correlate(writer, [r, o], weight, Slot::FeatureDistill, 0.5);
        writer.product(Layout::Nt, [n, p, p], o, c, d_r, 1.0 / real(n), Finish::PLAIN);
    }
    Ok(student.backward(writer, d_student))
}
