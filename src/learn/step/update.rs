//! The end of a step: update of every parameter that has a gradient, momentum copies, queues,
//! finiteness.

use super::writer::Writer;
use crate::learn::op::{Buf, Op, Rate, RateGroup, Slot};
use crate::learn::program::Role;
use crate::learn::update::Optimizer;
use crate::reference::optim::{AdamW, LARS_EPS, Lars, Sgd};

pub(super) fn write(writer: &mut Writer<'_>, optimizer: &Optimizer) {
    let gradients: Vec<(String, Buf, usize)> = (writer.program.buffers.iter().enumerate())
        .filter_map(|(i, spec)| match &spec.role {
            Role::Gradient(name) => Some((name.clone(), Buf(i), spec.len)),
            Role::State(_)
            | Role::Table
            | Role::Targets
            | Role::TargetWeights
            | Role::Constant(_)
            | Role::Scratch => None,
        })
        .collect();
    let squares = writer.program.scratch(gradients.len());
    for (number, (name, grad, len)) in gradients.iter().enumerate() {
        let (x, len) = (writer.program.state(name, *len), *len);
        let op = update(writer, optimizer, name, [x, *grad], len);
        writer.program.push(op);
        writer.program.push(Op::SquareSum { x, len, out: squares, at: number });
    }
    // A tensor with an element that is not finite has a square sum that is not finite.
    writer.program.push(Op::NonFinite { x: squares, len: gradients.len(), slot: Slot::NonFinite });
    for (name, _, len) in gradients {
        let copy = Role::State(format!("momentum.{name}"));
        if let Some(copy) = writer.program.find(&copy) {
            let online = writer.program.state(name, len);
            writer.program.push(Op::Ema { online, copy, len });
        }
    }
    if let Some(keys) = writer.keys {
        let (rows, columns, queue_rows) = (writer.spec.rows, writer.p, writer.spec.objective.queue);
        for (v, name) in ["queue.1", "queue.2"].into_iter().enumerate() {
            let queue = writer.program.state(name, queue_rows * columns);
            let shape = [rows, columns];
            writer.program.push(Op::Enqueue { keys, first_row: v * rows, shape, queue, queue_rows });
        }
    }
}

/// The update of one tensor. The classifier does not decay; one-dimensional tensors are excluded
/// from LARS's scaling and decay.
fn update(
    writer: &mut Writer<'_>,
    optimizer: &Optimizer,
    name: &str,
    [weight, grad]: [Buf; 2],
    len: usize,
) -> Op {
    let is_classifier = name.starts_with("classifier.");
    let group = if is_classifier { RateGroup::Classifier } else { RateGroup::Features };
    let scale = writer.spec.extractor_training.rate_of(&writer.spec.architecture.extractor, name);
    let rate = Rate { group, scale };
    let decay = |decay: f64| if is_classifier { 0.0 } else { decay };
    let is_vector = writer.spec.architecture.shape_of(name).is_none_or(|shape| shape.len() < 2);
    let program = &mut writer.program;
    let mut moment = |kind: &str| program.state(format!("optimizer.{kind}.{name}"), len);
    match *optimizer {
        Optimizer::Sgd { momentum, weight_decay } => {
            let settings = Sgd { momentum, weight_decay: decay(weight_decay) };
            Op::Sgd { settings, rate, len, grad, weight, velocity: moment("velocity") }
        }
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            let settings = AdamW { beta1, beta2, eps, weight_decay: decay(weight_decay) };
            let state = [weight, moment("moment1"), moment("moment2")];
            Op::AdamW { settings, rate, len, grad, state }
        }
        Optimizer::Lars { momentum, .. } if is_vector => {
            let settings = Sgd { momentum, weight_decay: 0.0 };
            Op::Sgd { settings, rate, len, grad, weight, velocity: moment("velocity") }
        }
        Optimizer::Lars { momentum, weight_decay, trust } => {
            let settings = Lars { trust, momentum, weight_decay: decay(weight_decay), eps: LARS_EPS };
            let (state, norms) = ([weight, moment("velocity")], program.scratch(2));
            program.push(Op::SquareSum { x: weight, len, out: norms, at: 0 });
            program.push(Op::SquareSum { x: grad, len, out: norms, at: 1 });
            Op::Lars { settings, rate, len, norms, grad, state }
        }
    }
}
