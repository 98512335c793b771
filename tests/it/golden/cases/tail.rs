//! Cases of the trainable tail: its nodes alone, a tail, and the whole step through it.

use kaizen_edge::low_level::heads::{Architecture, Extractor, MapShape, Mlp, Node, NodeOp, Norm};
use kaizen_edge::low_level::learn::objective::{ClassifierGradient, Objective, SslMethod};
use kaizen_edge::low_level::learn::op::Slot;
use kaizen_edge::low_level::learn::program::Role;
use kaizen_edge::low_level::learn::step::extractor_program;
use kaizen_edge::low_level::reference::Activation;
use serde_json::Value;

use super::super::file::File;
use super::super::run::Case;
use super::{architecture, gradient, new_case, objective, spec, state, step_case};

fn map(file: &File, key: &str) -> MapShape {
    match *file.sizes(key) {
        [_, channels, rows, columns] => MapShape { size: [rows, columns], channels },
        ref other => panic!("{}: `{key}` has shape {other:?}", file.name),
    }
}

fn pads(text: &str) -> [usize; 4] {
    let pads: Vec<_> = text.split(',').map(|pad| pad.trim().parse().unwrap()).collect();
    pads.try_into().unwrap()
}

/// A case of nodes alone. `y` is what the last of them gives, as a map that is not pooled.
fn alone(file: &File, nodes: Vec<Node>, parameters: &[(&str, &str)]) -> Case {
    let extractor = Extractor { input: map(file, "input.x"), nodes };
    let features = extractor.features();
    let architecture = Architecture {
        extractor,
        projector: Mlp::new(&[features, 1], Norm::None),
        predictor: None,
        distill_predictor: Mlp::new(&[1, 1], Norm::None),
        classifier: Mlp::new(&[features, 1], Norm::None),
    };
    let objective = Objective::new(SslMethod::Simclr);
    let rows = file.sizes("input.x")[0];
    let program = extractor_program(&spec(&architecture, &objective, rows)).unwrap();
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let mut case = new_case(file, program, Vec::new());
    case.set([
        (state("x"), narrow(file.channels_last("input.x"))),
        (state("d_u"), narrow(file.channels_last("input.grad_y"))),
    ]);
    case.buffer(state("u"), "expected.y", file.channels_last("expected.y"));
    case.buffer(gradient("x"), "grad.x", file.channels_last("grad.x"));
    for (key, name) in parameters {
        let (role, values) = (state(name), narrow(file.filters(&format!("param.{key}"))));
        assert!(case.program.find(&role).is_some(), "{}: {name}", file.name);
        case.set([(role, values)]);
        case.buffer(gradient(name), &format!("grad.{key}"), file.filters(&format!("grad.{key}")));
    }
    case
}

fn node(name: &str, op: NodeOp, activation: Activation) -> Node {
    Node { name: name.to_owned(), input: 0, op, residual: None, activation }
}

pub(super) fn convolution(file: &File) -> Case {
    let [outputs, _, kernel, _] = *file.sizes("param.weight") else { panic!("{}", file.name) };
    let op = if file.number("groups") as usize == 1 {
        assert_eq!((kernel, pads(file.meta("pads"))), (1, [0; 4]), "{}", file.name);
        NodeOp::Linear { outputs }
    } else {
        let stride = file.number("stride") as usize;
        NodeOp::Depthwise { kernel, stride, pads: pads(file.meta("pads")) }
    };
    let parameters = [("weight", "tail.c.weight"), ("bias", "tail.c.bias")];
    alone(file, vec![node("tail.c", op, Activation::None)], &parameters)
}

pub(super) fn relu6(file: &File) -> Case {
    alone(file, vec![node("tail.a", NodeOp::Identity, Activation::Relu6)], &[])
}

pub(super) fn average_pool(file: &File) -> Case {
    alone(file, vec![node("tail.p", NodeOp::AveragePool, Activation::None)], &[])
}

/// The nodes of a tail: an activation belongs to the convolution in front of it, an addition to the
/// convolution that it adds to.
fn nodes(file: &File) -> Vec<Node> {
    let listed: Vec<Value> = serde_json::from_str(file.meta("nodes")).unwrap();
    let mut nodes: Vec<Node> = Vec::new();
    let mut values = vec![("latent".to_owned(), 0)];
    for listed in &listed {
        let text = |key: &str| listed[key].as_str().unwrap();
        let number = |key: &str| usize::try_from(listed[key].as_u64().unwrap()).unwrap();
        let value = |name: &str| values.iter().find(|(other, _)| other == name).unwrap().1;
        let (name, input) = (text("name"), value(text("input")));
        match text("op") {
            "conv" => {
                let op = if number("groups") == 1 {
                    NodeOp::Linear { outputs: number("cout") }
                } else {
                    let (kernel, stride) = (number("kernel"), number("stride"));
                    NodeOp::Depthwise { kernel, stride, pads: pads(text("pads")) }
                };
                nodes.push(Node { input, ..node(&format!("tail.{name}"), op, Activation::None) });
            }
            "relu6" => nodes[input - 1].activation = Activation::Relu6,
            "add" => nodes[input - 1].residual = Some(value(text("other"))),
            "global_average_pool" => {
                let op = NodeOp::AveragePool;
                nodes.push(Node { input, ..node(&format!("tail.{name}"), op, Activation::None) });
            }
            other => panic!("{}: node `{other}`", file.name),
        }
        values.push((name.to_owned(), nodes.len()));
    }
    nodes
}

/// `b0_exp_w` as `tail.b0_exp.weight`.
fn parameter(key: &str) -> String {
    match key.strip_suffix("_w") {
        Some(stem) => format!("tail.{stem}.weight"),
        None => format!("tail.{}.bias", key.strip_suffix("_b").unwrap()),
    }
}

pub(super) fn extractor(file: &File) -> Case {
    let keys = file.names("param.");
    let names: Vec<_> = keys.iter().map(|key| parameter(key)).collect();
    let parameters: Vec<_> = keys.into_iter().zip(names.iter().map(String::as_str)).collect();
    alone(file, nodes(file), &parameters)
}

pub(super) fn kaizen_tail_step(file: &File) -> Case {
    let extractor = Extractor { input: map(file, "input.x1"), nodes: nodes(file) };
    let architecture = architecture(file, extractor);
    let classifier_gradient = match file.meta("classifier_gradient") {
        "flows" => ClassifierGradient::Flows,
        "stopped" => ClassifierGradient::Stops,
        other => panic!("{}: `{other}`", file.name),
    };
    let pooled_distill_weight = file.number("pooled_distill_weight");
    let objective =
        Objective { classifier_gradient, pooled_distill_weight, ..objective(file, &architecture) };
    let rows = file.sizes("input.x1")[0];
    let mut case = step_case(file, &architecture, &objective, (rows, true));
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let twice = |values: Vec<f32>| [values.clone(), values].concat();
    let views = ["input.x1", "input.x2"].map(|key| narrow(file.channels_last(key))).concat();
    case.set([
        (Role::Table, views),
        (Role::Targets, twice(file.narrow("input.targets"))),
        (Role::TargetWeights, twice(file.narrow("input.weights"))),
    ]);
    let name_of = |key: &str| match key.split_once("tail.") {
        Some((prefix, key)) => format!("{prefix}{}", parameter(key)),
        None => key.to_owned(),
    };
    for key in file.names("param.") {
        case.set([(state(&name_of(key)), narrow(file.filters(&format!("param.{key}"))))]);
    }
    case.term(Slot::PooledDistill, file, "expected.pooled_distill");
    for key in file.names("grad.") {
        case.buffer(gradient(&name_of(key)), &format!("grad.{key}"), file.filters(&format!("grad.{key}")));
    }
    case
}
