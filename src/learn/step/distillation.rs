//! The feature distillation matched to the method: the student must still be able to tell the teacher's projection.

use super::ssl::{Projection, Standardised, correlate, unit_backward, unit_rows};
use super::{Writer, layers};
use crate::learn::objective::SslMethod;
use crate::learn::program::{Buf, Finish, Op, Slot, Span};
use crate::number::real;
use crate::reference::linear::Layout;

/// Writes the term on `r = distill_predictor(z)` against the teacher's projection `o`, same view to same view.
pub(super) fn write(writer: &mut Writer<'_>, projection: &mut Projection, o: Buf) {
    let predictor = &writer.spec.architecture.distill_predictor;
    let pass = writer.student();
    let trace = layers::mlp_forward(&mut writer.program, pass, "distill_predictor", predictor, projection.z);
    let d_r = term(writer, trace.y, o);
    let target = projection.target(writer);
    layers::mlp_backward(&mut writer.program, &trace, d_r, Some(target));
}

/// The term itself; gives the gradient of `r`.
pub(super) fn term(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    match writer.spec.objective.method {
        SslMethod::Simclr | SslMethod::Moco => contrastive(writer, r, o),
        SslMethod::Byol | SslMethod::Simsiam => predictive(writer, r, o),
        SslMethod::Vicreg => mse(writer, r, o),
        SslMethod::BarlowTwins => decorrelative(writer, r, o),
    }
}

/// `1/2 [CE by rows + CE by columns]` of `S = R Oᵀ / tau` against its diagonal, both views in one batch.
fn contrastive(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (m, p, objective) = (writer.m, writer.projection(), writer.spec.objective);
    let inverse = 1.0 / objective.distill_temperature;
    let unit_r = unit_rows(writer, r);
    let [unit_o, _] = unit_rows(writer, o);
    let s = writer.program.scratch(m * m);
    let [row_lse, column_lse, loss] = [0, 1, 2].map(|_| writer.program.scratch(m));
    writer.product(Layout::Nt, [m, m, p], unit_r[0], unit_o, s, inverse, Finish::PLAIN);
    writer.program.push(Op::RowLse { s, lse: row_lse, rows: m, columns: m });
    writer.program.push(Op::ColumnLse { s, lse: column_lse, rows: m, columns: m });
    let (scale, weight) = (0.5 / real(m), objective.feature_distill_weight);
    writer.program.push(Op::Symmetric { s, row_lse, column_lse, loss, rows: m, scale, weight });
    writer.term(loss, m, Slot::FeatureDistill, 1.0);
    let d_unit = writer.program.scratch(m * p);
    writer.product(Layout::Nn, [m, p, m], s, unit_o, d_unit, inverse, Finish::PLAIN);
    unit_backward(writer, unit_r, d_unit)
}

/// `1/2 [D(r1, o1) + D(r2, o2)]`, `D = 2 - 2 mean cos`.
fn predictive(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (rows, columns) = (writer.m, writer.projection());
    let (loss, d_p) = (writer.program.scratch(rows), writer.program.scratch(rows * columns));
    writer.program.push(Op::Cosine {
        p: r,
        z: o,
        loss,
        d_p,
        rows,
        columns,
        row_shift: 0,
        loss_scale: 1.0 / real(rows),
        slope: -2.0,
        offset: 2.0,
        weight: writer.spec.objective.feature_distill_weight,
    });
    writer.term(loss, rows, Slot::FeatureDistill, 1.0);
    d_p
}

/// `1/2 [MSE(r1, o1) + MSE(r2, o2)]`.
fn mse(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (rows, columns) = (writer.m, writer.projection());
    let (loss, d_r) = (writer.program.scratch(rows), writer.program.scratch(rows * columns));
    let mean = 1.0 / real(rows * columns);
    writer.program.push(Op::Mse {
        r,
        o,
        loss,
        d_r,
        rows,
        columns,
        row_shift: 0,
        loss_scale: mean,
        gradient_scale: mean,
        weight: writer.spec.objective.feature_distill_weight,
        accumulate: false,
    });
    writer.term(loss, rows, Slot::FeatureDistill, 1.0);
    d_r
}

/// `1/2 [Barlow(r1, o1) + Barlow(r2, o2)]`.
fn decorrelative(writer: &mut Writer<'_>, r: Buf, o: Buf) -> Buf {
    let (n, p) = (writer.spec.rows, writer.projection());
    let weight = writer.spec.objective.feature_distill_weight;
    let student = Standardised::new(writer, r);
    let teacher = Standardised::new(writer, o);
    let d_student = writer.program.scratch(writer.m * p);
    for v in 0..2 {
        let start = v * n * p;
        let c =
            correlate(writer, [(student.y, start), (teacher.y, start)], weight, Slot::FeatureDistill, 0.5);
        let (o, d_r) = (Span { buf: teacher.y, start }, Span { buf: d_student, start });
        writer.product(Layout::Nt, [n, p, p], o, c, d_r, 1.0 / real(n), Finish::PLAIN);
    }
    student.backward(writer, d_student)
}
