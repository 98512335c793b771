//! From a golden file to a case, by its `op`.

use kaizen_edge::low_level::heads::{Adapter, Architecture, Layer, Mlp, Norm};
use kaizen_edge::low_level::learn::cpu::Scalars;
use kaizen_edge::low_level::learn::objective::{CopyNorm, Objective, SslMethod};
use kaizen_edge::low_level::learn::program::{Buf, Finish, Op, Program, RateGroup, Role, Slot, Update};
use kaizen_edge::low_level::learn::step::{
    StepSpec, distillation_program, mlp_program, ssl_program, step_program,
};
use kaizen_edge::low_level::reference::linear::Layout;

use super::file::File;
use super::run::{Case, Expect};

pub(super) fn case(file: &File) -> Case {
    match file.meta("op") {
        "nt_xent" => pair(file, SslMethod::Simclr),
        "vicreg" => pair(file, SslMethod::Vicreg),
        "barlow_twins" => pair(file, SslMethod::BarlowTwins),
        "byol" => one_direction(file, Some([-2.0, 2.0])),
        "simsiam" => one_direction(file, Some([-1.0, 0.0])),
        "mse" => one_direction(file, None),
        "info_nce_queue" => info_nce(file),
        "contrastive_distill" => contrastive_distill(file),
        "soft_label_distill" => soft_label(file),
        "cross_entropy" => cross_entropy(file),
        "mlp" => mlp(file),
        "optimizer" => optimizer(file),
        "kaizen_step" => kaizen_step(file),
        other => panic!("{}: unknown op `{other}`", file.name),
    }
}

fn scalars() -> Scalars {
    Scalars {
        learning_rate: 0.0,
        classifier_rate: 0.0,
        momentum_decay: 1.0,
        inverse_labelled: 0.0,
        corrections: [1.0, 1.0],
        queue_start: 0,
    }
}

fn state(name: &str) -> Role {
    Role::State(name.to_owned())
}

fn gradient(name: &str) -> Role {
    Role::Gradient(name.to_owned())
}

fn new_case(file: &File, program: Program, states: Vec<(Role, Vec<f32>)>) -> Case {
    let (later, labels, expected) = (Vec::new(), Vec::new(), Vec::new());
    Case { name: file.name.clone(), program, states, later, labels, scalars: vec![scalars()], expected }
}

impl Case {
    fn term(&mut self, slot: Slot, file: &File, key: &str) {
        self.expected.push((0, Expect::Term(slot), key.to_owned(), file.tensor(key).to_vec()));
    }

    fn buffer(&mut self, role: Role, what: &str, values: Vec<f64>) {
        self.expected.push((0, Expect::Buffer(role), what.to_owned(), values));
    }
}

fn stacked(file: &File, first: &str, second: &str) -> Vec<f32> {
    [file.narrow(first), file.narrow(second)].concat()
}

fn stacked_wide(file: &File, first: &str, second: &str) -> Vec<f64> {
    [file.tensor(first), file.tensor(second)].concat()
}

/// Parts around a bare projection of width `p`; only the width matters.
fn around(p: usize) -> Architecture {
    Architecture {
        features: p,
        adapter: Adapter { bottleneck: 1, layer_norm: false },
        projector: Mlp::new(&[p, p], Norm::None),
        predictor: None,
        distill_predictor: Mlp::new(&[p, p], Norm::None),
        classifier: Mlp::new(&[p, 1], Norm::None),
    }
}

fn spec<'a>(architecture: &'a Architecture, objective: &'a Objective, rows: usize) -> StepSpec<'a> {
    StepSpec { architecture, objective, optimizer: None, rows, table_rows: 2 * rows, teacher_classes: None }
}

fn pair(file: &File, method: SslMethod) -> Case {
    let [rows, p] = file.shape("input.z1");
    let mut objective = Objective::new(method);
    match method {
        SslMethod::Simclr => objective.temperature = file.number("temperature"),
        SslMethod::Vicreg => {
            objective.vicreg = ["sim_weight", "var_weight", "cov_weight"].map(|k| file.number(k));
        }
        _ => objective.barlow = ["scale", "lamb"].map(|k| file.number(k)),
    }
    let architecture = around(p);
    let program = ssl_program(&spec(&architecture, &objective, rows));
    let mut case = new_case(file, program, vec![(state("z"), stacked(file, "input.z1", "input.z2"))]);
    case.term(Slot::Ssl, file, "expected.loss");
    case.buffer(gradient("z"), "grad.z1, grad.z2", stacked_wide(file, "grad.z1", "grad.z2"));
    case
}

fn contrastive_distill(file: &File) -> Case {
    let [rows, p] = file.shape("input.p1");
    let mut objective = Objective::new(SslMethod::Simclr);
    objective.distill_temperature = file.number("temperature");
    let architecture = around(p);
    let program = distillation_program(&spec(&architecture, &objective, rows));
    let (r, o) = (stacked(file, "input.p1", "input.p2"), stacked(file, "input.t1", "input.t2"));
    let mut case = new_case(file, program, vec![(state("r"), r), (state("o"), o)]);
    case.term(Slot::FeatureDistill, file, "expected.loss");
    case.buffer(gradient("r"), "grad.p1, grad.p2", stacked_wide(file, "grad.p1", "grad.p2"));
    case
}

fn one_direction(file: &File, cosine: Option<[f64; 2]>) -> Case {
    let [rows, columns] = file.shape("input.z1");
    let mut program = Program::default();
    let p = program.buffer(state("p"), rows * columns);
    let z = program.buffer(state("z"), rows * columns);
    let d_p = program.buffer(gradient("p"), rows * columns);
    let loss = program.scratch(rows);
    if let Some([slope, offset]) = cosine {
        let loss_scale = 1.0 / rows as f64;
        let (row_shift, weight) = (0, 1.0);
        program.push(Op::Cosine {
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
    } else {
        let mean = 1.0 / (rows * columns) as f64;
        program.push(Op::Mse {
            r: p,
            o: z,
            loss,
            d_r: d_p,
            rows,
            columns,
            row_shift: 0,
            loss_scale: mean,
            gradient_scale: mean,
            weight: 1.0,
            accumulate: false,
        });
    }
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::Ssl as usize, scale: 1.0 });
    let states = vec![(state("p"), file.narrow("input.z1")), (state("z"), file.narrow("input.z2"))];
    let mut case = new_case(file, program, states);
    case.term(Slot::Ssl, file, "expected.loss");
    case.buffer(gradient("p"), "grad.z1", file.tensor("grad.z1").to_vec());
    case
}

fn info_nce(file: &File) -> Case {
    let ([rows, columns], [queue_rows, _]) = (file.shape("input.query"), file.shape("input.queue"));
    let inverse = 1.0 / file.number("temperature");
    let mut program = Program::default();
    let [q, k] = ["q", "k"].map(|name| program.buffer(state(name), rows * columns));
    let queue = program.buffer(state("queue"), queue_rows * columns);
    let [unit_q, unit_k, d_unit] = [0, 1, 2].map(|_| program.scratch(rows * columns));
    let [norm_q, norm_k, loss] = [0, 1, 2].map(|_| program.scratch(rows));
    let d_q = program.buffer(gradient("q"), rows * columns);
    let similarity = program.scratch(rows * queue_rows);
    program.push(Op::L2Forward { x: q, y: unit_q, norm: norm_q, rows, columns });
    program.push(Op::L2Forward { x: k, y: unit_k, norm: norm_k, rows, columns });
    let mut product = |layout, shape, a: Buf, b: Buf, y: Buf, finish| {
        program.ops.push(Op::Gemm {
            layout,
            shape,
            a: a.into(),
            b: b.into(),
            y: y.into(),
            alpha: inverse,
            finish,
        });
    };
    product(Layout::Nt, [rows, queue_rows, columns], unit_q, queue, similarity, Finish::PLAIN);
    program.push(Op::InfoNce {
        q: unit_q,
        k: unit_k,
        similarity,
        d_q: d_unit,
        loss,
        rows,
        columns,
        queue: queue_rows,
        row_shift: 0,
        inverse_temperature: inverse,
        scale: 1.0 / rows as f64,
        weight: 1.0,
    });
    let (a, b, y) = (similarity.into(), queue.into(), d_unit.into());
    let shape = [rows, columns, queue_rows];
    program.push(Op::Gemm { layout: Layout::Nn, shape, a, b, y, alpha: inverse, finish: Finish::Add });
    program.push(Op::L2Backward { d_y: d_unit, y: unit_q, norm: norm_q, d_x: d_q, rows, columns });
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::Ssl as usize, scale: 1.0 });
    let states = [("q", "input.query"), ("k", "input.key"), ("queue", "input.queue")];
    let mut case = new_case(file, program, states.map(|(s, key)| (state(s), file.narrow(key))).into());
    case.term(Slot::Ssl, file, "expected.loss");
    case.buffer(gradient("q"), "grad.query", file.tensor("grad.query").to_vec());
    case
}

fn classifier_case(file: &File) -> (Program, [Buf; 3], [usize; 2]) {
    let [rows, classes] = file.shape("input.logits");
    let mut program = Program { index_rows: rows, ..Program::default() };
    let logits = program.buffer(state("logits"), rows * classes);
    let d_logits = program.buffer(gradient("logits"), rows * classes);
    let loss = program.scratch(rows);
    program.push(Op::GatherLabels { rows });
    (program, [logits, loss, d_logits], [rows, classes])
}

fn cross_entropy(file: &File) -> Case {
    let (mut program, [logits, loss, d_logits], [rows, classes]) = classifier_case(file);
    program.push(Op::CrossEntropy { logits, loss, d_logits, rows, classes, weight: 1.0 });
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::Classifier as usize, scale: 1.0 });
    let mut case = new_case(file, program, vec![(state("logits"), file.narrow("input.logits"))]);
    case.labels = file.tensor("input.labels").iter().map(|&v| v as i32).collect();
    let labelled = case.labels.iter().filter(|&&label| label >= 0).count();
    case.scalars[0].inverse_labelled = if labelled == 0 { 0.0 } else { 1.0 / labelled as f64 };
    case.term(Slot::Classifier, file, "expected.loss");
    case.buffer(gradient("logits"), "grad.logits", file.tensor("grad.logits").to_vec());
    case
}

fn soft_label(file: &File) -> Case {
    let (mut program, [logits, loss, d_logits], [rows, classes]) = classifier_case(file);
    let teacher = program.buffer(state("teacher"), rows * classes);
    // All rows unlabelled: the cross-entropy leaves a gradient of zero for the soft labels to add to.
    program.push(Op::CrossEntropy { logits, loss, d_logits, rows, classes, weight: 1.0 });
    let (loss_scale, weight) = (1.0 / rows as f64, 1.0);
    let (teacher_classes, known) = (classes, classes);
    program.push(Op::SoftLabel {
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
    });
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::ClassifierDistill as usize, scale: 1.0 });
    let teacher = (state("teacher"), file.narrow("input.teacher_logits"));
    let mut case = new_case(file, program, vec![(state("logits"), file.narrow("input.logits")), teacher]);
    case.labels = vec![-1; rows];
    case.term(Slot::ClassifierDistill, file, "expected.loss");
    case.buffer(gradient("logits"), "grad.logits", file.tensor("grad.logits").to_vec());
    case
}

/// The layer list behind `prefix`: numbered parameters, rank 2 linear, rank 1 batch norm, gaps ReLU.
fn layers(file: &File, prefix: &str) -> Mlp {
    let numbers =
        file.names(prefix).into_iter().filter_map(|name| name.split('.').next()?.parse::<usize>().ok());
    let last = numbers.max().unwrap_or_else(|| panic!("{}: no layer behind {prefix}", file.name));
    let layer = |i: usize| {
        let weight = format!("{prefix}{i}.weight");
        match file.rank(&weight) {
            Some(2) => {
                let [outputs, inputs] = file.shape(&weight);
                Layer::Linear { inputs, outputs }
            }
            Some(_) => Layer::BatchNorm(file.tensor(&weight).len()),
            None => Layer::Relu,
        }
    };
    Mlp((0..=last).map(layer).collect())
}

fn running_start(mlp: &Mlp, name: &str) -> Vec<(Role, Vec<f32>)> {
    let norms = mlp.0.iter().enumerate().filter_map(|(i, layer)| match layer {
        Layer::BatchNorm(width) => Some((i, *width)),
        _ => None,
    });
    norms
        .flat_map(|(i, width)| {
            let stat = |part: &str, value: f32| (state(&format!("{name}.{i}.{part}")), vec![value; width]);
            [stat("running_mean", 0.0), stat("running_var", 1.0)]
        })
        .collect()
}

fn mlp(file: &File) -> Case {
    let [rows, _] = file.shape("input.x");
    let mlp = layers(file, "param.");
    let kinds: Vec<_> = (mlp.0.iter())
        .map(|layer| match layer {
            Layer::Linear { .. } => "linear",
            Layer::BatchNorm(_) => "batchnorm",
            Layer::LayerNorm(_) => "layernorm",
            Layer::Relu => "relu",
        })
        .collect();
    assert_eq!(kinds.join(","), file.meta("layers"), "{}", file.name);
    let mut states = vec![(state("x"), file.narrow("input.x")), (state("d_y"), file.narrow("input.grad_y"))];
    states.extend(running_start(&mlp, "mlp"));
    for name in file.names("param.") {
        states.push((state(&format!("mlp.{name}")), file.narrow(&format!("param.{name}"))));
    }
    let mut case = new_case(file, mlp_program(&mlp, rows), states);
    case.buffer(state("y"), "expected.y", file.tensor("expected.y").to_vec());
    for name in file.names("expected.").into_iter().filter(|name| name.contains("running")) {
        case.buffer(state(&format!("mlp.{name}")), name, file.tensor(&format!("expected.{name}")).to_vec());
    }
    for name in file.names("grad.") {
        let role = if name == "x" { gradient("x") } else { gradient(&format!("mlp.{name}")) };
        case.buffer(role, &format!("grad.{name}"), file.tensor(&format!("grad.{name}")).to_vec());
    }
    case
}

fn optimizer(file: &File) -> Case {
    let steps = file.number("steps") as usize;
    let mut program = Program::default();
    for part in ["weight", "bias"] {
        let len = file.tensor(&format!("input.{part}")).len();
        let weight = program.buffer(state(part), len);
        let grad = program.buffer(state(&format!("grad_{part}")), len);
        let [first, second] = [0, 1].map(|i| program.buffer(state(&format!("moment{i}.{part}")), len));
        let rule = match file.meta("kind") {
            "sgd" => Update::Sgd {
                velocity: first,
                momentum: file.number("momentum"),
                decay: file.number("weight_decay"),
            },
            "adamw" => Update::AdamW {
                moment1: first,
                moment2: second,
                beta1: file.number("beta1"),
                beta2: file.number("beta2"),
                eps: file.number("eps"),
                decay: file.number("weight_decay"),
            },
            "lars" if part == "bias" => {
                Update::Sgd { velocity: first, momentum: file.number("momentum"), decay: 0.0 }
            }
            "lars" => {
                let norms = program.scratch(2);
                program.push(Op::SquareSum { x: weight, len, out: norms, slot: 0 });
                program.push(Op::SquareSum { x: grad, len, out: norms, slot: 1 });
                let (momentum, decay, trust) =
                    (file.number("momentum"), file.number("weight_decay"), file.number("eta"));
                Update::Lars { velocity: first, norms, momentum, decay, trust }
            }
            other => panic!("{}: unknown optimizer `{other}`", file.name),
        };
        program.push(Op::Update { rule, group: RateGroup::Features, grad, weight, len });
    }
    let grads = |step: usize| {
        ["weight", "bias"]
            .map(|part| (state(&format!("grad_{part}")), file.narrow(&format!("input.grad_{part}.{step}"))))
    };
    let mut states: Vec<_> =
        ["weight", "bias"].map(|part| (state(part), file.narrow(&format!("input.{part}")))).into();
    states.extend(grads(0));
    let mut case = new_case(file, program, states);
    case.later = (1..steps).map(|step| grads(step).into()).collect();
    let betas =
        if file.meta("kind") == "adamw" { ["beta1", "beta2"].map(|k| file.number(k)) } else { [0.0, 0.0] };
    case.scalars = (1..=steps)
        .map(|t| {
            let corrections = betas.map(|beta: f64| 1.0 - beta.powi(t as i32));
            Scalars { learning_rate: file.number("lr"), corrections, ..scalars() }
        })
        .collect();
    for step in 0..steps {
        for part in ["weight", "bias"] {
            let key = format!("expected.{part}.{step}");
            case.expected.push((step, Expect::Buffer(state(part)), key.clone(), file.tensor(&key).to_vec()));
        }
    }
    case
}

fn kaizen_step(file: &File) -> Case {
    let [rows, features] = file.shape("input.x1");
    let method: SslMethod = file.meta("method").parse().unwrap();
    assert_eq!(file.meta("batchnorm"), "train", "{}", file.name);
    let architecture = Architecture {
        features,
        adapter: Adapter { bottleneck: file.shape("param.adapter.down.weight")[0], layer_norm: false },
        projector: layers(file, "param.projector."),
        predictor: method.has_predictor().then(|| layers(file, "param.predictor.")),
        distill_predictor: layers(file, "param.distill_predictor."),
        classifier: layers(file, "param.classifier."),
    };
    let objective = Objective {
        feature_distill_weight: file.number("feature_distill_weight"),
        classifier_weight: file.number("classifier_weight"),
        classifier_distill_weight: file.number("classifier_distill_weight"),
        temperature: file.number("temperature"),
        distill_temperature: file.number("distill_temperature"),
        vicreg: ["sim_weight", "var_weight", "cov_weight"].map(|k| file.number(k)),
        barlow: ["scale", "lamb"].map(|k| file.number(k)),
        mask_to_known: false,
        teacher_norm: CopyNorm::Batch,
        queue: if file.has("input.queue1") { file.shape("input.queue1")[0] } else { 1 },
        ..Objective::new(method)
    };
    let teacher_classes = Some(architecture.classes());
    let spec = StepSpec { teacher_classes, ..spec(&architecture, &objective, rows) };
    let program = step_program(&spec).unwrap();
    let mut states = vec![(Role::Table, stacked(file, "input.x1", "input.x2"))];
    for prefix in ["", "teacher.", "momentum."] {
        states.extend(running_start(&architecture.projector, &format!("{prefix}projector")));
    }
    states.extend(running_start(&architecture.distill_predictor, "distill_predictor"));
    states.extend(architecture.predictor.iter().flat_map(|mlp| running_start(mlp, "predictor")));
    states.extend(
        file.names("param.").into_iter().map(|name| (state(name), file.narrow(&format!("param.{name}")))),
    );
    for (key, name) in [("input.queue1", "queue.1"), ("input.queue2", "queue.2")] {
        states.extend(file.has(key).then(|| (state(name), file.narrow(key))));
    }
    states.retain(|(role, _)| program.find(role).is_some());
    let mut case = new_case(file, program, states);
    let labels: Vec<i32> = file.tensor("input.labels").iter().map(|&v| v as i32).collect();
    let labelled = labels.iter().filter(|&&label| label >= 0).count();
    case.scalars[0].inverse_labelled = if labelled == 0 { 0.0 } else { 1.0 / labelled as f64 };
    case.labels = [labels.clone(), labels].concat();
    case.term(Slot::Ssl, file, "expected.ssl");
    case.term(Slot::FeatureDistill, file, "expected.feature_distill");
    case.term(Slot::Classifier, file, "expected.classifier");
    case.term(Slot::ClassifierDistill, file, "expected.classifier_distill");
    for name in file.names("grad.") {
        case.buffer(gradient(name), &format!("grad.{name}"), file.tensor(&format!("grad.{name}")).to_vec());
    }
    case
}
