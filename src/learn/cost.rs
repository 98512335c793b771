//! What a kernel call costs on paper: arithmetic, and bytes that must pass the memory once.

use crate::learn::op::{Finish, Op};
use crate::number::real;

/// Operations and bytes of a kernel call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Floating-point operations; an addition and a multiplication count as two.
    pub flop: f64,
    /// Bytes read and written, each operand once and in 32 bits: what a cache cannot save.
    pub bytes: f64,
}

impl Cost {
    fn of(flop: f64, elements: f64) -> Self {
        Self { flop, bytes: 4.0 * elements }
    }

    /// Adds another cost.
    pub(crate) fn add(&mut self, other: Self) {
        self.flop += other.flop;
        self.bytes += other.bytes;
    }

    /// Seconds at `share` of a device's limits, in FLOP and bytes a second: whichever bounds.
    pub(crate) fn seconds(self, [flop, bytes]: [f64; 2], share: f64) -> f64 {
        (self.flop / flop).max(self.bytes / bytes) / share
    }
}

/// Name of the kernel and cost of a call. Losses on `[2N, 2N]` or smaller are counted by what they
/// read and write, and a handful of operations an element.
#[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
pub(crate) fn cost(op: &Op) -> (&'static str, Cost) {
    let elementwise =
        |name, len: usize, flop: f64, arrays: f64| (name, Cost::of(flop * real(len), arrays * real(len)));
    let product = |shape: [usize; 2]| shape[0] * shape[1];
    match *op {
        Op::GatherRows { shape, .. } => elementwise("gather_rows", product(shape), 0.0, 2.0),
        Op::GatherCodes { shape: [rows, positions, channels], .. } => {
            elementwise("gather_codes", rows * positions * channels, 1.0, 1.25)
        }
        Op::GatherLabels { rows, .. } => elementwise("gather_labels", rows, 0.0, 2.0),
        Op::Gemm { shape: [m, n, k], finish, .. } => {
            let more = match finish {
                Finish::Replace { residual, mask, .. } => {
                    usize::from(residual.is_some()) + usize::from(mask.is_some())
                }
                Finish::Add => 1,
            };
            let elements = real(m * k) + real(n * k) + real((1 + more) * m * n);
            ("gemm", Cost::of(2.0 * real(m * n) * real(k), elements))
        }
        Op::ColumnSum { shape, .. } => elementwise("column_sum", product(shape), 1.0, 1.0),
        Op::Activate { len, residual, .. } => {
            elementwise("activate", len, 2.0, if residual.is_some() { 3.0 } else { 2.0 })
        }
        Op::ActivateBackward { len, .. } => elementwise("activate_backward", len, 1.0, 3.0),
        Op::DepthwiseForward { shape, .. } => {
            let taps = real(shape.kernel * shape.kernel);
            let elements = real(shape.input_len() + shape.output_len() + shape.weight_len());
            ("depthwise_forward", Cost::of(2.0 * taps * real(shape.output_len()), elements))
        }
        Op::DepthwiseBackwardInput { shape, mask, .. } => {
            let taps = real(shape.kernel * shape.kernel);
            let maps = shape.output_len() + shape.input_len() * (1 + usize::from(mask.is_some()));
            let elements = real(maps + shape.weight_len());
            ("depthwise_backward_input", Cost::of(2.0 * taps * real(shape.output_len()), elements))
        }
        Op::DepthwiseBackwardWeight { shape, .. } => {
            let taps = real(shape.kernel * shape.kernel + 1);
            let elements = real(shape.input_len() + shape.output_len() + shape.weight_len());
            ("depthwise_backward_weight", Cost::of(2.0 * taps * real(shape.output_len()), elements))
        }
        Op::AverageForward { shape: [images, positions, channels], .. } => {
            elementwise("average_forward", images * positions * channels, 1.0, 1.0)
        }
        Op::AverageBackward { shape: [images, positions, channels], .. } => {
            elementwise("average_backward", images * positions * channels, 1.0, 2.0)
        }
        Op::BatchNormForward { shape, .. } => {
            let [rows, columns, _] = shape.sizes();
            elementwise("batch_norm_forward", rows * columns, 9.0, 2.0)
        }
        Op::BatchNormInference { shape, .. } => elementwise("batch_norm_inference", product(shape), 5.0, 2.0),
        Op::BatchNormBackward { shape, .. } => {
            let [rows, columns, _] = shape.sizes();
            elementwise("batch_norm_backward", rows * columns, 10.0, 3.0)
        }
        Op::LayerNormForward { shape, .. } => elementwise("layer_norm_forward", product(shape), 8.0, 2.0),
        Op::LayerNormBackward { shape, .. } => elementwise("layer_norm_backward", product(shape), 10.0, 3.0),
        Op::LayerNormBackwardAffine { shape, .. } => {
            elementwise("layer_norm_backward_affine", product(shape), 4.0, 2.0)
        }
        Op::L2Forward { shape, .. } => elementwise("l2_forward", product(shape), 3.0, 2.0),
        Op::L2Backward { shape, .. } => elementwise("l2_backward", product(shape), 5.0, 3.0),
        Op::CrossEntropy { shape, .. } => elementwise("cross_entropy", product(shape), 6.0, 2.0),
        Op::TargetCrossEntropy { shape, .. } => elementwise("target_cross_entropy", product(shape), 8.0, 3.0),
        Op::SoftLabel { settings, .. } => {
            elementwise("soft_label", settings.rows * settings.classes, 10.0, 4.0)
        }
        Op::Cosine { shape, .. } => elementwise("cosine", product(shape), 9.0, 3.0),
        Op::Mse { shape, .. } => elementwise("mse", product(shape), 4.0, 3.0),
        Op::NtXent { half, .. } => elementwise("nt_xent", 4 * half * half, 6.0, 2.0),
        Op::InfoNce { settings, .. } => {
            elementwise("info_nce", settings.rows * (settings.negatives + settings.columns), 6.0, 2.0)
        }
        Op::RowLse { shape, .. } => elementwise("row_lse", product(shape), 3.0, 1.0),
        Op::ColumnLse { shape, .. } => elementwise("column_lse", product(shape), 3.0, 1.0),
        Op::Symmetric { rows, .. } => elementwise("symmetric", rows * rows, 6.0, 2.0),
        Op::Variance { settings, .. } => elementwise("variance", settings.rows * settings.columns, 8.0, 4.0),
        Op::Correlation { width, .. } => elementwise("correlation", width * width, 4.0, 2.0),
        Op::TermSum { len, .. } => elementwise("term_sum", len, 1.0, 1.0),
        Op::ColumnDeviation { shape, .. } => elementwise("column_deviation", product(shape), 4.0, 1.0),
        Op::SquareSum { len, .. } => elementwise("square_sum", len, 2.0, 1.0),
        Op::NonFinite { len, .. } => elementwise("nonfinite", len, 1.0, 1.0),
        Op::Sgd { len, .. } => elementwise("sgd", len, 5.0, 5.0),
        Op::Lars { len, .. } => elementwise("lars", len, 7.0, 5.0),
        Op::AdamW { len, .. } => elementwise("adamw", len, 14.0, 7.0),
        Op::Ema { len, .. } => elementwise("ema", len, 3.0, 3.0),
        Op::Enqueue { shape, .. } => elementwise("enqueue", product(shape), 0.0, 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::op::Buf;
    use crate::reference::linear::Layout;

    #[test]
    fn a_product_costs_its_multiply_adds_and_each_operand_once() {
        let span = Buf(0).into();
        let finish = Finish::PLAIN;
        let op =
            Op::Gemm { layout: Layout::Nt, shape: [3, 5, 7], a: span, b: span, y: span, alpha: 1.0, finish };
        let (name, plain) = cost(&op);
        assert_eq!((name, plain), ("gemm", Cost { flop: 210.0, bytes: 4.0 * 71.0 }));
        let added = Op::Gemm {
            layout: Layout::Nt,
            shape: [3, 5, 7],
            a: span,
            b: span,
            y: span,
            alpha: 1.0,
            finish: Finish::Add,
        };
        assert_eq!(cost(&added).1.bytes, 4.0 * 86.0);
        let bound_by_memory = plain.seconds([1e12, 1e9], 0.5);
        assert!((bound_by_memory - 2.0 * 284e-9).abs() < 1e-15);
        assert!((plain.seconds([1e3, 1e9], 0.5) - 0.42).abs() < 1e-12);
    }
}
