//! The whole training step, forward and backward, written down as a [`Program`].
//!
//! Rows: `N` per view, stacked to `M = 2N` with view 1 first. Order of one step (method, section
//! 3.4): gather, student forward, momentum and teacher forward, losses, backward, update, EMA,
//! enqueue.

mod classifier;
mod distillation;
mod extractor;
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
use extractor::ExtractorPass;
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
    let mut writer = Writer::new(spec);
    let input = writer.gather();
    let pass = writer.student();
    let student = ExtractorPass::forward(&mut writer, pass.prefix, pass.rows, input)?;
    let u = student.u;
    let classifier = &spec.architecture.classifier;
    let classifier = layers::mlp_forward(&mut writer.program, pass, "classifier", classifier, u)?;
    let teacher = Teacher::forward(&mut writer, input)?;
    let d_u = feature_terms(&mut writer, input, u, &teacher)?;
    let d_u = classifier::write(&mut writer, &classifier, teacher.logits, d_u);
    if let Some(d_u) = d_u {
        student.backward(&mut writer, d_u, false)?;
    }
    if let Some(optimizer) = spec.optimizer {
        update::write(&mut writer, optimizer);
    }
    Ok(writer.program)
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
