//! Forward and hand-written backward passes of layer lists, as ops.

use crate::Result;
use crate::heads::{Layer, Mlp};
use crate::learn::objective::CopyNorm;
use crate::learn::op::{Buf, Finish, Mask, NormTrace, Op, Span};
use crate::learn::program::Program;
use crate::reference::activation::Activation;
use crate::reference::linear::Layout;
use crate::reference::normalize::{BatchNorm, BatchShape, LayerNorm};

/// Shape and mode shared by all layers that a batch passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    /// Prefix of the copy: empty, `teacher.` or `momentum.`.
    pub prefix: &'a str,
    /// Rows M of the stacked views.
    pub rows: usize,
    /// Statistics groups (views).
    pub groups: usize,
    /// Statistics that batch norms use.
    pub norm: CopyNorm,
}

/// What a forward pass leaves for the backward one.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    rows: usize,
    steps: Vec<Step>,
    pub y: Buf,
}

#[derive(Clone, Debug)]
struct Step {
    kind: Kind,
    name: String,
    x: Buf,
    y: Buf,
    /// Whether the ReLU that follows is fused in.
    relu: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Linear {
        inputs: usize,
        outputs: usize,
    },
    BatchNorm {
        shape: BatchShape,
        stats: Buf,
    },
    LayerNorm {
        columns: usize,
        stats: Buf,
    },
    /// Batch norm by its running statistics, which has no backward pass.
    Frozen,
}

/// `y = activation(x · weightᵀ + bias (+ residual))`.
pub(super) fn linear_forward(
    program: &mut Program,
    name: &str,
    [rows, inputs, outputs]: [usize; 3],
    x: Buf,
    activation: Activation,
    residual: Option<Buf>,
) -> Buf {
    let weight = program.state(format!("{name}.weight"), inputs * outputs);
    let bias = program.state(format!("{name}.bias"), outputs);
    let y = program.scratch(rows * outputs);
    let finish = Finish::Replace { bias: Some(bias), residual, activation, mask: None };
    let (layout, shape) = (Layout::Nt, [rows, outputs, inputs]);
    program.push(Op::Gemm { layout, shape, a: x.into(), b: weight.into(), y: y.into(), alpha: 1.0, finish });
    y
}

/// Gradients of weight and bias.
pub(super) fn linear_backward_parameters(
    program: &mut Program,
    name: &str,
    [rows, inputs, outputs]: [usize; 3],
    d_y: Buf,
    x: Buf,
) {
    let d_weight = program.gradient(format!("{name}.weight"), inputs * outputs);
    let (layout, shape, finish) = (Layout::Tn, [outputs, inputs, rows], Finish::PLAIN);
    let (a, b, y) = (d_y.into(), x.into(), d_weight.into());
    program.push(Op::Gemm { layout, shape, a, b, y, alpha: 1.0, finish });
    bias_backward(program, name, [rows, outputs], d_y);
}

/// Gradient of a bias.
pub(super) fn bias_backward(program: &mut Program, name: &str, shape: [usize; 2], d_y: Buf) {
    let out = program.gradient(format!("{name}.bias"), shape[1]);
    program.push(Op::ColumnSum { g: d_y, out, shape });
}

/// Gradient of the input.
pub(super) fn linear_backward_input(
    program: &mut Program,
    name: &str,
    [rows, inputs, outputs]: [usize; 3],
    d_y: Buf,
    d_x: Buf,
    finish: Finish,
) {
    let weight = program.state(format!("{name}.weight"), inputs * outputs);
    let (layout, shape) = (Layout::Nn, [rows, inputs, outputs]);
    let (a, b, y): (Span, Span, Span) = (d_y.into(), weight.into(), d_x.into());
    program.push(Op::Gemm { layout, shape, a, b, y, alpha: 1.0, finish });
}

/// Runs a layer list forward.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for batch norm of fewer than two rows a group.
pub(super) fn mlp_forward(
    program: &mut Program,
    pass: Pass<'_>,
    name: &str,
    mlp: &Mlp,
    x: Buf,
) -> Result<Trace> {
    let mut trace = Trace { rows: pass.rows, steps: Vec::new(), y: x };
    let mut layers = mlp.0.iter().enumerate().peekable();
    while let Some((number, layer)) = layers.next() {
        let relu = layers.next_if(|(_, next)| **next == Layer::Relu).is_some();
        let (x, name) = (trace.y, format!("{}{name}.{number}", pass.prefix));
        let (y, kind) = match *layer {
            Layer::Linear { inputs, outputs } => {
                let activation = if relu { Activation::Relu } else { Activation::None };
                let y = linear_forward(program, &name, [pass.rows, inputs, outputs], x, activation, None);
                (y, Kind::Linear { inputs, outputs })
            }
            Layer::BatchNorm(columns) => batch_norm(program, pass, &name, columns, x, relu)?,
            Layer::LayerNorm(columns) => {
                let (y, stats) = layer_norm(program, &name, [pass.rows, columns], x, relu);
                (y, Kind::LayerNorm { columns, stats })
            }
            // Fused into the layer before, and checked heads do not begin with one.
            Layer::Relu => continue,
        };
        trace.steps.push(Step { kind, name, x, y, relu });
        trace.y = y;
    }
    Ok(trace)
}

fn batch_norm(
    program: &mut Program,
    pass: Pass<'_>,
    name: &str,
    columns: usize,
    x: Buf,
    relu: bool,
) -> Result<(Buf, Kind)> {
    let parts = ["weight", "bias", "running_mean", "running_var"];
    let parameters = parts.map(|part| program.state(format!("{name}.{part}"), columns));
    let (y, settings) = (program.scratch(pass.rows * columns), BatchNorm::new(relu));
    match pass.norm {
        CopyNorm::Inference => {
            let shape = [pass.rows, columns];
            program.push(Op::BatchNormInference { shape, settings, x, parameters, y });
            Ok((y, Kind::Frozen))
        }
        CopyNorm::Batch => {
            let shape = BatchShape::new(pass.rows, columns, pass.groups)?;
            let stats = program.scratch(pass.groups * 2 * columns);
            program.push(Op::BatchNormForward { shape, settings, x, parameters, out: [y, stats] });
            Ok((y, Kind::BatchNorm { shape, stats }))
        }
    }
}

/// Layer norm, also the adapter's; returns output and statistics.
pub(super) fn layer_norm(
    program: &mut Program,
    name: &str,
    shape: [usize; 2],
    x: Buf,
    relu: bool,
) -> (Buf, Buf) {
    let affine = ["weight", "bias"].map(|part| program.state(format!("{name}.{part}"), shape[1]));
    let (y, stats) = (program.scratch(shape[0] * shape[1]), program.scratch(shape[0] * 2));
    let settings = LayerNorm::new(relu);
    program.push(Op::LayerNormForward { shape, settings, x, affine, out: [y, stats] });
    (y, stats)
}

/// Gradients of weight and bias of a layer norm.
pub(super) fn layer_norm_backward_affine(
    program: &mut Program,
    name: &str,
    shape: [usize; 2],
    trace: NormTrace,
) {
    let d_affine = affine_gradients(program, name, shape[1]);
    program.push(Op::LayerNormBackwardAffine { shape, trace, d_affine });
}

fn affine_gradients(program: &mut Program, name: &str, columns: usize) -> [Buf; 2] {
    ["weight", "bias"].map(|part| program.gradient(format!("{name}.{part}"), columns))
}

/// Runs a layer list backward from `d_y`; writes (or adds) the input's gradient to `d_x` if one is
/// wanted.
pub(super) fn mlp_backward(program: &mut Program, trace: &Trace, mut d_y: Buf, d_x: Option<(Buf, Finish)>) {
    for (i, Step { kind, name, x, y, relu }) in trace.steps.iter().enumerate().rev() {
        let weight = |program: &mut Program, columns| program.state(format!("{name}.weight"), columns);
        let mask = relu.then_some(*y);
        match *kind {
            Kind::Linear { inputs, outputs } => {
                let shape = [trace.rows, inputs, outputs];
                linear_backward_parameters(program, name, shape, d_y, *x);
                let target = match i.checked_sub(1).map(|before| &trace.steps[before]) {
                    None => d_x,
                    Some(before) => {
                        let fused = before.relu && matches!(before.kind, Kind::Linear { .. });
                        let mask = Mask { activation: Activation::Relu, y: before.y };
                        let finish = Finish::masked(fused.then_some(mask));
                        Some((program.scratch(trace.rows * inputs), finish))
                    }
                };
                if let Some((d_x, finish)) = target {
                    linear_backward_input(program, name, shape, d_y, d_x, finish);
                    d_y = d_x;
                }
            }
            Kind::BatchNorm { shape, stats } => {
                let [rows, columns, _] = shape.sizes();
                let (d_x, weight) = (program.scratch(rows * columns), weight(program, columns));
                let d_affine = affine_gradients(program, name, columns);
                let trace = NormTrace { d_y, x: *x, mask, stats };
                program.push(Op::BatchNormBackward { shape, trace, weight, d_x, d_affine });
                d_y = d_x;
            }
            Kind::LayerNorm { columns, stats } => {
                let shape = [trace.rows, columns];
                let (d_x, weight) = (program.scratch(trace.rows * columns), weight(program, columns));
                let trace = NormTrace { d_y, x: *x, mask, stats };
                program.push(Op::LayerNormBackward { shape, trace, weight, d_x });
                layer_norm_backward_affine(program, name, shape, trace);
                d_y = d_x;
            }
            Kind::Frozen => {}
        }
    }
}
