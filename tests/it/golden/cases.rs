//! From a golden file to a case, by its `op`.

mod tail;

use kaizen_edge::low_level::heads::{Architecture, Extractor, Layer, Mlp, Norm};
use kaizen_edge::low_level::learn::engine::StepInput;
use kaizen_edge::low_level::learn::objective::{CopyNorm, Objective, SslMethod};
use kaizen_edge::low_level::learn::op::{Finish, Op, RateGroup, Slot};
use kaizen_edge::low_level::learn::program::{Program, Role};
use kaizen_edge::low_level::learn::step::{
    StepSpec, distillation_program, mlp_program, ssl_program, step_program,
};
use kaizen_edge::low_level::learn::update::ExtractorTraining;
use kaizen_edge::low_level::reference::InfoNce;
use kaizen_edge::low_level::reference::L2_EPS;
use kaizen_edge::low_level::reference::Layout;
use kaizen_edge::low_level::reference::{AdamW, LARS_EPS, Lars, Sgd};
use kaizen_edge::low_level::reference::{COSINE_EPS, Cosine, Mse, SoftLabel};

use super::file::File;
use super::run::{Case, Expect};

/// What [`case`] understands.
pub(super) const OPS: [&str; 18] = [
    "nt_xent",
    "vicreg",
    "barlow_twins",
    "byol",
    "simsiam",
    "mse",
    "info_nce_queue",
    "contrastive_distill",
    "soft_label_distill",
    "cross_entropy",
    "mlp",
    "optimizer",
    "kaizen_step",
    "conv",
    "relu6",
    "global_average_pool",
    "tail",
    "kaizen_tail_step",
];

pub(super) fn case(file: &File) -> Case {
    match file.meta("op") {
        "nt_xent" => pair(file, SslMethod::Simclr),
        "vicreg" => pair(file, SslMethod::Vicreg),
        "barlow_twins" => pair(file, SslMethod::BarlowTwins),
        "byol" => one_direction(file, Some([-2.0, 2.0])),
        "simsiam" => one_direction(file, Some([-1.0, 0.0])),
        "mse" => one_direction(file, None),
        "info_nce_queue" => info_nce(file),
        "contrastive_distill" => {
            let temperature = file.number("temperature");
            distillation(
                file,
                &Objective { distill_temperature: temperature, ..Objective::new(SslMethod::Simclr) },
            )
        }
        "soft_label_distill" => soft_label(file),
        "cross_entropy" => cross_entropy(file),
        "mlp" => mlp(file),
        "optimizer" => optimizer(file),
        "kaizen_step" => kaizen_step(file),
        "conv" => tail::convolution(file),
        "relu6" => tail::relu6(file),
        "global_average_pool" => tail::average_pool(file),
        "tail" => tail::extractor(file),
        "kaizen_tail_step" => tail::kaizen_tail_step(file),
        other => panic!("{}: unknown op `{other}`", file.name),
    }
}

fn state(name: &str) -> Role {
    Role::State(name.to_owned())
}

fn gradient(name: &str) -> Role {
    Role::Gradient(name.to_owned())
}

fn new_case(file: &File, program: Program, states: Vec<(Role, Vec<f32>)>) -> Case {
    let index = (0..program.index_rows as u32).collect();
    let steps = vec![StepInput { index, momentum_decay: 1.0, ..StepInput::default() }];
    let (states, labels, expected) = (vec![states], Vec::new(), Vec::new());
    Case { name: file.name.clone(), program, states, labels, steps, expected }
}

impl Case {
    /// Sets the buffers that the program has.
    fn set(&mut self, buffers: impl IntoIterator<Item = (Role, Vec<f32>)>) {
        let held = buffers.into_iter().filter(|(role, _)| self.program.find(role).is_some());
        self.states[0].extend(held);
    }

    fn term(&mut self, slot: Slot, file: &File, key: &str) {
        self.expected.push((0, Expect::Term(slot), key.to_owned(), file.tensor(key).to_vec()));
    }

    fn buffer(&mut self, role: Role, what: &str, values: Vec<f64>) {
        self.expected.push((0, Expect::Buffer(role), what.to_owned(), values));
    }
}

fn stacked(file: &File, keys: [&str; 2]) -> Vec<f32> {
    keys.map(|key| file.narrow(key)).concat()
}

/// Parts around a bare projection of width `p`; only the width matters.
fn around(p: usize) -> Architecture {
    Architecture {
        extractor: Extractor::adapter(p, 1, false),
        projector: Mlp::new(&[p, p], Norm::None),
        predictor: None,
        distill_predictor: Mlp::new(&[p, p], Norm::None),
        classifier: Mlp::new(&[p, 1], Norm::None),
    }
}

fn spec<'a>(architecture: &'a Architecture, objective: &'a Objective, rows: usize) -> StepSpec<'a> {
    StepSpec {
        architecture,
        objective,
        optimizer: None,
        extractor_training: ExtractorTraining::default(),
        rows,
        micro_batches: 1,
        table_rows: 2 * rows,
        has_latents: false,
        has_soft_targets: false,
        teacher_classes: None,
    }
}

fn pair(file: &File, method: SslMethod) -> Case {
    let [rows, p] = file.shape("input.z1");
    let mut objective = Objective::new(method);
    match method {
        SslMethod::Simclr => objective.temperature = file.number("temperature"),
        SslMethod::Vicreg => objective.vicreg = file.numbers(["sim_weight", "var_weight", "cov_weight"]),
        _ => objective.barlow = file.numbers(["scale", "lamb"]),
    }
    let program = ssl_program(&spec(&around(p), &objective, rows)).unwrap();
    let mut case = new_case(file, program, vec![(state("z"), stacked(file, ["input.z1", "input.z2"]))]);
    case.term(Slot::Ssl, file, "expected.loss");
    let want = [file.tensor("grad.z1"), file.tensor("grad.z2")].concat();
    case.buffer(gradient("z"), "grad.z1, grad.z2", want);
    case
}

/// The feature distillation of `objective`, p1 and p2 against t1 and t2.
pub(super) fn distillation(file: &File, objective: &Objective) -> Case {
    let [rows, p] = file.shape("input.p1");
    let program = distillation_program(&spec(&around(p), objective, rows)).unwrap();
    let student = (state("r"), stacked(file, ["input.p1", "input.p2"]));
    let teacher = (state("o"), stacked(file, ["input.t1", "input.t2"]));
    let mut case = new_case(file, program, vec![student, teacher]);
    case.term(Slot::FeatureDistill, file, "expected.loss");
    let want = [file.tensor("grad.p1"), file.tensor("grad.p2")].concat();
    case.buffer(gradient("r"), "grad.p1, grad.p2", want);
    case
}

fn one_direction(file: &File, cosine: Option<[f64; 2]>) -> Case {
    let shape @ [rows, columns] = file.shape("input.z1");
    let mut program = Program::default();
    let [p, z] = ["p", "z"].map(|name| program.state(name, rows * columns));
    let (d_p, loss) = (program.gradient("p", rows * columns), program.scratch(rows));
    let weight = 1.0;
    program.push(if let Some([slope, offset]) = cosine {
        let loss_scale = 1.0 / rows as f64;
        let settings = Cosine { row_shift: 0, loss_scale, slope, offset, weight, eps: COSINE_EPS };
        Op::Cosine { shape, settings, p, z, loss, d_p }
    } else {
        let mean = 1.0 / (rows * columns) as f64;
        let settings = Mse { row_shift: 0, loss_scale: mean, gradient_scale: mean, weight };
        Op::Mse { shape, settings, r: p, o: z, loss, d_r: d_p }
    });
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::Ssl, scale: 1.0 });
    let states = [("p", "input.z1"), ("z", "input.z2")].map(|(name, key)| (state(name), file.narrow(key)));
    let mut case = new_case(file, program, states.into());
    case.term(Slot::Ssl, file, "expected.loss");
    case.buffer(gradient("p"), "grad.z1", file.tensor("grad.z1").to_vec());
    case
}

fn info_nce(file: &File) -> Case {
    let (shape @ [rows, columns], [negatives, _]) = (file.shape("input.query"), file.shape("input.queue"));
    let (all, eps, alpha) = (rows * columns, L2_EPS, 1.0 / file.number("temperature"));
    let mut program = Program::default();
    let [q, k] = ["q", "k"].map(|name| program.state(name, all));
    let queue = program.state("queue", negatives * columns);
    let [unit_q, unit_k, d_unit] = [(); 3].map(|()| program.scratch(all));
    let [norm_q, norm_k, loss] = [(); 3].map(|()| program.scratch(rows));
    let d_q = program.gradient("q", all);
    let similarity = program.scratch(rows * negatives);
    let settings = InfoNce {
        rows,
        columns,
        negatives,
        row_shift: 0,
        inverse_temperature: alpha,
        scale: 1.0 / rows as f64,
        weight: 1.0,
    };
    let (s, b, y, finish) = (similarity.into(), queue.into(), d_unit.into(), Finish::PLAIN);
    program.ops = vec![
        Op::L2Forward { shape, eps, x: q, y: unit_q, norm: norm_q },
        Op::L2Forward { shape, eps, x: k, y: unit_k, norm: norm_k },
        Op::Gemm {
            layout: Layout::Nt,
            shape: [rows, negatives, columns],
            a: unit_q.into(),
            b,
            y: s,
            alpha,
            finish,
        },
        Op::InfoNce { settings, q: unit_q, k: unit_k, similarity, d_q: d_unit, loss },
        Op::Gemm {
            layout: Layout::Nn,
            shape: [rows, columns, negatives],
            a: s,
            b,
            y,
            alpha,
            finish: Finish::Add,
        },
        Op::L2Backward { shape, eps, d_y: d_unit, y: unit_q, norm: norm_q, d_x: d_q },
        Op::TermSum { rows: loss, len: rows, slot: Slot::Ssl, scale: 1.0 },
    ];
    let states = [("q", "input.query"), ("k", "input.key"), ("queue", "input.queue")];
    let mut case = new_case(file, program, states.map(|(s, key)| (state(s), file.narrow(key))).into());
    case.term(Slot::Ssl, file, "expected.loss");
    case.buffer(gradient("q"), "grad.query", file.tensor("grad.query").to_vec());
    case
}

fn cross_entropy(file: &File) -> Case {
    let shape @ [rows, classes] = file.shape("input.logits");
    let mut program = Program { index_rows: rows, ..Program::default() };
    let (logits, loss) = (program.state("logits", rows * classes), program.scratch(rows));
    let d_logits = program.gradient("logits", rows * classes);
    program.push(Op::GatherLabels { first: 0, rows });
    program.push(Op::CrossEntropy { shape, views: 1, weight: 1.0, logits, loss, d_logits });
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::Classifier, scale: 1.0 });
    let mut case = new_case(file, program, vec![(state("logits"), file.narrow("input.logits"))]);
    case.labels = file.labels("input.labels");
    case.term(Slot::Classifier, file, "expected.loss");
    case.buffer(gradient("logits"), "grad.logits", file.tensor("grad.logits").to_vec());
    case
}

fn soft_label(file: &File) -> Case {
    let [rows, classes] = file.shape("input.logits");
    let [_, known] = file.shape("input.teacher_logits");
    let mut program = Program::default();
    let (logits, teacher) = (program.state("logits", rows * classes), program.state("teacher", rows * known));
    let (loss, d_logits) = (program.scratch(rows), program.gradient("logits", rows * classes));
    let (loss_scale, weight) = (1.0 / rows as f64, 1.0);
    let settings = SoftLabel { rows, classes, teacher_classes: known, known, loss_scale, weight };
    program.push(Op::SoftLabel { settings, logits, teacher, loss, d_logits });
    program.push(Op::TermSum { rows: loss, len: rows, slot: Slot::ClassifierDistill, scale: 1.0 });
    let states = [("logits", "input.logits"), ("teacher", "input.teacher_logits")];
    let mut case = new_case(file, program, states.map(|(s, key)| (state(s), file.narrow(key))).into());
    case.term(Slot::ClassifierDistill, file, "expected.loss");
    case.buffer(gradient("logits"), "grad.logits", file.tensor("grad.logits").to_vec());
    case
}

/// The layer list behind `prefix`: numbered parameters, rank 2 linear, rank 1 batch norm, gaps
/// ReLU.
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
    let mut mlp = layers(file, "param.");
    let kinds: Vec<_> = file.meta("layers").split(',').collect();
    assert_eq!(kinds.len(), mlp.0.len(), "{}", file.name);
    for (layer, kind) in mlp.0.iter_mut().zip(kinds) {
        *layer = match (*layer, kind) {
            (Layer::BatchNorm(width), "layernorm") => Layer::LayerNorm(width),
            (Layer::Linear { .. }, "linear") | (Layer::BatchNorm(_), "batchnorm") | (Layer::Relu, "relu") => {
                *layer
            }
            (layer, kind) => panic!("{}: {layer:?} is called `{kind}`", file.name),
        };
    }
    let mut states = vec![(state("x"), file.narrow("input.x")), (state("d_y"), file.narrow("input.grad_y"))];
    states.extend(running_start(&mlp, "mlp"));
    for name in file.names("param.") {
        states.push((state(&format!("mlp.{name}")), file.narrow(&format!("param.{name}"))));
    }
    let mut case = new_case(file, mlp_program(&mlp, rows).unwrap(), states);
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
    let (steps, parts) = (file.number("steps") as usize, ["weight", "bias"]);
    let mut program = Program::default();
    for part in parts {
        let (key, rate) = (format!("input.{part}"), RateGroup::Features.into());
        let len = file.tensor(&key).len();
        let (weight, grad) = (program.state(part, len), program.state(format!("grad_{part}"), len));
        let mut moment = |number: u8| program.state(format!("moment{number}.{part}"), len);
        let weight_decay = file.number("weight_decay");
        let op = match file.meta("kind") {
            "adamw" => {
                let [beta1, beta2, eps] = file.numbers(["beta1", "beta2", "eps"]);
                let settings = AdamW { beta1, beta2, eps, weight_decay };
                Op::AdamW { settings, rate, len, grad, state: [weight, moment(1), moment(2)] }
            }
            "lars" if file.rank(&key) == Some(2) => {
                let [trust, momentum] = file.numbers(["eta", "momentum"]);
                let settings = Lars { trust, momentum, weight_decay, eps: LARS_EPS };
                let (state, norms) = ([weight, moment(1)], program.scratch(2));
                program.push(Op::SquareSum { x: weight, len, out: norms, at: 0 });
                program.push(Op::SquareSum { x: grad, len, out: norms, at: 1 });
                Op::Lars { settings, rate, len, norms, grad, state }
            }
            kind @ ("sgd" | "lars") => {
                let weight_decay = if kind == "lars" { 0.0 } else { weight_decay };
                let settings = Sgd { momentum: file.number("momentum"), weight_decay };
                Op::Sgd { settings, rate, len, grad, weight, velocity: moment(1) }
            }
            other => panic!("{}: unknown optimizer `{other}`", file.name),
        };
        program.push(op);
    }
    let grads = |step: usize| {
        parts.map(|part| (state(&format!("grad_{part}")), file.narrow(&format!("input.grad_{part}.{step}"))))
    };
    let start = parts.map(|part| (state(part), file.narrow(&format!("input.{part}"))));
    let mut case = new_case(file, program, start.into());
    case.states.resize(steps, Vec::new());
    case.states.iter_mut().enumerate().for_each(|(step, states)| states.extend(grads(step)));
    let learning_rate = file.number("lr");
    let taken = |step| StepInput { learning_rate, step, ..StepInput::default() };
    case.steps = (0..steps as u64).map(taken).collect();
    for step in 0..steps {
        for part in parts {
            let key = format!("expected.{part}.{step}");
            let want = file.tensor(&key).to_vec();
            case.expected.push((step, Expect::Buffer(state(part)), key, want));
        }
    }
    case
}

fn kaizen_step(file: &File) -> Case {
    let [rows, features] = file.shape("input.x1");
    let bottleneck = file.shape("param.adapter.down.weight")[0];
    let architecture = architecture(file, Extractor::adapter(features, bottleneck, false));
    let objective = objective(file, &architecture);
    let mut case = step_case(file, &architecture, &objective, (rows, false));
    let table = (Role::Table, stacked(file, ["input.x1", "input.x2"]));
    let parameters = file.names("param.");
    let parameters = parameters.into_iter().map(|name| (state(name), file.narrow(&format!("param.{name}"))));
    case.set([table].into_iter().chain(parameters));
    let labels = file.labels("input.labels");
    case.labels = [labels.clone(), labels].concat();
    for name in file.names("grad.") {
        case.buffer(gradient(name), &format!("grad.{name}"), file.tensor(&format!("grad.{name}")).to_vec());
    }
    case
}

/// The heads of a whole step behind `extractor`.
fn architecture(file: &File, extractor: Extractor) -> Architecture {
    let method = method(file);
    Architecture {
        extractor,
        projector: layers(file, "param.projector."),
        predictor: method.has_predictor().then(|| layers(file, "param.predictor.")),
        distill_predictor: layers(file, "param.distill_predictor."),
        classifier: layers(file, "param.classifier."),
    }
}

fn method(file: &File) -> SslMethod {
    clap::ValueEnum::from_str(file.meta("method"), false).unwrap()
}

fn objective(file: &File, architecture: &Architecture) -> Objective {
    assert_eq!(file.meta("batchnorm"), "train", "{}", file.name);
    Objective {
        feature_distill_weight: file.number("feature_distill_weight"),
        classifier_weight: file.number("classifier_weight"),
        classifier_distill_weight: file.number("classifier_distill_weight"),
        temperature: file.number("temperature"),
        distill_temperature: file.number("distill_temperature"),
        vicreg: file.numbers(["sim_weight", "var_weight", "cov_weight"]),
        barlow: file.numbers(["scale", "lamb"]),
        mask_to_known: known_classes(file) < architecture.classes(),
        teacher_norm: CopyNorm::Batch,
        queue: if file.has("input.queue1") { file.shape("input.queue1")[0] } else { 1 },
        ..Objective::new(method(file))
    }
}

fn known_classes(file: &File) -> usize {
    layers(file, "param.teacher.classifier.").outputs()
}

/// A whole step with the four terms expected; batch norms and queues are set.
fn step_case(
    file: &File,
    architecture: &Architecture,
    objective: &Objective,
    (rows, has_soft_targets): (usize, bool),
) -> Case {
    let known = Some(known_classes(file));
    let spec = StepSpec { teacher_classes: known, has_soft_targets, ..spec(architecture, objective, rows) };
    let mut case = new_case(file, step_program(&spec).unwrap(), Vec::new());
    for prefix in ["", "teacher.", "momentum."] {
        case.set(running_start(&architecture.projector, &format!("{prefix}projector")));
    }
    case.set(running_start(&architecture.distill_predictor, "distill_predictor"));
    case.set(architecture.predictor.iter().flat_map(|mlp| running_start(mlp, "predictor")));
    let queues = [("input.queue1", "queue.1"), ("input.queue2", "queue.2")];
    let queues = queues.into_iter().filter(|(key, _)| file.has(key));
    case.set(queues.map(|(key, name)| (state(name), file.narrow(key))));
    let terms = [
        (Slot::Ssl, "ssl"),
        (Slot::FeatureDistill, "feature_distill"),
        (Slot::Classifier, "classifier"),
        (Slot::ClassifierDistill, "classifier_distill"),
    ];
    for (slot, name) in terms {
        case.term(slot, file, &format!("expected.{name}"));
    }
    case
}
