//! The whole training step, forward and backward, written down as a [`Program`].
//!
//! Rows: `N` per view, stacked to `M = 2N` with view 1 first. Order of one step (method, section 3.4): gather,
//! student forward, momentum and teacher forward, losses, backward, update, EMA, enqueue.

mod distillation;
mod layers;
mod single;
mod ssl;
mod update;

pub use single::{distillation_program, mlp_program, ssl_program};

use crate::heads::{Architecture, Layer};
use crate::learn::objective::{CopyNorm, Objective, SslMethod};
use crate::learn::program::{Buf, Finish, NormShape, Op, Program, RateGroup, Role, Slot, Span};
use crate::learn::update::Optimizer;
use crate::number::real;
use crate::reference::linear::Layout;
use crate::{Error, Result};
use layers::{Pass, Statistics, Trace};

/// What decides the shape of a step.
#[derive(Clone, Debug)]
pub struct StepSpec<'a> {
    /// Parts and widths.
    pub architecture: &'a Architecture,
    /// Terms and weights.
    pub objective: &'a Objective,
    /// Update rule; `None` leaves the gradients and updates nothing (tests).
    pub optimizer: Option<&'a Optimizer>,
    /// Rows N per view.
    pub rows: usize,
    /// Rows S of the feature table.
    pub table_rows: usize,
    /// Classes that the teacher's classifier names; `None` in the first task, which has no teacher.
    pub teacher_classes: Option<usize>,
}

/// Everything a part of the step needs to write itself down.
struct Writer<'a> {
    spec: &'a StepSpec<'a>,
    program: Program,
    /// Rows of the stacked batch, 2N.
    m: usize,
    /// MoCo's unit keys, enqueued at the end.
    keys: Option<Buf>,
}

/// Buffers of a pass through adapter and projector.
struct Branch {
    u: Buf,
    projector: Trace,
    adapter: AdapterTrace,
}

/// What the teacher gives: its projection for the feature distillation, logits and their width for the classifier's.
struct Teacher {
    projection: Option<Buf>,
    logits: Option<(Buf, usize)>,
}

struct AdapterTrace {
    norm: Option<[Buf; 2]>,
    input: Buf,
    hidden: Buf,
}

/// Writes the step for `spec`.
///
/// # Errors
/// [`Error::Config`] or [`Error::Shape`] for settings that do not fit, naming what is allowed.
pub fn step_program(spec: &StepSpec<'_>) -> Result<Program> {
    check(spec)?;
    let mut writer = Writer::new(spec);
    let architecture = spec.architecture;
    let h = writer.gather();
    let pass = writer.student();
    let student = writer.branch(pass, h);
    let classifier =
        layers::mlp_forward(&mut writer.program, pass, "classifier", &architecture.classifier, student.u);
    let teacher = writer.teacher(h);
    let d_u = writer.feature_terms(h, &student, teacher.projection);
    let d_u = writer.classifier_terms(&classifier, teacher.logits, d_u);
    if let Some(d_u) = d_u {
        writer.adapter_backward(&student.adapter, h, d_u);
    }
    if let Some(optimizer) = spec.optimizer {
        update::write(&mut writer, optimizer);
    }
    Ok(writer.program)
}

fn check(spec: &StepSpec<'_>) -> Result<()> {
    spec.objective.check(spec.architecture)?;
    if spec.rows == 0 || spec.table_rows == 0 {
        return Err(Error::config(
            "batch",
            spec.rows,
            "at least 1 row per view and a table of at least 1 row",
        ));
    }
    let needs_pairs = matches!(spec.objective.method, SslMethod::Vicreg | SslMethod::BarlowTwins);
    let has_batch_norm = |mlp: &crate::heads::Mlp| mlp.0.iter().any(|l| matches!(l, Layer::BatchNorm(_)));
    let parts = [&spec.architecture.projector, &spec.architecture.distill_predictor];
    let normed = parts.into_iter().chain(spec.architecture.predictor.as_ref()).any(has_batch_norm);
    if spec.rows < 2 && (needs_pairs || normed) {
        return Err(Error::config(
            "batch",
            spec.rows,
            "at least 2 rows per view with batch norm, VICReg or Barlow Twins",
        ));
    }
    if let Some(known) = spec.teacher_classes {
        let classes = spec.architecture.classes();
        if known == 0 || known > classes || (known != classes && !spec.objective.mask_to_known) {
            let allowed = format!("a teacher of 1 to {classes} classes, exactly {classes} without the mask");
            return Err(Error::config("teacher_classes", known, allowed));
        }
    }
    Ok(())
}

impl<'a> Writer<'a> {
    fn new(spec: &'a StepSpec<'a>) -> Self {
        let m = 2 * spec.rows;
        Self { spec, program: Program { index_rows: m, ..Program::default() }, m, keys: None }
    }

    /// Width P of projections.
    fn projection(&self) -> usize {
        self.spec.architecture.projector.outputs()
    }

    fn student(&self) -> Pass<'static> {
        Pass { prefix: "", rows: self.m, groups: 2, statistics: Statistics::Batch }
    }

    /// Both views' projections, with statistics of their own.
    fn view_shape(&self) -> NormShape {
        NormShape { rows: self.m, columns: self.projection(), groups: 2, relu: false }
    }

    /// Mean per-dimension deviation of unit rows: near 1/sqrt(P) in health, near 0 in collapse.
    fn watch_collapse(&mut self, unit: Buf) {
        let columns = self.projection();
        let deviation = self.program.scratch(columns);
        self.program.push(Op::ColumnDeviation { z: unit, deviation, rows: self.m, columns });
        self.term(deviation, columns, Slot::Deviation, 1.0 / real(columns));
    }

    fn gather(&mut self) -> Buf {
        let (rows, columns, table_rows) = (self.m, self.spec.architecture.features, self.spec.table_rows);
        let table = self.program.shared(Role::Table, table_rows * columns);
        let x = self.program.scratch(rows * columns);
        self.program.push(Op::GatherRows { table, table_rows, x, rows, columns });
        self.program.push(Op::GatherLabels { rows });
        x
    }

    /// `u = h + up(relu(down(norm(h))))`, `z = projector(u)`.
    fn branch(&mut self, pass: Pass<'_>, h: Buf) -> Branch {
        let (d, adapter) = (self.spec.architecture.features, self.spec.architecture.adapter);
        let name = |part: &str| format!("{}adapter.{part}", pass.prefix);
        let program = &mut self.program;
        let (input, norm) = if adapter.layer_norm {
            let (y, stats) = layers::layer_norm(program, pass.rows, &name("norm"), d, h, false);
            (y, stats.map(|stats| [y, stats]))
        } else {
            (h, None)
        };
        let widths = [pass.rows, d, adapter.bottleneck];
        let hidden = layers::linear_forward(program, &name("down"), widths, input, true, None);
        let widths = [pass.rows, adapter.bottleneck, d];
        let u = layers::linear_forward(program, &name("up"), widths, hidden, false, Some(h));
        let projector = layers::mlp_forward(program, pass, "projector", &self.spec.architecture.projector, u);
        Branch { u, projector, adapter: AdapterTrace { norm, input, hidden } }
    }

    fn frozen(&self, prefix: &'static str, norm: CopyNorm) -> Pass<'static> {
        let statistics = match norm {
            CopyNorm::Batch => Statistics::Batch,
            CopyNorm::Inference => Statistics::Running,
        };
        Pass { prefix, rows: self.m, groups: 2, statistics }
    }

    /// Self-supervised term and feature distillation with their backward passes down to u.
    fn feature_terms(&mut self, h: Buf, student: &Branch, teacher: Option<Buf>) -> Option<Buf> {
        let objective = self.spec.objective;
        let learns = objective.ssl_weight > 0.0;
        if !learns && teacher.is_none() {
            return None;
        }
        let momentum = learns && objective.method.has_momentum();
        let momentum =
            momentum.then(|| self.branch(self.frozen("momentum.", CopyNorm::Batch), h).projector.y);
        let mut projection = ssl::Projection::new(self, student.projector.y);
        if learns {
            ssl::write(self, &mut projection, momentum);
        }
        if let Some(teacher) = teacher {
            distillation::write(self, &mut projection, teacher);
        }
        let d_z = projection.backward(self)?;
        let d_u = self.program.scratch(self.m * self.spec.architecture.features);
        layers::mlp_backward(&mut self.program, &student.projector, d_z, Some((d_u, Finish::PLAIN)));
        Some(d_u)
    }

    fn teacher(&mut self, h: Buf) -> Teacher {
        let (objective, classes) = (self.spec.objective, self.spec.teacher_classes);
        let distils = classes.is_some() && objective.feature_distill_weight > 0.0;
        let classes = classes.filter(|_| objective.classifier_distill_weight > 0.0);
        if !distils && classes.is_none() {
            return Teacher { projection: None, logits: None };
        }
        let pass = self.frozen("teacher.", objective.teacher_norm);
        let branch = self.branch(pass, h);
        let logits = classes.map(|classes| {
            let mut classifier = self.spec.architecture.classifier.clone();
            if let Some(Layer::Linear { outputs, .. }) = classifier.0.last_mut() {
                *outputs = classes;
            }
            (layers::mlp_forward(&mut self.program, pass, "classifier", &classifier, branch.u).y, classes)
        });
        Teacher { projection: distils.then_some(branch.projector.y), logits }
    }

    /// Cross-entropy on labelled rows and the teacher's soft labels, backward through the classifier; its gradient
    /// stops at u unless the objective lets it through.
    fn classifier_terms(
        &mut self,
        classifier: &Trace,
        teacher: Option<(Buf, usize)>,
        d_u: Option<Buf>,
    ) -> Option<Buf> {
        let (rows, classes, objective) = (self.m, self.spec.architecture.classes(), self.spec.objective);
        let (logits, loss) = (classifier.y, self.program.scratch(rows));
        let d_logits = self.program.scratch(rows * classes);
        let weight = objective.classifier_weight;
        self.program.push(Op::CrossEntropy { logits, loss, d_logits, rows, classes, weight });
        self.term(loss, rows, Slot::Classifier, 1.0);
        if let Some((teacher, teacher_classes)) = teacher {
            let known = if objective.mask_to_known { teacher_classes } else { classes };
            let (loss_scale, weight) = (1.0 / real(rows), objective.classifier_distill_weight);
            let (logits, loss) = (classifier.y, self.program.scratch(rows));
            self.program.push(Op::SoftLabel {
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
            self.term(loss, rows, Slot::ClassifierDistill, 1.0);
        }
        let through = objective.labels_train_adapter.then(|| match d_u {
            Some(d_u) => (d_u, Finish::Add),
            None => (self.program.scratch(rows * self.spec.architecture.features), Finish::PLAIN),
        });
        layers::mlp_backward(&mut self.program, classifier, d_logits, through);
        through.map(|(d_u, _)| d_u).or(d_u)
    }

    fn adapter_backward(&mut self, trace: &AdapterTrace, h: Buf, d_u: Buf) {
        let (d, bottleneck) = (self.spec.architecture.features, self.spec.architecture.adapter.bottleneck);
        let (m, program) = (self.m, &mut self.program);
        layers::linear_backward_parameters(program, "adapter.up", [m, bottleneck, d], d_u, trace.hidden);
        let d_hidden = program.scratch(m * bottleneck);
        let finish = Finish::Replace { bias: None, residual: None, relu: false, mask: Some(trace.hidden) };
        layers::linear_backward_input(program, "adapter.up", [m, bottleneck, d], d_u, d_hidden, finish);
        layers::linear_backward_parameters(
            program,
            "adapter.down",
            [m, d, bottleneck],
            d_hidden,
            trace.input,
        );
        if let Some([y, stats]) = trace.norm {
            let d_y = program.scratch(m * d);
            layers::linear_backward_input(
                program,
                "adapter.down",
                [m, d, bottleneck],
                d_hidden,
                d_y,
                Finish::PLAIN,
            );
            let shape = NormShape { rows: m, columns: d, groups: 1, relu: false };
            layers::layer_norm_backward(program, "adapter.norm", shape, d_y, [h, y, stats], None);
        }
    }

    /// `terms[slot] += scale * sum(rows)`.
    fn term(&mut self, rows: Buf, len: usize, slot: Slot, scale: f64) {
        self.program.push(Op::TermSum { rows, len, slot: slot as usize, scale });
    }

    fn product(
        &mut self,
        layout: Layout,
        shape: [usize; 3],
        a: impl Into<Span>,
        b: impl Into<Span>,
        y: impl Into<Span>,
        alpha: f64,
        finish: Finish,
    ) {
        let (a, b, y) = (a.into(), b.into(), y.into());
        self.program.push(Op::Gemm { layout, shape, a, b, y, alpha, finish });
    }
}

/// Which learning rate a tensor takes.
fn group_of(name: &str) -> RateGroup {
    if name.starts_with("classifier.") { RateGroup::Classifier } else { RateGroup::Features }
}
