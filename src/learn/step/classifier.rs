//! The two terms on the classifier: labels, and the teacher's soft labels.

use super::layers::{self, Trace};
use super::writer::Writer;
use crate::learn::objective::ClassifierGradient;
use crate::learn::op::{Buf, Op, Slot};
use crate::learn::program::Role;
use crate::number::real;
use crate::reference::distill::SoftLabel;

/// Writes the cross-entropy on labels or soft targets and the distillation of the teacher's logits
/// (given with their classes), backward through the classifier. The gradient stops at u unless the
/// objective lets it through; returns the gradient of u after both.
pub(super) fn write(
    writer: &mut Writer<'_>,
    classifier: &Trace,
    teacher: Option<(Buf, usize)>,
    mut d_u: Option<Buf>,
) -> Option<Buf> {
    let (rows, classes, objective) = (writer.m, writer.spec.architecture.classes(), writer.spec.objective);
    let (logits, loss) = (classifier.y, writer.program.scratch(rows));
    let d_logits = writer.program.scratch(rows * classes);
    // The mean is over the labelled rows of the whole batch, whatever its part has of them.
    let parts = real(writer.parts);
    let (shape, weight, views) = ([rows, classes], parts * objective.classifier_weight, 2);
    if writer.spec.has_soft_targets {
        let targets = writer.gather_from(Role::Targets, classes);
        let targets = [targets, writer.gather_from(Role::TargetWeights, 1)];
        let op = Op::TargetCrossEntropy { shape, views, weight, logits, targets, loss, d_logits };
        writer.program.push(op);
    } else {
        writer.program.push(Op::CrossEntropy { shape, views, weight, logits, loss, d_logits });
    }
    writer.term(loss, rows, Slot::Classifier, parts);
    if let Some((teacher, teacher_classes)) = teacher {
        let settings = SoftLabel {
            rows,
            classes,
            teacher_classes,
            known: if objective.mask_to_known { teacher_classes } else { classes },
            loss_scale: 1.0 / real(rows),
            weight: objective.classifier_distill_weight,
        };
        let loss = writer.program.scratch(rows);
        writer.program.push(Op::SoftLabel { settings, logits, teacher, loss, d_logits });
        writer.term(loss, rows, Slot::ClassifierDistill, 1.0);
    }
    let through = match objective.classifier_gradient {
        ClassifierGradient::Flows => Some(writer.feature_gradient(&mut d_u)),
        ClassifierGradient::Stops => None,
    };
    layers::mlp_backward(&mut writer.program, classifier, d_logits, through);
    d_u
}
