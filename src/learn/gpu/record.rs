//! One kernel call per op.

use crate::Result;
use crate::gpu::kernels::linear::{self, Gemm};
use crate::gpu::kernels::{
    activation, batch, classify, contrast, convolution, distill, normalize, optim, pool, reduce,
};
use crate::gpu::{Buffer, Device, Recorder};
use crate::learn::op::{Buf, Finish, Mask, Op, Rate, RateGroup, Span};
use crate::learn::program::Program;
use crate::reference::activation::Activation;

/// Buffers that every program has beside its own.
pub(super) struct Fixed<'a> {
    index: &'a Buffer,
    terms: &'a Buffer,
    latents: &'a [Buffer; 2],
    label_table: Buffer,
    /// Labels of the step's rows.
    labels: Buffer,
    /// Partial sums of squares.
    squares: Buffer,
    /// Products in slices of their inner dimension.
    slices: Buffer,
}

impl<'a> Fixed<'a> {
    pub(super) fn new(
        device: &Device,
        [index, terms]: [&'a Buffer; 2],
        latents: &'a [Buffer; 2],
        labels: &[i32],
        program: &Program,
    ) -> Self {
        let partials = program.ops.iter().map(|op| {
            let Op::Gemm { shape, finish, .. } = *op else { return 0 };
            if finish.is_bare() { linear::partials(shape) } else { 0 }
        });
        Self {
            index,
            terms,
            latents,
            label_table: Buffer::from_slice(device, "label_table", labels),
            labels: Buffer::zeroed(device, "labels", program.index_rows),
            squares: Buffer::zeroed(device, "squares", reduce::SQUARE_SUM_PARTIALS),
            slices: Buffer::zeroed(device, "slices", partials.max().unwrap_or(0).max(1)),
        }
    }

    /// Records `op` on the program's `buffers`.
    #[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
    pub(super) fn record(&self, r: &mut Recorder<'_>, buffers: &[Buffer], op: &Op) -> Result<()> {
        let at = |buf: Buf| &buffers[buf.0];
        let masked = |mask: Option<Mask>| mask.map(|Mask { activation, y }| (activation, at(y)));
        let tensor = |len, rate: Rate| optim::Tensor {
            len,
            is_classifier: rate.group == RateGroup::Classifier,
            rate_scale: rate.scale,
        };
        match *op {
            Op::GatherRows { table, table_rows, first, x, shape: [rows, columns] } => {
                batch::gather_rows(r, [rows, columns, table_rows], at(table), (self.index, first), at(x))
            }
            Op::GatherCodes { table_rows, first, x, shape } => {
                let index = (self.index, first);
                batch::gather_codes(r, shape, table_rows, self.latents.each_ref(), index, at(x))
            }
            Op::GatherLabels { first, rows } => {
                let shape = [rows, self.label_table.len()];
                batch::gather_labels(r, shape, &self.label_table, (self.index, first), &self.labels)
            }
            Op::Gemm { layout, shape, a, b, y, alpha, finish } => {
                let [a, b, y] = [a, b, y].map(|Span { buf, start }| (at(buf), start));
                let (bias, residual, activation, mask) = match finish {
                    Finish::Replace { bias, residual, activation, mask } => {
                        (bias, residual, activation, mask)
                    }
                    Finish::Add => (None, None, Activation::None, None),
                };
                let [bias, residual] = [bias, residual].map(|buf| buf.map(at));
                let (mask, accumulate) = (masked(mask), finish == Finish::Add);
                Gemm { layout, shape, a, b, y, alpha, bias, residual, activation, mask, accumulate }
                    .record_in_slices(r, &self.slices)
            }
            Op::ColumnSum { g, out, shape } => reduce::column_sum(r, shape, at(g), at(out)),
            Op::Activate { len, activation, x, residual, y } => {
                activation::activate(r, len, activation, at(x), residual.map(at), at(y))
            }
            Op::ActivateBackward { len, d_y, mask: Mask { activation, y }, d_x } => {
                activation::activate_backward(r, len, activation, [d_y, y].map(at), at(d_x))
            }
            Op::DepthwiseForward { shape, activation, x, filters: [weight, bias], y } => {
                let inputs = [x, weight, bias].map(at);
                convolution::depthwise_forward(r, &shape, activation, inputs, at(y))
            }
            Op::DepthwiseBackwardInput { shape, d_y, weight, mask, d_x } => {
                let inputs = [d_y, weight].map(at);
                convolution::depthwise_backward_input(r, &shape, inputs, masked(mask), at(d_x))
            }
            Op::DepthwiseBackwardWeight { shape, d_y, x, d_filters } => {
                convolution::depthwise_backward_weight(r, &shape, [d_y, x].map(at), d_filters.map(at))
            }
            Op::AverageForward { shape, x, y } => pool::average_forward(r, shape, at(x), at(y)),
            Op::AverageBackward { shape, d_y, mask, d_x } => {
                pool::average_backward(r, shape, at(d_y), masked(mask), at(d_x))
            }
            Op::BatchNormForward { shape, settings, x, parameters, out } => {
                let (parameters, out) = (parameters.map(at), out.map(at));
                normalize::batch_norm_forward(r, shape, &settings, at(x), parameters, out)
            }
            Op::BatchNormInference { shape, settings, x, parameters, y } => {
                normalize::batch_norm_inference(r, shape, &settings, at(x), parameters.map(at), at(y))
            }
            Op::BatchNormBackward { shape, trace, weight, d_x, d_affine: [d_weight, d_bias] } => {
                let inputs = [trace.d_y, trace.x, weight, trace.stats].map(at);
                let outputs = [d_x, d_weight, d_bias].map(at);
                normalize::batch_norm_backward(r, shape, inputs, trace.mask.map(at), outputs)
            }
            Op::LayerNormForward { shape, settings, x, affine, out } => {
                normalize::layer_norm_forward(r, shape, &settings, at(x), affine.map(at), out.map(at))
            }
            Op::LayerNormBackward { shape, trace, weight, d_x } => {
                let inputs = [trace.d_y, trace.x, weight, trace.stats].map(at);
                normalize::layer_norm_backward(r, shape, inputs, trace.mask.map(at), at(d_x))
            }
            Op::LayerNormBackwardAffine { shape, trace, d_affine } => {
                let (inputs, mask) = ([trace.d_y, trace.x, trace.stats].map(at), trace.mask.map(at));
                normalize::layer_norm_backward_affine(r, shape, inputs, mask, d_affine.map(at))
            }
            Op::L2Forward { shape, eps, x, y, norm } => {
                normalize::l2_forward(r, shape, eps, at(x), [at(y), at(norm)])
            }
            Op::L2Backward { shape, eps, d_y, y, norm, d_x } => {
                normalize::l2_backward(r, shape, eps, [d_y, y, norm].map(at), at(d_x))
            }
            Op::CrossEntropy { shape, weight, logits, loss, d_logits, .. } => {
                let outputs = [at(loss), at(d_logits)];
                classify::cross_entropy(r, shape, weight, [at(logits), &self.labels], outputs)
            }
            Op::TargetCrossEntropy {
                shape,
                weight,
                logits,
                targets: [targets, weights],
                loss,
                d_logits,
                ..
            } => {
                let inputs = [logits, targets, weights].map(at);
                classify::target_cross_entropy(r, shape, weight, inputs, [loss, d_logits].map(at))
            }
            Op::SoftLabel { settings, logits, teacher, loss, d_logits } => {
                distill::soft_label(r, &settings, [logits, teacher].map(at), [loss, d_logits].map(at))
            }
            Op::Cosine { shape, settings, p, z, loss, d_p } => {
                distill::cosine(r, shape, &settings, [p, z].map(at), [loss, d_p].map(at))
            }
            Op::Mse { shape, settings, r: mine, o, loss, d_r } => {
                distill::mse(r, shape, &settings, [mine, o].map(at), [loss, d_r].map(at))
            }
            Op::NtXent { half, settings, similarity, loss } => {
                contrast::nt_xent(r, half, &settings, at(loss), at(similarity))
            }
            Op::InfoNce { settings, q, k, similarity, d_q, loss } => {
                contrast::info_nce(r, &settings, [q, k].map(at), [loss, d_q, similarity].map(at))
            }
            Op::RowLse { shape, s, lse } => contrast::row_lse(r, shape, at(s), at(lse)),
            Op::ColumnLse { shape, s, lse } => contrast::column_lse(r, shape, at(s), at(lse)),
            Op::Symmetric { rows, scale, weight, lse, s, loss } => {
                contrast::symmetric(r, rows, [scale, weight], lse.map(at), [loss, s].map(at))
            }
            Op::Variance { settings, z, centred, loss, d_z } => {
                contrast::variance(r, &settings, at(z), [centred, loss, d_z].map(at))
            }
            Op::Correlation { width, settings, c, loss } => {
                contrast::correlation(r, width, &settings, at(loss), at(c))
            }
            Op::TermSum { rows, len, slot, scale } => {
                reduce::term_sum(r, len, scale, at(rows), (self.terms, slot as usize))
            }
            Op::ColumnDeviation { shape, z, deviation } => {
                reduce::column_deviation(r, shape, at(z), at(deviation))
            }
            Op::SquareSum { x, len, out, at: slot } => {
                reduce::square_sum(r, len, at(x), &self.squares, (at(out), slot))
            }
            Op::NonFinite { x, len, slot } => reduce::nonfinite(r, len, at(x), (self.terms, slot as usize)),
            Op::Sgd { settings, rate, len, grad, weight, velocity } => {
                optim::sgd(r, tensor(len, rate), &settings, at(grad), [weight, velocity].map(at))
            }
            Op::Lars { settings, rate, len, norms, grad, state } => {
                optim::lars(r, tensor(len, rate), &settings, [grad, norms].map(at), state.map(at))
            }
            Op::AdamW { settings, rate, len, grad, state } => {
                optim::adamw(r, tensor(len, rate), &settings, at(grad), state.map(at))
            }
            Op::Ema { online, copy, len } => optim::ema(r, len, at(online), at(copy)),
            Op::Enqueue { keys, first_row, shape: [rows, columns], queue, queue_rows } => {
                batch::enqueue(r, [rows, columns, queue_rows], (at(keys), first_row), at(queue))
            }
        }
    }
}
