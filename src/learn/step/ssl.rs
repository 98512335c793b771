//! The self-supervised term of each method, forward and backward down to the projection z.

use super::layers;
use super::projection::{Projection, Standardised, correlate};
use super::writer::Writer;
use crate::Result;
use crate::learn::objective::SslMethod;
use crate::learn::op::{Buf, Finish, Op, Slot};
use crate::number::real;
use crate::reference::contrast::{Correlation, InfoNce, NtXent, VARIANCE_EPS, Variance};
use crate::reference::distill::{COSINE_EPS, Cosine, Mse};
use crate::reference::linear::Layout;

/// Writes the term; its gradient gathers on `projection`. `momentum` is the momentum copy's
/// projection, for the methods that have one.
pub(super) fn write(
    writer: &mut Writer<'_>,
    projection: &mut Projection,
    momentum: Option<Buf>,
) -> Result<()> {
    let (n, m) = (writer.spec.rows, writer.m);
    match (writer.spec.objective.method, momentum) {
        (SslMethod::Simclr, _) => simclr(writer, projection),
        (SslMethod::Moco, Some(keys)) => moco(writer, projection, keys),
        (SslMethod::Byol, Some(target)) => {
            predictive(writer, projection, target, 1.0 / real(n), [-2.0, 2.0])?;
        }
        (SslMethod::Moco | SslMethod::Byol, None) => {}
        (SslMethod::Simsiam, _) => {
            let z = projection.z;
            predictive(writer, projection, z, 1.0 / real(m), [-1.0, 0.0])?;
        }
        (SslMethod::Vicreg, _) => vicreg(writer, projection),
        (SslMethod::BarlowTwins, _) => barlow(writer, projection)?,
    }
    Ok(())
}

fn simclr(writer: &mut Writer<'_>, projection: &mut Projection) {
    let (m, p, objective) = (writer.m, writer.p, writer.spec.objective);
    let inverse = 1.0 / objective.temperature;
    let [unit, _] = projection.unit;
    let (similarity, loss) = (writer.program.scratch(m * m), writer.program.scratch(m));
    writer.product(Layout::Nt, [m, m, p], unit, unit, similarity, inverse, Finish::PLAIN);
    let settings =
        NtXent { decoupled: objective.decoupled, scale: 1.0 / real(m), weight: objective.ssl_weight };
    writer.program.push(Op::NtXent { half: writer.spec.rows, settings, similarity, loss });
    writer.term(loss, m, Slot::Ssl, 1.0);
    let d_unit = writer.projections();
    writer.product(Layout::Nn, [m, p, m], similarity, unit, d_unit, inverse, Finish::PLAIN);
    writer.product(Layout::Tn, [m, p, m], similarity, unit, d_unit, inverse, Finish::Add);
    projection.d_z = Some(writer.unit_backward(projection.unit, d_unit));
}

/// The query of view 1 meets the keys of view 2 and queue 2; the query of view 2 the keys of view 1
/// and queue 1.
fn moco(writer: &mut Writer<'_>, projection: &mut Projection, momentum: Buf) {
    let (n, m, p, objective) = (writer.spec.rows, writer.m, writer.p, writer.spec.objective);
    let (inverse, k) = (1.0 / objective.temperature, objective.queue);
    let [keys, _] = writer.unit_rows(momentum);
    writer.keys = Some(keys);
    let queues = ["queue.2", "queue.1"].map(|name| writer.program.state(name, k * p));
    let (similarity, loss) = (writer.program.scratch(m * k), writer.program.scratch(m));
    let q = projection.z;
    for (v, queue) in queues.into_iter().enumerate() {
        let (q, s) = (writer.view(q, v, p), writer.view(similarity, v, k));
        writer.product(Layout::Nt, [n, k, p], q, queue, s, inverse, Finish::PLAIN);
    }
    let (d_q, _) = projection.target(writer);
    let settings = InfoNce {
        rows: m,
        columns: p,
        negatives: k,
        row_shift: n,
        inverse_temperature: inverse,
        scale: 1.0 / real(m),
        weight: objective.ssl_weight,
    };
    writer.program.push(Op::InfoNce { settings, q, k: keys, similarity, d_q, loss });
    writer.term(loss, m, Slot::Ssl, 1.0);
    for (v, queue) in queues.into_iter().enumerate() {
        let (s, d_q) = (writer.view(similarity, v, k), writer.view(d_q, v, p));
        writer.product(Layout::Nn, [n, p, k], s, queue, d_q, inverse, Finish::Add);
    }
}

/// BYOL and `SimSiam`: the prediction of each view against the other view's target.
fn predictive(
    writer: &mut Writer<'_>,
    projection: &mut Projection,
    target: Buf,
    loss_scale: f64,
    [slope, offset]: [f64; 2],
) -> Result<()> {
    let Some(predictor) = &writer.spec.architecture.predictor else {
        return Ok(());
    };
    let (shape, pass, weight) = ([writer.m, writer.p], writer.student(), writer.spec.objective.ssl_weight);
    let trace = layers::mlp_forward(&mut writer.program, pass, "predictor", predictor, projection.z)?;
    let (loss, d_p) = (writer.program.scratch(writer.m), writer.projections());
    let row_shift = writer.spec.rows;
    let settings = Cosine { row_shift, loss_scale, slope, offset, weight, eps: COSINE_EPS };
    writer.program.push(Op::Cosine { shape, settings, p: trace.y, z: target, loss, d_p });
    writer.term(loss, writer.m, Slot::Ssl, 1.0);
    let target = projection.target(writer);
    layers::mlp_backward(&mut writer.program, &trace, d_p, Some(target));
    Ok(())
}

fn vicreg(writer: &mut Writer<'_>, projection: &mut Projection) {
    let (n, m, p, objective) = (writer.spec.rows, writer.m, writer.p, writer.spec.objective);
    let ([invariance, variance, covariance], weight) = (objective.vicreg, objective.ssl_weight);
    let z = projection.z;
    let (d_z, _) = projection.target(writer);
    let (loss, mean) = (writer.program.scratch(m), 1.0 / real(n * p));
    // Each pair is met from both of its rows.
    let settings =
        Mse { row_shift: n, loss_scale: 0.5 * mean, gradient_scale: mean, weight: weight * invariance };
    writer.program.push(Op::Mse { shape: [m, p], settings, r: z, o: z, loss, d_r: d_z });
    writer.term(loss, m, Slot::Ssl, invariance);
    let (centred, loss) = (writer.projections(), writer.program.scratch(2 * p));
    let settings = Variance {
        rows: m,
        columns: p,
        groups: 2,
        loss_scale: 1.0 / real(p),
        weight: weight * variance,
        target_std: 1.0,
        eps: VARIANCE_EPS,
    };
    writer.program.push(Op::Variance { settings, z, centred, loss, d_z });
    writer.term(loss, 2 * p, Slot::Ssl, variance);
    for v in 0..2 {
        let (centred, d_z) = (writer.view(centred, v, p), writer.view(d_z, v, p));
        let (c, loss) = (writer.program.scratch(p * p), writer.program.scratch(p));
        let unbiased = 1.0 / real(n - 1);
        writer.product(Layout::Tn, [p, p, n], centred, centred, c, unbiased, Finish::PLAIN);
        let settings = Correlation {
            diagonal_target: 0.0,
            diagonal_scale: 0.0,
            off_scale: 1.0 / real(p),
            weight: weight * covariance,
        };
        writer.program.push(Op::Correlation { width: p, settings, c, loss });
        writer.term(loss, p, Slot::Ssl, covariance);
        writer.product(Layout::Nn, [n, p, p], centred, c, d_z, 2.0 * unbiased, Finish::Add);
    }
}

fn barlow(writer: &mut Writer<'_>, projection: &mut Projection) -> Result<()> {
    let (n, p, weight) = (writer.spec.rows, writer.p, writer.spec.objective.ssl_weight);
    let standard = Standardised::new(writer, projection.z)?;
    let d_standard = writer.projections();
    let [first, second] = [0, 1].map(|v| writer.view(standard.y, v, p));
    let [d_first, d_second] = [0, 1].map(|v| writer.view(d_standard, v, p));
    let c = correlate(writer, [first, second], weight, Slot::Ssl, 1.0);
    let inverse = 1.0 / real(n);
    writer.product(Layout::Nt, [n, p, p], second, c, d_first, inverse, Finish::PLAIN);
    writer.product(Layout::Nn, [n, p, p], first, c, d_second, inverse, Finish::PLAIN);
    projection.d_z = Some(standard.backward(writer, d_standard));
    Ok(())
}
