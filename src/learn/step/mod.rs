//! The whole training step, forward and backward, written down as a [`Program`].
//!
//! Rows: `N` per view, stacked to `M = 2N` with view 1 first. Order of one step (method, section
//! 3.4): gather, student forward, momentum and teacher forward, losses, backward, update, EMA,
//! enqueue.

mod classifier;
mod distillation;
mod extractor;
mod gradients;
mod layers;
mod projection;
mod single;
mod spec;
mod ssl;
mod update;
mod writer;

pub use single::{distillation_program, extractor_program, mlp_program, ssl_program};
pub use spec::StepSpec;

use crate::Result;
use crate::heads::Layer;
use crate::learn::objective::CopyNorm;
use crate::learn::op::Buf;
use crate::learn::program::Program;
use crate::number::real;
use extractor::ExtractorPass;
use gradients::Gradients;
use layers::{Pass, Trace};
use projection::Projection;
use writer::Writer;

/// Writes the step for `spec`.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) or [`Error::Shape`](crate::Error::Shape) for settings
/// that do not fit, naming what is allowed.
pub fn step_program(spec: &StepSpec<'_>) -> Result<Program> {
    spec.check()?;
    let parts = spec.micro_batches;
    let objective = spec.objective.times(1.0 / real(parts));
    let part = StepSpec { rows: spec.rows / parts, objective: &objective, ..spec.clone() };
    let mut program = Program { index_rows: 2 * spec.rows, ..Program::default() };
    let mut gradients = Gradients::default();
    let mut keys = None;
    for number in 0..parts {
        let mut writer = Writer::part(&part, program, number);
        gradients_of(&mut writer)?;
        (program, keys) = (writer.program, writer.keys);
        if parts > 1 {
            gradients.set_aside(&mut program);
        }
    }
    gradients.add_up(&mut program);
    if let Some(optimizer) = spec.optimizer {
        let mut writer = Writer { program, keys, ..Writer::new(spec) };
        update::write(&mut writer, optimizer);
        program = writer.program;
    }
    Ok(program)
}

/// Writes forward and backward pass of a batch, or of a part of one.
fn gradients_of(writer: &mut Writer<'_>) -> Result<()> {
    let input = writer.gather();
    let pass = writer.student();
    let student = ExtractorPass::forward(writer, pass.prefix, pass.rows, input)?;
    let u = student.u;
    let classifier = &writer.spec.architecture.classifier;
    let classifier = layers::mlp_forward(&mut writer.program, pass, "classifier", classifier, u)?;
    let teacher = Teacher::forward(writer, input)?;
    let d_u = feature_terms(writer, input, u, &teacher)?;
    let d_u = classifier::write(writer, &classifier, teacher.logits, d_u);
    match d_u {
        Some(d_u) => student.backward(writer, d_u, false).map(drop),
        None => Ok(()),
    }
}

/// What the teacher says: its features and projection for the distillations of features, and logits
/// with their width for the classifier's.
#[derive(Default)]
struct Teacher {
    u: Option<Buf>,
    projection: Option<Buf>,
    logits: Option<(Buf, usize)>,
}

impl Teacher {
    fn forward(writer: &mut Writer<'_>, input: Buf) -> Result<Self> {
        let (objective, classes) = (writer.spec.objective, writer.spec.teacher_classes);
        let is_there = classes.is_some();
        let distils = is_there && objective.feature_distill_weight > 0.0;
        let distils_pooled = is_there && objective.pooled_distill_weight > 0.0;
        let classes = classes.filter(|_| objective.classifier_distill_weight > 0.0);
        if !distils && !distils_pooled && classes.is_none() {
            return Ok(Self::default());
        }
        let pass = writer.pass("teacher.", objective.teacher_norm);
        let extractor = ExtractorPass::forward(writer, pass.prefix, pass.rows, input)?;
        let u = extractor.u;
        let mut teacher = Self { u: distils_pooled.then_some(u), ..Self::default() };
        if distils {
            teacher.projection = Some(projection(writer, pass, u)?.y);
        }
        if let Some(classes) = classes {
            let mut classifier = writer.spec.architecture.classifier.clone();
            if let Some(Layer::Linear { outputs, .. }) = classifier.0.last_mut() {
                *outputs = classes;
            }
            let trace = layers::mlp_forward(&mut writer.program, pass, "classifier", &classifier, u)?;
            teacher.logits = Some((trace.y, classes));
        }
        Ok(teacher)
    }
}

/// The projection of features u.
fn projection(writer: &mut Writer<'_>, pass: Pass<'_>, u: Buf) -> Result<Trace> {
    let projector = &writer.spec.architecture.projector;
    layers::mlp_forward(&mut writer.program, pass, "projector", projector, u)
}

/// Writes the self-supervised term and the distillations of features with their backward passes;
/// returns the gradient of u.
fn feature_terms(writer: &mut Writer<'_>, input: Buf, u: Buf, teacher: &Teacher) -> Result<Option<Buf>> {
    let objective = writer.spec.objective;
    let learns = objective.ssl_weight > 0.0;
    let mut d_u = teacher.u.map(|o| distillation::pooled(writer, u, o));
    if !learns && teacher.projection.is_none() {
        return Ok(d_u);
    }
    let mut momentum = None;
    if learns && objective.method.has_momentum() {
        let pass = writer.pass("momentum.", CopyNorm::Batch);
        let u = ExtractorPass::forward(writer, pass.prefix, pass.rows, input)?.u;
        momentum = Some(projection(writer, pass, u)?.y);
    }
    let projector = projection(writer, writer.student(), u)?;
    let mut projection = Projection::new(writer, projector.y);
    if learns {
        ssl::write(writer, &mut projection, momentum)?;
    }
    if let Some(teacher) = teacher.projection {
        distillation::write(writer, &mut projection, teacher)?;
    }
    if let Some(d_z) = projection.backward(writer) {
        let target = writer.feature_gradient(&mut d_u);
        layers::mlp_backward(&mut writer.program, &projector, d_z, Some(target));
    }
    Ok(d_u)
}
