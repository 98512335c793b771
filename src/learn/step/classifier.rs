//! The two terms on the classifier: labels, and the teacher's soft labels.

use super::layers::{self, Trace};
use super::writer::Writer;
use crate::learn::op::{Buf, Finish, Op, Slot};
use crate::number::real;
use crate::reference::distill::SoftLabel;

/// Writes the cross-entropy on labelled rows and the distillation of the teacher's logits (given
/// with their classes), backward through the classifier. The gradient stops at u unless the
/// objective lets it through; returns the gradient of u after both.
pub(super) fn write(
    writer: &mut Writer<'_>,
    classifier: &Trace,
    teacher: Option<(Buf, usize)>,
    d_u: Option<Buf>,
) -> Option<Buf> {
    let (rows, classes, objective) = (writer.m, writer.spec.architecture.classes(), writer.spec.objective);
    let (logits, loss) = (classifier.y, writer.program.scratch(rows));
    let d_logits = writer.program.scratch(rows * classes);
    let (shape, weight) = ([rows, classes], objective.classifier_weight);
    writer.program.push(Op::CrossEntropy { shape, views: 2, weight, logits, loss, d_logits });
    writer.term(loss, rows, Slot::Classifier, 1.0);
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
    let through = objective.labels_train_adapter.then(|| match d_u {
        Some(d_u) => (d_u, Finish::Add),
        None => (writer.program.scratch(rows * writer.spec.architecture.features), Finish::PLAIN),
    });
    layers::mlp_backward(&mut writer.program, classifier, d_logits, through);
    through.map(|(d_u, _)| d_u).or(d_u)
}
