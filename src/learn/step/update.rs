//! The end of a step: update of every parameter that has a gradient, momentum copies, queues, finiteness.

use super::{Writer, group_of};
use crate::learn::program::{Buf, Op, RateGroup, Role, Slot, Update};
use crate::learn::update::Optimizer;

pub(super) fn write(writer: &mut Writer<'_>, optimizer: &Optimizer) {
    let gradients: Vec<(String, Buf, usize)> = (writer.program.buffers.iter().enumerate())
        .filter_map(|(i, spec)| match &spec.role {
            Role::Gradient(name) => Some((name.clone(), Buf(i), spec.len)),
            _ => None,
        })
        .collect();
    let squares = writer.program.scratch(gradients.len());
    for (number, (name, grad, len)) in gradients.iter().enumerate() {
        let weight = writer.program.shared(Role::State(name.clone()), *len);
        let group = group_of(name);
        let rule = rule(writer, optimizer, name, [weight, *grad], *len);
        writer.program.push(Op::Update { rule, group, grad: *grad, weight, len: *len });
        writer.program.push(Op::SquareSum { x: weight, len: *len, out: squares, slot: number });
    }
    // A tensor with an element that is not finite has a square sum that is not finite.
    writer.program.push(Op::NonFinite { x: squares, len: gradients.len(), slot: Slot::NonFinite as usize });
    for (name, _, len) in gradients {
        let copy = Role::State(format!("momentum.{name}"));
        if let Some(copy) = writer.program.find(&copy) {
            let online = writer.program.shared(Role::State(name), len);
            writer.program.push(Op::Ema { online, copy, len });
        }
    }
    if let Some(keys) = writer.keys {
        let (rows, columns, queue_rows) =
            (writer.spec.rows, writer.projection(), writer.spec.objective.queue);
        for (v, name) in ["queue.1", "queue.2"].into_iter().enumerate() {
            let queue = writer.program.shared(Role::State(name.to_owned()), queue_rows * columns);
            writer.program.push(Op::Enqueue { keys, first_row: v * rows, rows, columns, queue, queue_rows });
        }
    }
}

fn rule(
    writer: &mut Writer<'_>,
    optimizer: &Optimizer,
    name: &str,
    [weight, grad]: [Buf; 2],
    len: usize,
) -> Update {
    let decays = group_of(name) == RateGroup::Features;
    let decay = |decay: f64| if decays { decay } else { 0.0 };
    // One-dimensional tensors are excluded from LARS's scaling and decay.
    let is_vector = writer.spec.architecture.shape_of(name).is_none_or(|shape| shape.len() < 2);
    let program = &mut writer.program;
    let mut moment = |kind: &str| program.shared(Role::State(format!("optimizer.{kind}.{name}")), len);
    match *optimizer {
        Optimizer::Sgd { momentum, weight_decay } => {
            Update::Sgd { velocity: moment("velocity"), momentum, decay: decay(weight_decay) }
        }
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            let (moment1, moment2) = (moment("moment1"), moment("moment2"));
            Update::AdamW { moment1, moment2, beta1, beta2, eps, decay: decay(weight_decay) }
        }
        Optimizer::Lars { momentum, .. } if is_vector => {
            Update::Sgd { velocity: moment("velocity"), momentum, decay: 0.0 }
        }
        Optimizer::Lars { momentum, weight_decay, trust } => {
            let velocity = moment("velocity");
            let norms = program.scratch(2);
            program.push(Op::SquareSum { x: weight, len, out: norms, slot: 0 });
            program.push(Op::SquareSum { x: grad, len, out: norms, slot: 1 });
            Update::Lars { velocity, norms, momentum, decay: decay(weight_decay), trust }
        }
    }
}
