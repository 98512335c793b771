//! The self-supervised term of each method, forward and backward down to the projection z.

use super::{Writer, layers};
use crate::learn::objective::SslMethod;
use crate::learn::program::{Buf, Finish, Op, Role, Slot, Span};
use crate::number::real;
use crate::reference::linear::Layout;

/// The student's projection with the gradient that gathers on it.
///
/// MoCo normalises before its loss *and* before the distillation predictor, so there the gradient gathers on the
/// unit rows; SimCLR normalises for its loss alone.
pub(super) struct Projection {
    /// What losses and predictors read: z, or its unit rows for MoCo.
    pub z: Buf,
    /// Unit rows and norms of z.
    unit: [Buf; 2],
    gathers_on_unit: bool,
    d_z: Option<Buf>,
}

impl Projection {
    pub(super) fn new(writer: &mut Writer<'_>, z: Buf) -> Self {
        let unit = unit_rows(writer, z);
        writer.watch_collapse(unit[0]);
        let gathers_on_unit = writer.spec.objective.method == SslMethod::Moco;
        Self { z: if gathers_on_unit { unit[0] } else { z }, unit, gathers_on_unit, d_z: None }
    }

    /// The gradient buffer and how to finish a product into it: the first writer replaces, later ones add.
    pub(super) fn target(&mut self, writer: &mut Writer<'_>) -> (Buf, Finish) {
        match self.d_z {
            Some(d_z) => (d_z, Finish::Add),
            None => {
                let d_z = writer.program.scratch(writer.m * writer.projection());
                self.d_z = Some(d_z);
                (d_z, Finish::PLAIN)
            }
        }
    }

    /// The gradient with respect to z.
    pub(super) fn backward(self, writer: &mut Writer<'_>) -> Option<Buf> {
        let d_z = self.d_z?;
        if self.gathers_on_unit { Some(unit_backward(writer, self.unit, d_z)) } else { Some(d_z) }
    }
}

/// `[y, norm]` with `y = x / max(|x|, eps)` row by row.
pub(super) fn unit_rows(writer: &mut Writer<'_>, x: Buf) -> [Buf; 2] {
    let (rows, columns) = (writer.m, writer.projection());
    let (y, norm) = (writer.program.scratch(rows * columns), writer.program.scratch(rows));
    writer.program.push(Op::L2Forward { x, y, norm, rows, columns });
    [y, norm]
}

pub(super) fn unit_backward(writer: &mut Writer<'_>, [y, norm]: [Buf; 2], d_y: Buf) -> Buf {
    let (rows, columns) = (writer.m, writer.projection());
    let d_x = writer.program.scratch(rows * columns);
    writer.program.push(Op::L2Backward { d_y, y, norm, d_x, rows, columns });
    d_x
}

/// Writes the term; its gradient gathers on `projection`.
pub(super) fn write(writer: &mut Writer<'_>, projection: &mut Projection, momentum: Option<Buf>) {
    match writer.spec.objective.method {
        SslMethod::Simclr => simclr(writer, projection),
        SslMethod::Moco => {
            if let Some(keys) = momentum {
                moco(writer, projection, keys);
            }
        }
        SslMethod::Byol => {
            if let Some(target) = momentum {
                predictive(writer, projection, target, 1.0 / real(writer.spec.rows), [-2.0, 2.0]);
            }
        }
        SslMethod::Simsiam => {
            let z = projection.z;
            predictive(writer, projection, z, 1.0 / real(writer.m), [-1.0, 0.0]);
        }
        SslMethod::Vicreg => vicreg(writer, projection),
        SslMethod::BarlowTwins => barlow(writer, projection),
    }
}

fn simclr(writer: &mut Writer<'_>, projection: &mut Projection) {
    let (m, p, objective) = (writer.m, writer.projection(), writer.spec.objective);
    let inverse = 1.0 / objective.temperature;
    let [unit, _] = projection.unit;
    let similarity = writer.program.scratch(m * m);
    let loss = writer.program.scratch(m);
    writer.product(Layout::Nt, [m, m, p], unit, unit, similarity, inverse, Finish::PLAIN);
    let (scale, weight, decoupled) = (1.0 / real(m), objective.ssl_weight, objective.decoupled);
    writer.program.push(Op::NtXent { similarity, loss, rows: m, scale, weight, decoupled });
    writer.term(loss, m, Slot::Ssl, 1.0);
    let d_unit = writer.program.scratch(m * p);
    writer.product(Layout::Nn, [m, p, m], similarity, unit, d_unit, inverse, Finish::PLAIN);
    writer.product(Layout::Tn, [m, p, m], similarity, unit, d_unit, inverse, Finish::Add);
    projection.d_z = Some(unit_backward(writer, projection.unit, d_unit));
}

/// Query of view 1 meets keys of view 2 and queue 2; query of view 2 keys of view 1 and queue 1.
fn moco(writer: &mut Writer<'_>, projection: &mut Projection, momentum: Buf) {
    let (n, m, p, objective) = (writer.spec.rows, writer.m, writer.projection(), writer.spec.objective);
    let (rows, inverse, k) = (m, 1.0 / objective.temperature, objective.queue);
    let [keys, _] = unit_rows(writer, momentum);
    writer.keys = Some(keys);
    let queues =
        ["queue.2", "queue.1"].map(|name| writer.program.shared(Role::State(name.to_owned()), k * p));
    let (similarity, loss) = (writer.program.scratch(m * k), writer.program.scratch(m));
    let q = projection.z;
    let view = |buf: Buf, v: usize, width: usize| Span { buf, start: v * n * width };
    for (v, queue) in queues.into_iter().enumerate() {
        let shape = [n, k, p];
        writer.product(
            Layout::Nt,
            shape,
            view(q, v, p),
            queue,
            view(similarity, v, k),
            inverse,
            Finish::PLAIN,
        );
    }
    let (d_q, _) = projection.target(writer);
    writer.program.push(Op::InfoNce {
        q,
        k: keys,
        similarity,
        d_q,
        loss,
        rows,
        columns: p,
        queue: k,
        row_shift: n,
        inverse_temperature: inverse,
        scale: 1.0 / real(m),
        weight: objective.ssl_weight,
    });
    writer.term(loss, m, Slot::Ssl, 1.0);
    for (v, queue) in queues.into_iter().enumerate() {
        let shape = [n, p, k];
        writer.product(
            Layout::Nn,
            shape,
            view(similarity, v, k),
            queue,
            view(d_q, v, p),
            inverse,
            Finish::Add,
        );
    }
}

/// BYOL and SimSiam: the prediction of each view against the other view's target.
fn predictive(
    writer: &mut Writer<'_>,
    projection: &mut Projection,
    target: Buf,
    loss_scale: f64,
    [slope, offset]: [f64; 2],
) {
    let Some(predictor) = &writer.spec.architecture.predictor else {
        return;
    };
    let (rows, columns, weight) = (writer.m, writer.projection(), writer.spec.objective.ssl_weight);
    let pass = writer.student();
    let trace = layers::mlp_forward(&mut writer.program, pass, "predictor", predictor, projection.z);
    let (loss, d_p) = (writer.program.scratch(rows), writer.program.scratch(rows * columns));
    let row_shift = writer.spec.rows;
    let (p, z) = (trace.y, target);
    writer.program.push(Op::Cosine {
        p,
        z,
        loss,
        d_p,
        rows,
        columns,
        row_shift,
        loss_scale,
        slope,
        offset,
        weight,
    });
    writer.term(loss, rows, Slot::Ssl, 1.0);
    let target = projection.target(writer);
    layers::mlp_backward(&mut writer.program, &trace, d_p, Some(target));
}

fn vicreg(writer: &mut Writer<'_>, projection: &mut Projection) {
    let (n, m, p, objective) = (writer.spec.rows, writer.m, writer.projection(), writer.spec.objective);
    let ([invariance, variance, covariance], weight) = (objective.vicreg, objective.ssl_weight);
    let (rows, columns, z) = (m, p, projection.z);
    let (d_z, _) = projection.target(writer);
    let loss = writer.program.scratch(rows);
    let per_view = 1.0 / real(n * p);
    writer.program.push(Op::Mse {
        r: z,
        o: z,
        loss,
        d_r: d_z,
        rows,
        columns,
        row_shift: n,
        loss_scale: 0.5 * per_view,
        gradient_scale: per_view,
        weight: weight * invariance,
        accumulate: false,
    });
    writer.term(loss, rows, Slot::Ssl, invariance);
    let (centred, loss) = (writer.program.scratch(m * p), writer.program.scratch(2 * p));
    let loss_scale = 1.0 / real(p);
    writer.program.push(Op::Variance {
        z,
        centred,
        loss,
        d_z,
        rows,
        columns,
        groups: 2,
        loss_scale,
        weight: weight * variance,
    });
    writer.term(loss, 2 * p, Slot::Ssl, variance);
    for v in 0..2 {
        let span = |buf: Buf| Span { buf, start: v * n * p };
        let (c, loss) = (writer.program.scratch(p * p), writer.program.scratch(p));
        let unbiased = 1.0 / real(n - 1);
        writer.product(Layout::Tn, [p, p, n], span(centred), span(centred), c, unbiased, Finish::PLAIN);
        let (diagonal_target, diagonal_scale, off_scale, weight) =
            (0.0, 0.0, loss_scale, weight * covariance);
        writer.program.push(Op::Correlation {
            c,
            loss,
            width: p,
            diagonal_target,
            diagonal_scale,
            off_scale,
            weight,
        });
        writer.term(loss, p, Slot::Ssl, covariance);
        writer.product(Layout::Nn, [n, p, p], span(centred), c, span(d_z), 2.0 * unbiased, Finish::Add);
    }
}

fn barlow(writer: &mut Writer<'_>, projection: &mut Projection) {
    let (n, p, objective) = (writer.spec.rows, writer.projection(), writer.spec.objective);
    let standard = Standardised::new(writer, projection.z);
    let d_standard = writer.program.scratch(writer.m * p);
    let c = correlate(writer, [(standard.y, 0), (standard.y, n * p)], objective.ssl_weight, Slot::Ssl, 1.0);
    let span = |buf: Buf, v: usize| Span { buf, start: v * n * p };
    let inverse = 1.0 / real(n);
    let (first, second) = (span(standard.y, 0), span(standard.y, 1));
    writer.product(Layout::Nt, [n, p, p], second, c, span(d_standard, 0), inverse, Finish::PLAIN);
    writer.product(Layout::Nn, [n, p, p], first, c, span(d_standard, 1), inverse, Finish::PLAIN);
    projection.d_z = Some(standard.backward(writer, d_standard));
}

/// `C = aᵀ b / N` of two views and the Barlow Twins term on it; leaves the term's gradient in the buffer returned.
pub(super) fn correlate(
    writer: &mut Writer<'_>,
    views: [(Buf, usize); 2],
    weight: f64,
    slot: Slot,
    share: f64,
) -> Buf {
    let (n, p, [scale, off]) = (writer.spec.rows, writer.projection(), writer.spec.objective.barlow);
    let (c, loss) = (writer.program.scratch(p * p), writer.program.scratch(p));
    let [a, b] = views.map(|(buf, start)| Span { buf, start });
    writer.product(Layout::Tn, [p, p, n], a, b, c, 1.0 / real(n), Finish::PLAIN);
    writer.program.push(Op::Correlation {
        c,
        loss,
        width: p,
        diagonal_target: 1.0,
        diagonal_scale: scale,
        off_scale: scale * off,
        weight: weight * share,
    });
    writer.term(loss, p, slot, share);
    c
}

/// Columns brought to mean 0 and deviation 1 per view (biased variance, eps 1e-5): batch norm without parameters.
pub(super) struct Standardised {
    x: Buf,
    pub y: Buf,
    stats: Buf,
}

impl Standardised {
    pub(super) fn new(writer: &mut Writer<'_>, x: Buf) -> Self {
        let shape = writer.view_shape();
        let y = writer.program.scratch(shape.rows * shape.columns);
        let stats = writer.program.scratch(4 * shape.columns);
        let [weight, bias] = [1.0, 0.0].map(|v| writer.program.shared(Role::Constant(v), shape.columns));
        let running = [writer.program.scratch(shape.columns), writer.program.scratch(shape.columns)];
        writer.program.push(Op::BatchNormForward { x, weight, bias, y, stats, running, shape });
        Self { x, y, stats }
    }

    pub(super) fn backward(self, writer: &mut Writer<'_>, d_y: Buf) -> Buf {
        let shape = writer.view_shape();
        let weight = writer.program.shared(Role::Constant(1.0), shape.columns);
        let d_x = writer.program.scratch(shape.rows * shape.columns);
        let [d_weight, d_bias] = [0, 1].map(|_| writer.program.scratch(shape.columns));
        let Self { x, y, stats } = self;
        writer.program.push(Op::BatchNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape });
        d_x
    }
}
