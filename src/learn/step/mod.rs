//! The whole training step, forward and backward, written down as a [`Program`].
//!
//! Rows: `N` per view, stacked to `M = 2N` with view 1 first. Order of one step (method, section
//! 3.4): gather, student forward, momentum and teacher forward, losses, backward, update, EMA,
//! enqueue.

mod branch;
mod classifier;
mod distillation;
mod layers;
mod projection;
mod single;
mod spec;
mod ssl;
mod update;
mod writer;

pub use single::{distillation_program, mlp_program, ssl_program};
pub use spec::StepSpec;

use crate::Result;
use crate::heads::Layer;
use crate::learn::objective::CopyNorm;
use crate::learn::op::{Buf, Finish};
use crate::learn::program::Program;
use branch::Branch;
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
    let h = writer.gather();
    let pass = writer.student();
    let student = Branch::forward(&mut writer, pass, h)?;
    let classifier = &spec.architecture.classifier;
    let classifier = layers::mlp_forward(&mut writer.program, pass, "classifier", classifier, student.u)?;
    let teacher = Teacher::forward(&mut writer, h)?;
    let d_u = feature_terms(&mut writer, h, &student, teacher.projection)?;
    let d_u = classifier::write(&mut writer, &classifier, teacher.logits, d_u);
    if let Some(d_u) = d_u {
        student.adapter_backward(&mut writer, h, d_u);
    }
    if let Some(optimizer) = spec.optimizer {
        update::write(&mut writer, optimizer);
    }
    Ok(writer.program)
}

/// What the teacher says: its projection for the feature distillation, and logits with their width
/// for the classifier's.
#[derive(Default)]
struct Teacher {
    projection: Option<Buf>,
    logits: Option<(Buf, usize)>,
}

impl Teacher {
    fn forward(writer: &mut Writer<'_>, h: Buf) -> Result<Self> {
        let (objective, classes) = (writer.spec.objective, writer.spec.teacher_classes);
        let distils = classes.is_some() && objective.feature_distill_weight > 0.0;
        let classes = classes.filter(|_| objective.classifier_distill_weight > 0.0);
        if !distils && classes.is_none() {
            return Ok(Self::default());
        }
        let pass = writer.pass("teacher.", objective.teacher_norm);
        let branch = Branch::forward(writer, pass, h)?;
        let mut logits = None;
        if let Some(classes) = classes {
            let mut classifier = writer.spec.architecture.classifier.clone();
            if let Some(Layer::Linear { outputs, .. }) = classifier.0.last_mut() {
                *outputs = classes;
            }
            let program = &mut writer.program;
            let trace = layers::mlp_forward(program, pass, "classifier", &classifier, branch.u)?;
            logits = Some((trace.y, classes));
        }
        Ok(Self { projection: distils.then_some(branch.projector.y), logits })
    }
}

/// Writes the self-supervised term and the feature distillation with their backward passes; returns
/// the gradient of u.
fn feature_terms(
    writer: &mut Writer<'_>,
    h: Buf,
    student: &Branch,
    teacher: Option<Buf>,
) -> Result<Option<Buf>> {
    let objective = writer.spec.objective;
    let learns = objective.ssl_weight > 0.0;
    if !learns && teacher.is_none() {
        return Ok(None);
    }
    let mut momentum = None;
    if learns && objective.method.has_momentum() {
        let pass = writer.pass("momentum.", CopyNorm::Batch);
        momentum = Some(Branch::forward(writer, pass, h)?.projector.y);
    }
    let mut projection = Projection::new(writer, student.projector.y);
    if learns {
        ssl::write(writer, &mut projection, momentum)?;
    }
    if let Some(teacher) = teacher {
        distillation::write(writer, &mut projection, teacher)?;
    }
    let Some(d_z) = projection.backward(writer) else {
        return Ok(None);
    };
    let d_u = writer.program.scratch(writer.m * writer.spec.architecture.features);
    layers::mlp_backward(&mut writer.program, &student.projector, d_z, Some((d_u, Finish::PLAIN)));
    Ok(Some(d_u))
}
