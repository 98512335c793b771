//! Forward and hand-written backward passes of layer lists, as ops.

use crate::heads::{Layer, Mlp};
use crate::learn::program::{Buf, Finish, NormShape, Op, Program, Role, Span};
use crate::reference::linear::Layout;

/// Batch-norm statistics of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistics {
    Batch,
    Running,
}

/// Shape and mode shared by all passes of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    /// Prefix of the copy: empty, `teacher.` or `momentum.`.
    pub prefix: &'a str,
    /// Rows M of the stacked views.
    pub rows: usize,
    /// Statistics groups (views).
    pub groups: usize,
    pub statistics: Statistics,
}

/// What a forward pass leaves for the backward one.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    name: String,
    rows: usize,
    groups: usize,
    layers: Vec<Step>,
    pub y: Buf,
}

#[derive(Clone, Debug)]
struct Step {
    layer: Layer,
    number: usize,
    x: Buf,
    y: Buf,
    /// Whether the ReLU that follows is fused in.
    relu: bool,
    stats: Option<Buf>,
}

/// A parameter tensor and its gradient, found by the layer's name.
pub(super) fn parameter(program: &mut Program, name: &str, part: &str, len: usize) -> Buf {
    program.shared(Role::State(format!("{name}.{part}")), len)
}

fn gradient(program: &mut Program, name: &str, part: &str, len: usize) -> Buf {
    program.shared(Role::Gradient(format!("{name}.{part}")), len)
}

/// `y = relu(x · weightᵀ + bias) (+ residual)`.
pub(super) fn linear_forward(
    program: &mut Program,
    name: &str,
    [rows, inputs, outputs]: [usize; 3],
    x: Buf,
    relu: bool,
    residual: Option<Buf>,
) -> Buf {
    let weight = parameter(program, name, "weight", inputs * outputs);
    let bias = parameter(program, name, "bias", outputs);
    let y = program.scratch(rows * outputs);
    let finish = Finish::Replace { bias: Some(bias), residual, relu, mask: None };
    let shape = [rows, outputs, inputs];
    program.push(Op::Gemm {
        layout: Layout::Nt,
        shape,
        a: x.into(),
        b: weight.into(),
        y: y.into(),
        alpha: 1.0,
        finish,
    });
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
    let d_weight = gradient(program, name, "weight", inputs * outputs);
    let d_bias = gradient(program, name, "bias", outputs);
    let shape = [outputs, inputs, rows];
    let (a, b, y) = (d_y.into(), x.into(), d_weight.into());
    program.push(Op::Gemm { layout: Layout::Tn, shape, a, b, y, alpha: 1.0, finish: Finish::PLAIN });
    program.push(Op::ColumnSum { g: d_y, out: d_bias, rows, columns: outputs });
}

/// Gradient of the input.
pub(super) fn linear_backward_input(
    program: &mut Program,
    name: &str,
    [rows, inputs, outputs]: [usize; 3],
    d_y: Buf,
    d_x: impl Into<Span>,
    finish: Finish,
) {
    let weight = parameter(program, name, "weight", inputs * outputs);
    let shape = [rows, inputs, outputs];
    program.push(Op::Gemm {
        layout: Layout::Nn,
        shape,
        a: d_y.into(),
        b: weight.into(),
        y: d_x.into(),
        alpha: 1.0,
        finish,
    });
}

/// Runs a layer list forward.
pub(super) fn mlp_forward(program: &mut Program, pass: Pass<'_>, name: &str, mlp: &Mlp, x: Buf) -> Trace {
    let name = format!("{}{name}", pass.prefix);
    let mut trace = Trace { name, rows: pass.rows, groups: pass.groups, layers: Vec::new(), y: x };
    let mut layers = mlp.0.iter().copied().enumerate().peekable();
    while let Some((number, layer)) = layers.next() {
        let relu = layers.next_if(|(_, next)| *next == Layer::Relu).is_some();
        let x = trace.y;
        let at = format!("{}.{number}", trace.name);
        let (y, stats) = match layer {
            Layer::Linear { inputs, outputs } => {
                (linear_forward(program, &at, [pass.rows, inputs, outputs], x, relu, None), None)
            }
            Layer::BatchNorm(columns) => batch_norm(program, pass, &at, columns, x, relu),
            Layer::LayerNorm(columns) => layer_norm(program, pass.rows, &at, columns, x, relu),
            Layer::Relu => (x, None),
        };
        trace.layers.push(Step { layer, number, x, y, relu, stats });
        trace.y = y;
    }
    trace
}

fn batch_norm(
    program: &mut Program,
    pass: Pass<'_>,
    at: &str,
    columns: usize,
    x: Buf,
    relu: bool,
) -> (Buf, Option<Buf>) {
    let shape = NormShape { rows: pass.rows, columns, groups: pass.groups, relu };
    let [weight, bias] = ["weight", "bias"].map(|part| parameter(program, at, part, columns));
    let running = ["running_mean", "running_var"].map(|part| parameter(program, at, part, columns));
    let y = program.scratch(pass.rows * columns);
    if pass.statistics == Statistics::Running {
        program.push(Op::BatchNormInference { x, weight, bias, running, y, shape });
        return (y, None);
    }
    let stats = program.scratch(pass.groups * 2 * columns);
    program.push(Op::BatchNormForward { x, weight, bias, y, stats, running, shape });
    (y, Some(stats))
}

/// Layer norm; also the adapter's.
pub(super) fn layer_norm(
    program: &mut Program,
    rows: usize,
    at: &str,
    columns: usize,
    x: Buf,
    relu: bool,
) -> (Buf, Option<Buf>) {
    let shape = NormShape { rows, columns, groups: 1, relu };
    let [weight, bias] = ["weight", "bias"].map(|part| parameter(program, at, part, columns));
    let y = program.scratch(rows * columns);
    let stats = program.scratch(rows * 2);
    program.push(Op::LayerNormForward { x, weight, bias, y, stats, shape });
    (y, Some(stats))
}

/// Gradients of a layer norm; `d_x` where the input needs one.
pub(super) fn layer_norm_backward(
    program: &mut Program,
    at: &str,
    shape: NormShape,
    d_y: Buf,
    [x, y, stats]: [Buf; 3],
    d_x: Option<Buf>,
) {
    let weight = parameter(program, at, "weight", shape.columns);
    let [d_weight, d_bias] = ["weight", "bias"].map(|part| gradient(program, at, part, shape.columns));
    program.push(Op::LayerNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape });
}

/// Runs a layer list backward from `d_y`; writes (or adds) the input's gradient to `d_x` if one is wanted.
pub(super) fn mlp_backward(program: &mut Program, trace: &Trace, d_y: Buf, d_x: Option<(Buf, Finish)>) {
    let mut d_y = d_y;
    for (i, step) in trace.layers.iter().enumerate().rev() {
        let at = format!("{}.{}", trace.name, step.number);
        let target = if i == 0 { d_x } else { None };
        match step.layer {
            Layer::Linear { inputs, outputs } => {
                let shape = [trace.rows, inputs, outputs];
                linear_backward_parameters(program, &at, shape, d_y, step.x);
                let previous = i.checked_sub(1).map(|p| &trace.layers[p]);
                let target = match (target, previous) {
                    (Some(target), _) => Some(target),
                    (None, Some(previous)) => {
                        let fused = previous.relu && matches!(previous.layer, Layer::Linear { .. });
                        let mask = fused.then_some(previous.y);
                        let finish = Finish::Replace { bias: None, residual: None, relu: false, mask };
                        Some((program.scratch(trace.rows * inputs), finish))
                    }
                    (None, None) => None,
                };
                if let Some((d_x, finish)) = target {
                    linear_backward_input(program, &at, shape, d_y, d_x, finish);
                    d_y = d_x;
                }
            }
            Layer::BatchNorm(columns) | Layer::LayerNorm(columns) => {
                d_y = norm_backward(program, trace, step, &at, columns, d_y);
            }
            Layer::Relu => {}
        }
    }
}

fn norm_backward(
    program: &mut Program,
    trace: &Trace,
    step: &Step,
    at: &str,
    columns: usize,
    d_y: Buf,
) -> Buf {
    let Some(stats) = step.stats else { return d_y };
    let d_x = program.scratch(trace.rows * columns);
    let (x, y, relu) = (step.x, step.y, step.relu);
    if let Layer::BatchNorm(_) = step.layer {
        let shape = NormShape { rows: trace.rows, columns, groups: trace.groups, relu };
        let weight = parameter(program, at, "weight", columns);
        let [d_weight, d_bias] = ["weight", "bias"].map(|part| gradient(program, at, part, columns));
        program.push(Op::BatchNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape });
    } else {
        let shape = NormShape { rows: trace.rows, columns, groups: 1, relu };
        layer_norm_backward(program, at, shape, d_y, [x, y, stats], Some(d_x));
    }
    d_x
}
