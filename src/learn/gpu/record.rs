//! One kernel call per op.

use crate::Result;
use crate::gpu::kernels::linear::Gemm;
use crate::gpu::kernels::{batch, classify, contrast, distill, normalize as norm, optim, reduce};
use crate::gpu::{Buffer, Device, Recorder};
use crate::learn::cpu::constants::{
    BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, COSINE_EPS, L2_EPS, LARS_EPS, LAYER_NORM_EPS, VARIANCE_EPS,
};
use crate::learn::program::{Buf, Finish, NormShape, Op, RateGroup, Span, Update};
use crate::reference::normalize::{BatchNorm, BatchShape, LayerNorm};
use crate::reference::{
    Real as _, contrast as contrast_settings, distill as distill_settings, optim as settings,
};

/// Buffers that every program has beside its own.
pub(super) struct Fixed<'a> {
    index: &'a Buffer,
    label_table: &'a Buffer,
    labels: Buffer,
    terms: &'a Buffer,
    partials: Buffer,
}

impl<'a> Fixed<'a> {
    pub(super) fn new(
        device: &Device,
        index: &'a Buffer,
        label_table: &'a Buffer,
        terms: &'a Buffer,
        rows: usize,
    ) -> Self {
        let labels = Buffer::zeroed(device, "labels", rows);
        let partials = Buffer::zeroed(device, "partials", reduce::SQUARE_SUM_PARTIALS);
        Self { index, label_table, labels, terms, partials }
    }
}

/// Records `op`.
pub(super) fn op(recorder: &mut Recorder<'_>, buffers: &[Buffer], fixed: &Fixed<'_>, op: &Op) -> Result<()> {
    let at = |buf: Buf| &buffers[buf.0];
    let index = batch::Index { rows: fixed.index, offset: 0 };
    match *op {
        Op::GatherRows { table, table_rows, x, rows, columns } => {
            batch::gather_rows(recorder, [rows, columns, table_rows], at(table), index, (at(x), 0))
        }
        Op::GatherLabels { rows } => {
            let shape = [rows, fixed.label_table.len()];
            batch::gather_labels(recorder, shape, fixed.label_table, index, (&fixed.labels, 0))
        }
        Op::Gemm { layout, shape, a, b, y, alpha, finish } => {
            let place = |span: Span| (at(span.buf), span.start);
            let bare = Gemm {
                layout,
                shape,
                a: place(a),
                b: place(b),
                y: place(y),
                alpha: f32::of(alpha),
                bias: None,
                residual: None,
                relu: false,
                mask: None,
                accumulate: finish == Finish::Add,
            };
            let Finish::Replace { bias, residual, relu, mask } = finish else {
                return bare.record(recorder);
            };
            let (bias, residual, mask) = (bias.map(at), residual.map(at), mask.map(at));
            Gemm { bias, residual, relu, mask, ..bare }.record(recorder)
        }
        Op::ColumnSum { g, out, rows, columns } => {
            reduce::column_sum(recorder, [rows, columns], false, at(g), at(out))
        }
        Op::TermSum { rows, len, slot, scale } => {
            reduce::term_sum(recorder, (at(rows), 0, len), f32::of(scale), (fixed.terms, slot))
        }
        Op::ColumnDeviation { z, deviation, rows, columns } => {
            reduce::column_deviation(recorder, [rows, columns], at(z), at(deviation))
        }
        Op::SquareSum { x, len, out, slot } => {
            reduce::square_sum(recorder, len, at(x), &fixed.partials, (at(out), slot))
        }
        Op::NonFinite { x, len, slot } => reduce::nonfinite(recorder, (at(x), 0, len), (fixed.terms, slot)),
        Op::Ema { online, copy, len } => optim::ema(recorder, len, at(online), at(copy)),
        Op::Enqueue { keys, first_row, rows, columns, queue, queue_rows } => {
            batch::enqueue(recorder, [rows, columns, queue_rows], (at(keys), first_row), (at(queue), 0))
        }
        Op::Update { rule, group, grad, weight, len } => {
            update(recorder, buffers, rule, group, [grad, weight], len)
        }
        _ => normalization(recorder, buffers, fixed, op),
    }
}

fn update(
    recorder: &mut Recorder<'_>,
    buffers: &[Buffer],
    rule: Update,
    group: RateGroup,
    [grad, weight]: [Buf; 2],
    len: usize,
) -> Result<()> {
    let at = |buf: Buf| &buffers[buf.0];
    let rate = optim::Rate { classifier: group == RateGroup::Classifier, scale: 1.0 };
    match rule {
        Update::Sgd { velocity, momentum, decay } => {
            let settings = settings::Sgd { momentum: f32::of(momentum), weight_decay: f32::of(decay) };
            optim::sgd(recorder, len, rate, &settings, at(grad), [at(weight), at(velocity)])
        }
        Update::Lars { velocity, norms, momentum, decay, trust } => {
            let settings = settings::Lars {
                trust: f32::of(trust),
                momentum: f32::of(momentum),
                weight_decay: f32::of(decay),
                eps: f32::of(LARS_EPS),
                clip: true,
            };
            optim::lars(
                recorder,
                len,
                rate,
                &settings,
                at(grad),
                (at(norms), [0, 1]),
                [at(weight), at(velocity)],
            )
        }
        Update::AdamW { moment1, moment2, beta1, beta2, eps, decay } => {
            let settings = settings::AdamW {
                beta1: f32::of(beta1),
                beta2: f32::of(beta2),
                eps: f32::of(eps),
                weight_decay: f32::of(decay),
            };
            optim::adamw(recorder, len, rate, &settings, at(grad), [at(weight), at(moment1), at(moment2)])
        }
    }
}

fn batch_norm(shape: NormShape) -> BatchNorm<f32> {
    BatchNorm { eps: f32::of(BATCH_NORM_EPS), momentum: f32::of(BATCH_NORM_MOMENTUM), relu: shape.relu }
}

#[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
fn normalization(recorder: &mut Recorder<'_>, buffers: &[Buffer], fixed: &Fixed<'_>, op: &Op) -> Result<()> {
    let at = |buf: Buf| &buffers[buf.0];
    let sizes = |shape: NormShape| [shape.rows, shape.columns];
    let grouped = |shape: NormShape| BatchShape::new(shape.rows, shape.columns, shape.groups);
    match *op {
        Op::BatchNormForward { x, weight, bias, y, stats, running, shape } => norm::batch_norm_forward(
            recorder,
            grouped(shape)?,
            &batch_norm(shape),
            at(x),
            [at(weight), at(bias)],
            at(y),
            at(stats),
            running.map(at),
        ),
        Op::BatchNormInference { x, weight, bias, running, y, shape } => norm::batch_norm_inference(
            recorder,
            sizes(shape),
            &batch_norm(shape),
            at(x),
            [at(weight), at(bias)],
            running.map(at),
            at(y),
        ),
        Op::BatchNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape } => {
            let mask = shape.relu.then(|| at(y));
            let affine = [at(d_weight), at(d_bias)];
            let shape = grouped(shape)?;
            norm::batch_norm_backward(
                recorder,
                shape,
                at(d_y),
                at(x),
                mask,
                at(weight),
                at(stats),
                at(d_x),
                affine,
            )
        }
        Op::LayerNormForward { x, weight, bias, y, stats, shape } => {
            let settings = LayerNorm { eps: f32::of(LAYER_NORM_EPS), relu: shape.relu };
            let affine = [at(weight), at(bias)];
            norm::layer_norm_forward(recorder, sizes(shape), &settings, at(x), affine, at(y), at(stats))
        }
        Op::LayerNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape } => {
            let mask = shape.relu.then(|| at(y));
            let (d_y, x, weight, stats) = (at(d_y), at(x), at(weight), at(stats));
            if let Some(d_x) = d_x {
                norm::layer_norm_backward(recorder, sizes(shape), d_y, x, mask, weight, stats, at(d_x))?;
            }
            let affine = [at(d_weight), at(d_bias)];
            norm::layer_norm_backward_affine(recorder, sizes(shape), d_y, x, mask, stats, affine)
        }
        Op::L2Forward { x, y, norm: lengths, rows, columns } => {
            norm::l2_forward(recorder, [rows, columns], f32::of(L2_EPS), at(x), at(y), at(lengths))
        }
        Op::L2Backward { d_y, y, norm: lengths, d_x, rows, columns } => {
            let eps = f32::of(L2_EPS);
            norm::l2_backward(recorder, [rows, columns], eps, at(d_y), at(y), at(lengths), false, at(d_x))
        }
        _ => loss(recorder, buffers, fixed, op),
    }
}

#[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
fn loss(recorder: &mut Recorder<'_>, buffers: &[Buffer], fixed: &Fixed<'_>, op: &Op) -> Result<()> {
    let at = |buf: Buf| &buffers[buf.0];
    let of = f32::of;
    match *op {
        Op::CrossEntropy { logits, loss, d_logits, rows, classes, weight } => {
            let inputs = [at(logits), &fixed.labels];
            classify::cross_entropy(recorder, [rows, classes], of(weight), inputs, [at(loss), at(d_logits)])
        }
        Op::SoftLabel {
            logits,
            teacher,
            loss,
            d_logits,
            rows,
            classes,
            teacher_classes,
            known,
            loss_scale,
            weight,
        } => {
            let (loss_scale, weight) = (of(loss_scale), of(weight));
            let settings = distill_settings::SoftLabel {
                rows,
                classes,
                teacher_classes,
                known,
                loss_scale,
                weight,
                overwrite: false,
            };
            distill::soft_label(recorder, &settings, [at(logits), at(teacher)], [at(loss), at(d_logits)])
        }
        Op::Cosine { p, z, loss, d_p, rows, columns, row_shift, loss_scale, slope, offset, weight } => {
            let settings = distill_settings::Cosine {
                row_shift,
                loss_scale: of(loss_scale),
                slope: of(slope),
                offset: of(offset),
                weight: of(weight),
                eps: of(COSINE_EPS),
                accumulate: false,
            };
            distill::cosine(recorder, [rows, columns], &settings, [at(p), at(z)], [at(loss), at(d_p)])
        }
        Op::Mse {
            r,
            o,
            loss,
            d_r,
            rows,
            columns,
            row_shift,
            loss_scale,
            gradient_scale,
            weight,
            accumulate,
        } => {
            let (loss_scale, gradient_scale, weight) = (of(loss_scale), of(gradient_scale), of(weight));
            let settings =
                distill_settings::Mse { row_shift, loss_scale, gradient_scale, weight, accumulate };
            distill::mse(recorder, [rows, columns], &settings, [at(r), at(o)], [at(loss), at(d_r)])
        }
        _ => contrastive(recorder, buffers, op),
    }
}

#[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
fn contrastive(recorder: &mut Recorder<'_>, buffers: &[Buffer], op: &Op) -> Result<()> {
    let at = |buf: Buf| &buffers[buf.0];
    let of = f32::of;
    match *op {
        Op::NtXent { similarity, loss, rows, scale, weight, decoupled } => {
            let settings = contrast_settings::NtXent { decoupled, scale: of(scale), weight: of(weight) };
            contrast::nt_xent(recorder, rows / 2, &settings, at(loss), at(similarity))
        }
        Op::InfoNce {
            q,
            k,
            similarity,
            d_q,
            loss,
            rows,
            columns,
            queue,
            row_shift,
            inverse_temperature,
            scale,
            weight,
        } => {
            let settings = contrast_settings::InfoNce {
                rows,
                columns,
                negatives: queue,
                row_shift,
                inverse_temperature: of(inverse_temperature),
                scale: of(scale),
                weight: of(weight),
            };
            contrast::info_nce(recorder, &settings, [at(q), at(k)], [at(loss), at(d_q), at(similarity)])
        }
        Op::RowLse { s, lse, rows, columns } => contrast::row_lse(recorder, [rows, columns], at(s), at(lse)),
        Op::ColumnLse { s, lse, rows, columns } => {
            contrast::column_lse(recorder, [rows, columns], at(s), at(lse))
        }
        Op::Symmetric { s, row_lse, column_lse, loss, rows, scale, weight } => {
            let sums = [at(row_lse), at(column_lse)];
            contrast::symmetric(recorder, rows, [of(scale), of(weight)], sums, [at(loss), at(s)])
        }
        Op::Variance { z, centred, loss, d_z, rows, columns, groups, loss_scale, weight } => {
            let settings = contrast_settings::Variance {
                rows,
                columns,
                groups,
                loss_scale: of(loss_scale),
                weight: of(weight),
                target_std: 1.0,
                eps: of(VARIANCE_EPS),
            };
            contrast::variance(recorder, &settings, at(z), [at(centred), at(loss), at(d_z)])
        }
        Op::Correlation { c, loss, width, diagonal_target, diagonal_scale, off_scale, weight } => {
            let settings = contrast_settings::Correlation {
                diagonal_target: of(diagonal_target),
                diagonal_scale: of(diagonal_scale),
                off_scale: of(off_scale),
                weight: of(weight),
            };
            contrast::correlation(recorder, width, &settings, at(loss), at(c))
        }
        _ => Err(crate::Error::config("op", format!("{op:?}"), "an op with a kernel")),
    }
}
